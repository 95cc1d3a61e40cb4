// Views number by number: what Augmenter::write_views gives, as functors for a device with many threads.
//
// 1. Number i is a function of one recipe list, of the ONE private example that the list is made for, and of
//    public data. There is no canvas and no order: a mix makes its two source pixels anew.
// 2. The example is picked in one place, operator(), by the list that number i belongs to. pixel() and
//    share(), which do the work, are handed that example alone: no call takes two.
// 3. The same bits as on the CPU: the same table, the same float operations in the same order. REQUIRES: no
//    contraction of a * b + c (-ffp-contract=off; nvcc: -fmad=false).
// 4. A list without an example (id < 0) is padding: all its numbers are 0.
// 5. ViewRecipe{} with crop_padding 0 is the image as it is: evaluation needs no kernel of its own.
// Mixes within micro-batches (microbatch_mix.h) have no recipes: they are made on the CPU only.
#pragma once

#include "augment/effects.h"
#include "augment/image_kernels.h"
#include "augment/view_recipe.h"
#include "core/exec.h"

#include <cstdint>

namespace pergrad::augment {

// All that a view is made of beside its recipes and its private example. Plain pointers to the memory of the
// device that runs the functor.
struct PublicInputs {
  int64_t height, width, channels;  // H, W, C
  int64_t label_count;              // L
  int64_t crop_padding;
  Padding padding;
  const float* table;          // [C,256], see normalisation.h
  const uint8_t* pool_pixels;  // [pool,H,W,C]; null without a pool
  const int32_t* pool_labels;  // [pool]

  PG_HD int64_t size() const { return height * width * channels; }

  // Number `at` of [H,W,C] of view v of the list. image [H,W,C]: the private example.
  PG_HD float pixel(const uint8_t* image, const ViewRecipe* list, int64_t v, int64_t at) const {
    // 32 bits are enough for one image, and divide several times faster on a GPU.
    const auto place = static_cast<uint32_t>(at) / static_cast<uint32_t>(channels);
    const int64_t c = at - place * channels;
    const int64_t y = place / static_cast<uint32_t>(width);
    const int64_t x = place - y * width;
    const ViewRecipe& r = list[v];
    switch (r.kind) {
      case ViewKind::base:
      case ViewKind::pool:
        return drawn_pixel(image, r, y, x, c);
      case ViewKind::copy:
        return drawn_pixel(image, list[r.first], y, x, c);
      case ViewKind::mixup:
        return r.first_share * drawn_pixel(image, list[r.first], y, x, c) +
               r.second_share * drawn_pixel(image, list[r.second], y, x, c);
      case ViewKind::cutmix: {
        const bool in_box = r.box_top <= y && y < r.box_bottom && r.box_left <= x && x < r.box_right;
        return drawn_pixel(image, list[in_box ? r.second : r.first], y, x, c);
      }
    }
    return 0.0f;
  }

  // What view v of the list says of label l.
  PG_HD float share(int32_t label, const ViewRecipe* list, int64_t v, int64_t l) const {
    const ViewRecipe& r = list[v];
    switch (r.kind) {
      case ViewKind::base:
      case ViewKind::pool:
        return drawn_share(label, r, l);
      case ViewKind::copy:
        return drawn_share(label, list[r.first], l);
      case ViewKind::mixup:
      case ViewKind::cutmix:
        return r.first_share * drawn_share(label, list[r.first], l) +
               r.second_share * drawn_share(label, list[r.second], l);
    }
    return 0.0f;
  }

 private:
  // Pixel (y, x), channel c, of a draw.
  PG_HD float drawn_pixel(const uint8_t* image, const ViewRecipe& draw, int64_t y, int64_t x,
                          int64_t c) const {
    const Transformed transformed{*this, draw, image};
    if (draw.effect.effect == Effect::none) return transformed(y, x, c);
    return with_effect(draw.effect, height, width, channels, table, transformed, y, x, c);
  }

  // The same without its effect: flip(crop(pad(normalise(.)))), read backwards.
  struct Transformed {
    const PublicInputs& open;
    const ViewRecipe& draw;
    const uint8_t* image;
    PG_HD float operator()(int64_t y, int64_t x, int64_t c) const {
      const uint8_t* bytes =
          draw.kind == ViewKind::pool ? open.pool_pixels + draw.pool_image * open.size() : image;
      const int64_t row = mirror(y + draw.top - open.crop_padding, open.height, open.padding);
      const int64_t column = mirror((draw.flipped ? open.width - 1 - x : x) + draw.left - open.crop_padding,
                                    open.width, open.padding);
      return open.table[c * 256 + bytes[(row * open.width + column) * open.channels + c]];
    }
  };

  PG_HD float drawn_share(int32_t label, const ViewRecipe& draw, int64_t l) const {
    return (draw.kind == ViewKind::pool ? pool_labels[draw.pool_image] : label) == l ? 1.0f : 0.0f;
  }
};

// Number i of the images [lists,V,H,W,C] of so many lists of V recipes.
struct WriteView {
  PublicInputs open;
  const uint8_t* private_pixels;  // [examples,H,W,C]
  const int64_t* ids;             // [lists]: which example a list is made for; below 0: none
  const ViewRecipe* recipes;      // [lists,V]
  int64_t views;                  // V
  float* out;

  PG_HD void operator()(int64_t i) const {
    const int64_t size = open.size();
    const int64_t view = i / size;
    const int64_t list = view / views;
    const int64_t id = ids[list];
    out[i] = id < 0 ? 0.0f
                    : open.pixel(private_pixels + id * size, recipes + list * views, view - list * views,
                                 i - view * size);
  }
};

// Number i of the targets [lists,V,L] that go with them.
struct WriteTarget {
  PublicInputs open;
  const int32_t* private_labels;  // [examples]
  const int64_t* ids;             // [lists]
  const ViewRecipe* recipes;      // [lists,V]
  int64_t views;                  // V
  float* out;

  PG_HD void operator()(int64_t i) const {
    const int64_t view = i / open.label_count;
    const int64_t list = view / views;
    const int64_t id = ids[list];
    out[i] = id < 0 ? 0.0f
                    : open.share(private_labels[id], recipes + list * views, view - list * views,
                                 i - view * open.label_count);
  }
};

}  // namespace pergrad::augment
