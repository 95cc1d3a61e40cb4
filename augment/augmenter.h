// Augmenter: from ONE private example to its V views. On the privacy reviewer's path (dp/README.md).
//
// 1. The one entry point to private data is handed one image and its label. Two private examples cannot be
//    mixed: no call takes two. Mixes join views of this example and images of the public pool, nothing else.
// 2. All else that comes in is public: settings, normalisation constants, pool, random bits keyed by
//    (augment key, step, example id), so that an example's views do not depend on who is in the batch.
// 3. No state: calls are const, write no member and no static; nothing of one example meets the next.
// 4. The V views make one row of gradients, their mean, which is clipped once: the example counts as one.
#pragma once

#include "augment/augment_settings.h"
#include "augment/normalisation.h"
#include "augment/public_pool.h"
#include "augment/view_recipe.h"
#include "core/philox.h"

#include <cstdint>
#include <span>

namespace pergrad::augment {

// One example of the private data.
struct PrivateExample {
  std::span<const uint8_t> image;  // [H,W,C]
  int32_t label;                   // in [0, L)
};

class Augmenter {
 public:
  // For images of one shape with L labels.   THROWS: Error, in one line, for settings that mean nothing.
  Augmenter(const AugmentSettings& settings, const ImageShape& shape, int64_t label_count,
            Normalisation normalisation);

  // A recipe for each view: T(x) base times, the pool's draws, the mixes. Sees no private data, names none.
  void draw(PhiloxStream random, const PublicPool* pool, std::span<ViewRecipe> recipes) const;
  // Writes these views (view_kernels.h: the same for a GPU).   pool: may be null where settings.pool is 0.
  //   Guarantee: every number of images [V,H,W,C], targets [V,L] follows from the arguments. THROWS: Error.
  void write_views(const PrivateExample& example, PhiloxStream random, const PublicPool* pool,
                   std::span<float> images, std::span<float> targets) const;

  const AugmentSettings& settings() const { return settings_; }
  const Normalisation& normalisation() const { return normalisation_; }
  const ImageShape& shape() const { return shape_; }
  int64_t label_count() const { return label_count_; }  // L
  int64_t views() const { return settings_.views(); }   // V

 private:
  AugmentSettings settings_;
  ImageShape shape_;
  int64_t label_count_;
  Normalisation normalisation_;
};

}  // namespace pergrad::augment
