// What a recipe does, in words.
#pragma once

#include "augment/view_recipe.h"

#include <cstdint>
#include <string>

namespace pergrad::apps {

// "crop moved by (+1, -2), flipped, blurred"; "0.896 of view 1 + 0.104 of view 0".
std::string view_text(const augment::ViewRecipe& recipe, int64_t crop_padding);

}  // namespace pergrad::apps
