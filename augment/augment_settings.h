// AugmentSettings: which views an example gets. Public: none of it comes from the private data.
#pragma once

#include "augment/effects.h"
#include "augment/image_ops.h"

#include <cstdint>

namespace pergrad::augment {

enum class MixMethod { none, mixup, cutmix };

// How the two draws of a mix are chosen among the base + pool draws of S.
enum class Pairing {
  with_replacement,     // two different draws; each mix draws from all of S anew
  without_replacement,  // S is shuffled and dealt in pairs; shuffled again when fewer than two are left
  independent,          // two draws that may be the same one
};

// Algorithm 1 of DP-Mix (Bao et al. 2023). The defaults are plain training: one view, the image as it is.
struct AugmentSettings {
  int64_t base = 1;  // views T(x) of the private example; the image itself is not added
  int64_t mix = 0;   // mixes of pairs of S, S = the base and pool draws
  int64_t pool = 0;  // draws from the public pool for each example in each step, with replacement

  int64_t crop_padding = 0;            // T: pad by so many pixels, crop H x W anywhere: (2p+1)^2 offsets
  Padding padding = Padding::reflect;  // T: how to pad
  bool flip = false;                   // T: mirror left to right with probability 1/2
  bool pool_augmented = true;          // draws from the pool go through T too
  EffectSettings effects;              // T: what else may happen to a view (Bao et al., table 4)

  MixMethod method = MixMethod::mixup;  // of the mixes; `none` refuses any
  double mix_alpha = 0.2;               // lambda ~ Beta(alpha, alpha)
  bool fold_lambda = false;             // lambda := max(lambda, 1 - lambda); only cutmix is affected
  bool share_lambda = false;            // one lambda for all mixes of an example, else one for each mix
  Pairing pairing = Pairing::with_replacement;  // which two draws a mix joins
  bool mix_degenerate = false;                  // control: a mix is a draw mixed with itself, that is a copy

  int64_t views() const { return base + pool + mix; }  // V
};

}  // namespace pergrad::augment
