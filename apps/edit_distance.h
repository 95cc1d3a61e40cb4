// How far apart two names are: for "did you mean".
#pragma once

#include <cstddef>
#include <string_view>

namespace pergrad::apps {

// Insertions, deletions, replacements and swaps of neighbours that lead from a to b (optimal string
// alignment).
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace pergrad::apps
