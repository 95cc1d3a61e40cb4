// One step of DP-SGD, aloud.
#pragma once

#include "core/sources.h"
#include "dp/mechanism.h"
#include "dp/sampler.h"

#include <cstdint>

namespace pergrad::dp {

// private_step: sample; clip and sum, chunk by chunk; release.
//   chunk_rows: how many units are in memory at a time. It never changes the result.
//   Guarantee: the result is the mechanism's release for the Poisson draw of this step, be it empty.
//   THROWS: PrivacyError if sampler and mechanism have different plans, or if a source made more or fewer
//   real rows than there were units.
PrivateGradient private_step(const PoissonSampler& sampler, ExampleSource& examples,
                             GradientSource& gradients, GaussianMechanism& mechanism, int64_t step,
                             int64_t chunk_rows, const CpuExec& exec,
                             NonprivateClipStats* nonprivate_stats = nullptr);

}  // namespace pergrad::dp
