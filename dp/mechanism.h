// GaussianMechanism: noise once, ledger once. The only maker of a PrivateGradient.
#pragma once

#include "core/exec.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "dp/clip_and_sum.h"
#include "dp/ledger.h"
#include "dp/plan.h"

#include <cstdint>
#include <functional>
#include <string>

namespace pergrad::dp {

// (clipped sum + noise) * clip_norm * 2^-F / plan.divisor(), [P] f32: all that may leave a step. Move-only.
class PrivateGradient {
 public:
  PrivateGradient(PrivateGradient&&) = default;
  PrivateGradient& operator=(PrivateGradient&&) = default;
  const Tensor& values() const { return values_; }

 private:
  friend class GaussianMechanism;
  explicit PrivateGradient(Tensor values) : values_(std::move(values)) {}
  Tensor values_;
};

class GaussianMechanism {
 public:
  // The ledger outlives the mechanism.  THROWS: PrivacyError if the ledger is of another plan.
  GaussianMechanism(const Plan& plan, const Key& run_key, Ledger& ledger);

  // release(sum, step): records, then draws noise, then adds.
  //   Guarantee: 1. The line is in the ledger, synced, before the first bit of noise is drawn.
  //   2. Each coordinate gets independent discrete Gaussian noise of standard deviation
  //      ceil(sigma * 2^F) grid steps (discrete_gaussian.h), in integers that cannot overflow. What comes
  //      after (scale, rounding to f32) is post-processing. The sum over nobody is released like any other.
  //   3. The noise is a pure function of (run key, plan, step, sum). The same sum again (a replay after a
  //      crash) gives the same bits and is not charged again; another sum in the same step (a fork) gets
  //      noise of its own, even if the ledger was lost or rolled back: two releases never share noise, so
  //      their difference never shows it.
  //   Units: noise_multiplier is std / clip_norm; the result is in gradient units per expected example.
  //   THROWS: PrivacyError if step is not in [0, plan->steps) or the sum has another clip norm or grid;
  //   Error if the ledger cannot be written. Nothing is released then.
  PrivateGradient release(ClippedSum&& sum, int64_t step, const CpuExec& exec = {});

  const Plan& plan() const { return plan_; }
  const std::string& sampler() const { return sampler_; }  // name of that of this plan and key

  // Called before a release is recorded and noise is drawn, with its tag. May throw: nothing is released.
  std::function<void(int64_t step, int64_t parameters, const std::string& tag)> before_release;

 private:
  Plan plan_;
  Key commitment_key_;
  Key noise_key_;
  std::string sampler_;
  Ledger& ledger_;
};

}  // namespace pergrad::dp
