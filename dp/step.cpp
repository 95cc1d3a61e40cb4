// The loop body of DP-SGD.
#include "dp/step.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>

namespace pergrad::dp {

ClippedSum clipped_sum(std::span<const Unit> units, ExampleSource& examples, GradientSource& gradients,
                       const Plan& plan, int64_t step, int64_t chunk_rows, const CpuExec& exec) {
  PG_CHECK(chunk_rows >= 1 && exec.threads >= 1, "clipped_sum: ", chunk_rows, " rows at a time on ",
           exec.threads, " threads, wanted 1 or more");
  const bool several = examples.takes_threads() && gradients.prepare_for_threads();
  const auto rows = static_cast<size_t>(chunk_rows);
  const size_t threads = several ? std::min(static_cast<size_t>(exec.threads), rows) : 1;
  std::mutex one_at_a_time;
  std::span<const Unit> left = units;  // that no thread has taken
  const auto take = [&] {              // less towards the end, so that all threads end together
    const std::lock_guard alone(one_at_a_time);
    const size_t share = threads == 1 ? left.size() : left.size() / (2 * threads) + 1;
    const auto mine = left.first(std::min({left.size(), share, rows / threads}));
    left = left.subspan(mine.size());
    return mine;
  };
  std::optional<ClippedSum> total;
  std::exception_ptr failure;
  CpuExec{static_cast<int>(threads)}.for_each(static_cast<int64_t>(threads), [&](int64_t) {
    try {
      ClippedSum sum(plan, gradients.parameter_count(), gradients.device());
      for (auto mine = take(); !mine.empty(); mine = take()) {
        PerExampleGradient made = gradients.rows(examples.views(mine, step));
        size_t real = 0;  // a unit that came back as two rows would count twice: its norm bound would be 2C
        for (int64_t n = 0; n < made.rows(); ++n) real += made.is_real(n);
        PG_CHECK_AS(PrivacyError, real == mine.size(), "clipped_sum: ", real, " real rows for ", mine.size(),
                    " units");
        clip_and_sum(std::move(made), plan, sum);
      }
      const std::lock_guard alone(one_at_a_time);
      if (total)
        total->add(std::move(sum), plan);
      else
        total = std::move(sum);
    } catch (...) {
      const std::lock_guard alone(one_at_a_time);
      left = {};
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
  return *std::move(total);
}

PrivateGradient private_step(const PoissonSampler& sampler, ExampleSource& examples,
                             GradientSource& gradients, GaussianMechanism& mechanism, int64_t step,
                             int64_t chunk_rows, const CpuExec& exec) {
  const Plan& plan = mechanism.plan();
  PG_CHECK_AS(PrivacyError, sampler.name() == mechanism.sampler(),
              "private_step: sampler and mechanism have different plans or run keys");
  const std::vector<Unit> units = sampler.draw(step);  // may be empty: noise is still released and recorded
  ClippedSum sum = clipped_sum(units, examples, gradients, plan, step, chunk_rows, exec);
  return mechanism.release(std::move(sum), step, exec);
}

}  // namespace pergrad::dp
