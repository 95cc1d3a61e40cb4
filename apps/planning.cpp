// plan_of and chunk_rows.
#include "apps/planning.h"

#include "core/error.h"
#include "dp/accountant.h"
#include "dp/accounting/calibrate.h"

#include <algorithm>

namespace pergrad::apps {

dp::Plan plan_of(const Config& config, int64_t n_examples, int64_t parameters) {
  if (config.privacy.noise_multiplier)
    return dp::Plan(plan_settings(config, n_examples, *config.privacy.noise_multiplier));
  const double target = *config.privacy.epsilon;
  const dp::Plan shape(plan_settings(config, n_examples, 1.0));  // for q as sampled, and the sensitivity
  double sigma = accounting::noise_multiplier_for(target, shape->delta, shape->sampling_rate, shape->steps) *
                 shape.sensitivity_in_clips();
  for (int attempt = 0; attempt < 100; ++attempt, sigma *= 1.0001) {  // the grid's slack may cost a hair more
    dp::Plan plan(plan_settings(config, n_examples, sigma));
    if (dp::planned_cost(plan, parameters).epsilon_upper <= target) return plan;
  }
  throw PrivacyError(concat("privacy.epsilon: ", target, " is out of reach for ", parameters,
                            " parameters and ", shape->steps, " steps"));
}

Config rehearsal_of(const Config& config, int64_t batch, int64_t n_examples, int64_t parameters) {
  const int64_t full = config.train.expected_batch_size;
  PG_CHECK(!config.privacy.non_private, "--simulate: keeps the noise of a private run, this one has none");
  PG_CHECK(config.train.simulated_batch_size == 0, "--simulate: the config is of a rehearsal already");
  PG_CHECK(1 <= batch && batch < full, "--simulate: got ", batch, ", wanted 1 to ", full - 1,
           ", below train.expected_batch_size");
  const double sigma = plan_of(config, n_examples, parameters)->noise_multiplier;
  Config small = config;
  small.privacy.epsilon.reset();
  small.privacy.noise_multiplier = sigma * static_cast<double>(batch) / static_cast<double>(full);
  small.train.expected_batch_size = batch;
  small.train.simulated_batch_size = full;
  return small;
}

int64_t chunk_rows(const SpeedConfig& speed, int64_t parameters, int64_t row_numbers, int threads,
                   bool together) {
  if (speed.max_examples > 0) return speed.max_examples;
  // A thread clips the rows that it made while they are in its second-level cache (1 MB where it was
  // measured). Of rows that are too large for it several are added at a time, so that the sum passes by once
  // for all.
  constexpr double kCache = 640 << 10, kTogether = 32 << 20;
  constexpr int64_t kLeast = 4, kMost = 64, kMostTogether = 512;  // of a thread
  const double row = 4.0 * static_cast<double>(parameters + row_numbers);
  const double sums = 8.0 * static_cast<double>(parameters) * threads;  // of each thread
  const double budget = static_cast<double>(speed.max_memory_mb) * 1024 * 1024 / 2 - sums;
  const double useful = together ? kTogether / row / threads : kCache / row;
  const auto of_a_thread =
      std::clamp<int64_t>(static_cast<int64_t>(useful), kLeast, together ? kMostTogether : kMost);
  const auto fit = static_cast<int64_t>(std::max(0.0, budget / row / threads));
  return std::max<int64_t>(1, std::min(of_a_thread, fit)) * threads;
}

}  // namespace pergrad::apps
