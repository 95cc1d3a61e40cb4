// MIXES PRIVATE EXAMPLES WITH EACH OTHER. Only for the micro-batch experiment of DP-Mix (Bao et al. 2023,
// Table 1).
//
// 1. The members of one unit are mixed, so their gradient is one row, which is clipped once: the unit of
//    the sensitivity is the group, not the example. Adding or removing one example changes the whole row of
//    its group: an old row of norm C goes, a new one comes, and the sum moves by up to 2C. Noise for
//    sensitivity C would void the guarantee. The Plan must count 2C.
// 2. Only ViewSource calls it, and only for units that were announced as groups (Microbatches::largest_unit
//    > 1).
// 3. Only members of one unit meet: the row of another unit never changes.
#pragma once

#include "augment/augmenter.h"
#include "core/philox.h"

#include <cstdint>
#include <span>

namespace pergrad::augment {

// What becomes of the views of the members of a unit.
enum class GroupMix {
  none,       // they stand beside each other
  added,      // V mixed views stand beside them
  replacing,  // V mixed views take their place
};

class MicrobatchMixer {
 public:
  // lambda ~ Beta(alpha, alpha), folded as in AugmentSettings.
  MicrobatchMixer(GroupMix mode, double alpha, bool fold_lambda)
      : mode_(mode), alpha_(alpha), fold_lambda_(fold_lambda) {}

  GroupMix mode() const { return mode_; }
  // How many views the row of a unit of so many members has. One member alone has nobody to be mixed with.
  int64_t row_views(int64_t members, int64_t views) const;

  // View v of the result is a mixup of the views v of two different members, each pair and lambda drawn anew.
  //   images [M,V,size], targets [M,V,L]: the members' views, in the order of their ids.
  //   mixed_images [V,size], mixed_targets [V,L]: must not overlap with them.
  //   REQUIRES: members >= 2; random is keyed by this unit's members alone.
  void mix_members(int64_t members, int64_t views, std::span<const float> images,
                   std::span<const float> targets, PhiloxStream random, std::span<float> mixed_images,
                   std::span<float> mixed_targets) const;

 private:
  GroupMix mode_;
  double alpha_;
  bool fold_lambda_;
};

}  // namespace pergrad::augment
