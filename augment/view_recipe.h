// ViewRecipe: all that is random about one view, as plain numbers. What the pixels are follows from the
// recipe and the images, on any device: on the CPU in augmenter.cpp, number by number in view_kernels.h.
//
// 1. A recipe names no private example. The V recipes of an example are one list; where they say "private",
//    they mean the one example that the list is made for.
// 2. A mix names two draws of its own list. So two private examples cannot meet in a view.
// 3. Recipes are drawn (Augmenter::draw) without a look at private data, from the example's own stream of
//    this step, in the order of the views: the base views are the same with mixes and without.
#pragma once

#include "augment/effects.h"

#include <cstdint>

namespace pergrad::augment {

enum class ViewKind : int32_t {
  base,    // T(x) of the private example
  pool,    // T, or nothing, of an image of the public pool
  copy,    // draw `first` again
  mixup,   // first_share of draw `first` and second_share of draw `second`
  cutmix,  // draw `first` with the box taken from draw `second`
};

struct ViewRecipe {
  ViewKind kind = ViewKind::base;
  // Of a draw (base, pool): flip(crop at (top, left) of the padded image); (p, p) is the image itself.
  int32_t top = 0, left = 0;
  int32_t flipped = 0;      // 0 or 1
  uint32_t pool_image = 0;  // which one (pool)
  EffectRecipe effect;      // and then this
  // Of a copy or a mix: places in the list, among the draws, and what their labels count; in a mixup also
  // what their pixels count.
  int32_t first = 0, second = 0;
  float first_share = 0, second_share = 0;
  // Of a cutmix: pixels [box_top, box_bottom) x [box_left, box_right) come from `second`.
  int32_t box_top = 0, box_left = 0, box_bottom = 0, box_right = 0;
};

}  // namespace pergrad::augment
