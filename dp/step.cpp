// The loop body of DP-SGD.
#include "dp/step.h"

#include <algorithm>
#include <span>

namespace pergrad::dp {

PrivateGradient private_step(const PoissonSampler& sampler, ExampleSource& examples,
                             GradientSource& gradients, GaussianMechanism& mechanism, int64_t step,
                             int64_t chunk_rows, const CpuExec& exec, NonprivateClipStats* nonprivate_stats) {
  const Plan& plan = mechanism.plan();
  PG_CHECK_AS(PrivacyError, sampler.plan().hash() == plan.hash(),
              "private_step: sampler and mechanism have different plans");
  PG_CHECK(chunk_rows >= 1, "private_step: chunk_rows is ", chunk_rows, ", wanted >= 1");

  const std::vector<Unit> units = sampler.draw(step);  // may be empty: noise is still released and recorded
  ClippedSum sum(plan, gradients.parameter_count(), gradients.device());
  for (size_t begin = 0; begin < units.size(); begin += static_cast<size_t>(chunk_rows)) {
    const size_t size = std::min(units.size() - begin, static_cast<size_t>(chunk_rows));
    PerExampleGradient rows = gradients.rows(examples.views(std::span(units).subspan(begin, size), step));
    size_t real = 0;  // a unit that came back as two rows would count twice: its norm bound would be 2C
    for (int64_t n = 0; n < rows.rows(); ++n) real += rows.is_real(n);
    PG_CHECK_AS(PrivacyError, real == size, "private_step: ", real, " real rows for ", size, " units");
    clip_and_sum(std::move(rows), plan, sum, exec, nonprivate_stats);
  }
  return mechanism.release(std::move(sum), step, exec);
}

}  // namespace pergrad::dp
