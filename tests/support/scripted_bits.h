// ScriptedBits: in place of a ChaChaStream, words that a test chooses. Asking for more of them throws
// std::out_of_range.
#pragma once

#include "core/rng.h"

#include <memory>
#include <vector>

namespace pergrad::test {

struct ScriptedBits {
  std::vector<uint64_t> words;
  std::shared_ptr<size_t> used = std::make_shared<size_t>(0);  // by all copies together
  uint64_t next_u64() { return words.at((*used)++); }
};

// A word for which below(bits, n) is r at once.   REQUIRES: r < n <= 2^62.
inline uint64_t word_for(uint64_t r, uint64_t n) {
  return static_cast<uint64_t>(((uint128_t{r} << 64) + n - 1) / n) + 1;
}

}  // namespace pergrad::test
