// Mixup between the members of one unit.
#include "augment/microbatch_mix.h"
#include "core/philox.h"

#include "augment/beta.h"
#include "augment/image_ops.h"
#include "core/error.h"

#include <algorithm>

namespace pergrad::augment {

int64_t MicrobatchMixer::row_views(int64_t members, int64_t views) const {
  if (members == 1 || mode_ == GroupMix::none) return members * views;
  return mode_ == GroupMix::added ? (members + 1) * views : views;
}

void MicrobatchMixer::mix_members(int64_t members, int64_t views, std::span<const float> images,
                                  std::span<const float> targets, PhiloxStream random,
                                  std::span<float> mixed_images, std::span<float> mixed_targets) const {
  PG_CHECK(members >= 2 && std::ssize(images) == members * std::ssize(mixed_images) &&
               std::ssize(targets) == members * std::ssize(mixed_targets),
           "microbatch mix: ", images.size(), " numbers of ", members, " members into ", mixed_images.size());
  const int64_t size = std::ssize(mixed_images) / views;
  const int64_t labels = std::ssize(mixed_targets) / views;
  for (int64_t v = 0; v < views; ++v) {
    const int64_t first = random.below(static_cast<uint32_t>(members));
    const int64_t other = random.below(static_cast<uint32_t>(members - 1));
    const int64_t second = other < first ? other : other + 1;
    double lambda = symmetric_beta(alpha_, random);
    if (fold_lambda_) lambda = std::max(lambda, 1.0 - lambda);
    const int64_t a = first * views + v;
    const int64_t b = second * views + v;
    mix(images.data() + a * size, images.data() + b * size, lambda, size, mixed_images.data() + v * size);
    mix(targets.data() + a * labels, targets.data() + b * labels, lambda, labels,
        mixed_targets.data() + v * labels);
  }
}

}  // namespace pergrad::augment
