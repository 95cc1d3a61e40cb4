// One step of DP-SGD, aloud.
#pragma once

#include "core/sources.h"
#include "dp/mechanism.h"
#include "dp/sampler.h"

#include <cstdint>
#include <span>

namespace pergrad::dp {

// The clipped sum over units, chunk by chunk: each thread makes and clips rows of its own.
//   chunk_rows: how many units are in memory at a time. Neither it nor the threads change the result.
//   THROWS: PrivacyError if a source made more or fewer real rows than there were units.
ClippedSum clipped_sum(std::span<const Unit> units, ExampleSource& examples, GradientSource& gradients,
                       const Plan& plan, int64_t step, int64_t chunk_rows, const CpuExec& exec);

// private_step: sample; clip and sum; release.
//   Guarantee: the result is the mechanism's release for the Poisson draw of this step, be it empty.
//   THROWS: PrivacyError if sampler and mechanism have different plans or run keys.
PrivateGradient private_step(const PoissonSampler& sampler, ExampleSource& examples,
                             GradientSource& gradients, GaussianMechanism& mechanism, int64_t step,
                             int64_t chunk_rows, const CpuExec& exec);

}  // namespace pergrad::dp
