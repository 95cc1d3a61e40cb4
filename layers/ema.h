// Ema: the exponential moving average of the parameters, which is what gets evaluated.
#pragma once

#include "core/tensor.h"

#include <cstdint>

namespace pergrad {

// ema = mu * ema + (1 - mu) * w after every update, starting from the initial parameters.
// mu = decay, or with warm-up min(decay, (1 + t) / (10 + t)), t = completed updates (1 at the first).
//   Source: De et al. 2022 as coded (jax_privacy v0.1). Post-processing: no privacy is spent.
class Ema {
 public:
  // A copy of the initial parameters [P] f32 on their device.   THROWS: Error unless 0 <= decay < 1.
  Ema(const Tensor& initial, double decay, bool warmup);

  // After each update: parameters [P] f32, on any device. Computed in double, stored in float.
  void update(const Tensor& parameters);
  double decay_at(int64_t completed_updates) const;

  const Tensor& values() const { return values_; }  // [P], on the device
  int64_t updates() const { return updates_; }
  // Goes on from a checkpoint; values [P] f32, on any device.
  void restore(const Tensor& values, int64_t updates);

 private:
  Tensor values_;
  double decay_;
  bool warmup_;
  int64_t updates_ = 0;
};

}  // namespace pergrad
