// Rung d: attacks that know everything but whether the canary is there, on the real sampler, clip, sum, noise
// and ledger, at a size where they can be repeated a hundred thousand times. What they prove to be lost must
// stay below what is accounted for, along the whole curve of (epsilon, delta).
//
// Many small trainings ("worlds") run side by side in one: world w owns kWidth numbers of each row and
// records of its own, so that sampler and noise treat it as a training by itself.
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/audit/statistics.h"
#include "core/exec_rows.h"
#include "dp/accounting/accountant.h"
#include "dp/sampler.h"
#include "dp/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace pergrad::audit {
namespace {

using dp::Plan;
using dp::PlanSettings;

// What is seen of worlds with and without the canary: [worlds][steps] numbers in clip norms.
struct Seen {
  int64_t steps = 0;
  std::vector<float> with, without;
};

struct Worlds {
  Plan plan;
  int64_t others;  // records of each world beside the canary
  static constexpr int64_t kWorlds = 32, kWidth = 8;

  // One training of kWorlds worlds, the canary in every second one. The others' gradients keep away from
  // number 0 of their world, which the canary's has alone, longer than C: the attack is the best there is.
  void train(const Key& key, const std::filesystem::path& scratch, const std::string& name, float* with,
             float* without) const {
    OwnMechanism own(plan, key, scratch, name);
    NamedUnits examples;
    const int64_t records = others + 1;
    ChosenRows rows(kWorlds * kWidth, [&](const Unit& unit, std::span<float> row) {
      for (int64_t id : unit.ids) {
        const int64_t world = id / records, record = id % records;
        float* mine = row.data() + world * kWidth;
        if (record == others)
          mine[0] = world % 2 == 0 ? static_cast<float>(5 * plan->clip_norm) : 0;
        else
          mine[1 + record % (kWidth - 1)] = record % 2 ? 2 : -0.5f;
      }
    });
    const dp::PoissonSampler sampler(plan, key, kWorlds * records);
    for (int64_t step = 0; step < plan->steps; ++step) {
      const dp::PrivateGradient gradient =
          private_step(sampler, examples, rows, own.mechanism, step, 1000, CpuExec{1});
      const auto out = gradient.values().values<float>();
      for (int64_t world = 0; world < kWorlds; ++world) {
        float* place = (world % 2 == 0 ? with : without) + world / 2 * plan->steps + step;
        *place = static_cast<float>(static_cast<double>(out[static_cast<size_t>(world * kWidth)]) *
                                    plan.divisor() / plan->clip_norm);
      }
    }
  }

  // `runs` trainings with the canary and as many without, at least.
  Seen see(const Subject& subject, const std::string& name, int64_t runs) const {
    constexpr int64_t kPairs = kWorlds / 2;
    const int64_t batches = (runs + kPairs - 1) / kPairs;
    Seen seen;
    seen.steps = plan->steps;
    seen.with.resize(static_cast<size_t>(batches * kPairs * plan->steps));
    seen.without.resize(seen.with.size());
    for_each_row(subject.exec, batches, [&](int64_t batch) {
      const int64_t place = batch * kPairs * plan->steps;
      train(derive_key(subject.random, concat(name, ' ', batch)), subject.scratch, concat(name, '-', batch),
            seen.with.data() + place, seen.without.data() + place);
    });
    return seen;
  }
};

// log of the likelihood ratio of a training: steps of mean shift `d` with chance q, deviation s.
double log_ratio(const float* seen, int64_t steps, double q, double d, double s) {
  double total = 0;
  for (int64_t t = 0; t < steps; ++t)
    total += std::log1p(q * std::expm1((2 * static_cast<double>(seen[t]) * d - d * d) / (2 * s * s)));
  return total;
}

void curve(const Subject& subject, Checks& checks) {
  const double sigma =
      std::clamp(subject.plan->noise_multiplier / subject.plan.sensitivity_in_clips(), 0.8, 1.5);
  const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
    s.sampling_rate = 0.25, s.noise_multiplier = sigma, s.steps = 16, s.expected_batch = 136,
    s.max_examples = 4096;
    s.units = "example", s.microbatch_size = 0;
  });
  const Worlds worlds{plan, 16};
  const int64_t runs = subject.full ? 1'000'000 : 100'000;
  // The attack learns its parameters from trainings that are not counted afterwards: one that believes what
  // is claimed is blind to small errors.
  const Seen pilot = worlds.see(subject, "pilot", runs / 10);
  double squares = 0, mean = 0, square = 0;
  const auto n = static_cast<double>(pilot.with.size());
  for (float x : pilot.without) squares += static_cast<double>(x) * static_cast<double>(x) / n;
  for (float x : pilot.with)
    mean += static_cast<double>(x) / n, square += static_cast<double>(x) * static_cast<double>(x) / n;
  const double s = std::sqrt(std::max(squares, 1e-12));
  const double d = std::clamp((square - squares) / std::max(mean, 1e-6), 0.1, 10.0);
  const double q = std::clamp(mean / d, 1e-4, 0.9999);

  const Seen seen = worlds.see(subject, "curve", runs);
  const auto trainings = static_cast<int64_t>(seen.with.size()) / seen.steps;
  std::vector<float> with(static_cast<size_t>(trainings)), without(with);
  for (int64_t i = 0; i < trainings; ++i) {
    with[static_cast<size_t>(i)] =
        static_cast<float>(log_ratio(seen.with.data() + i * seen.steps, seen.steps, q, d, s));
    without[static_cast<size_t>(i)] =
        static_cast<float>(log_ratio(seen.without.data() + i * seen.steps, seen.steps, q, d, s));
  }
  constexpr double kEpsilons[] = {0, 0.25, 0.5, 1, 1.5, 2, 3};
  constexpr double kEach = kLevel / (4 * std::size(kEpsilons));
  const accounting::Phases phases = {{plan.effective_noise_multiplier(), plan->sampling_rate, plan->steps}};
  double closest = 0;
  for (double epsilon : kEpsilons) {
    const double stated = accounting::delta_interval(phases, epsilon).upper + 1e-9;
    const auto above = [&](const std::vector<float>& ratios) {
      return std::ranges::count_if(ratios, [&](float r) { return static_cast<double>(r) > epsilon; });
    };
    const auto below = [&](const std::vector<float>& ratios) {
      return std::ranges::count_if(ratios, [&](float r) { return static_cast<double>(r) < -epsilon; });
    };
    const double joins = binomial_lower(above(with), trainings, kEach) -
                         std::exp(epsilon) * binomial_upper(above(without), trainings, kEach);
    const double leaves = binomial_lower(below(without), trainings, kEach) -
                          std::exp(epsilon) * binomial_upper(below(with), trainings, kEach);
    checks.require(joins <= stated, "at epsilon ", epsilon,
                   " a record that joins is told with delta >= ", joins, ", stated is ", stated);
    checks.require(leaves <= stated, "at epsilon ", epsilon,
                   " a record that leaves is told with delta >= ", leaves, ", stated is ", stated);
    closest = std::max(closest, std::max(joins, leaves) / stated);
  }
  checks.found(fmt::format(
      "{} trainings of {} steps each way (noise {:g}, rate {:g}): the proved part of delta reaches "
      "{:.1f} % of the stated one, and nowhere more",
      trainings, seen.steps, sigma, plan->sampling_rate, 100 * closest));
}

void steps(const Subject& subject, Checks& checks) {
  std::string text;
  for (double mu : {0.5, 1.0, 2.0, 4.0}) {
    const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
      s.sampling_rate = 1, s.noise_multiplier = 1 / mu, s.steps = 16, s.expected_batch = 40,
      s.max_examples = 4096;
      s.units = "example", s.microbatch_size = 0;
    });
    const Seen seen = Worlds{plan, 0}.see(subject, concat("step", mu), 100'000 / 16);
    const auto n = static_cast<double>(seen.with.size());
    double with = 0, without = 0, squares = 0;
    for (float x : seen.with) with += static_cast<double>(x) / n;
    for (float x : seen.without) without += static_cast<double>(x) / n;
    for (float x : seen.with) squares += std::pow(static_cast<double>(x) - with, 2);
    for (float x : seen.without) squares += std::pow(static_cast<double>(x) - without, 2);
    // Shift and deviation, each with its margin.
    const auto proved = [&](double level) {
      const double largest = deviation_between(squares, 2 * n - 2, level).upper;
      const double shift = with - without + normal_quantile(level / 2) * largest * std::sqrt(2 / n);
      return std::max(1e-6, shift / largest);
    };
    const double certain = proved(kLevel), likely = proved(0.05), delta = 1e-5;
    checks.require(certain <= mu * (1 + 1e-9), "a step tells a record apart with mu >= ", certain,
                   ", stated is ", mu);
    text += fmt::format("{}{:.1f} % at mu {:g}", text.empty() ? "" : ", ",
                        100 * gaussian_epsilon(likely, delta) / gaussian_epsilon(mu, delta), mu);
  }
  checks.found(fmt::format(
      "one step, 100,000 observations each way: the proved epsilon (95 %) is {} of the accountant's", text));
}

}  // namespace

void audit_white_box(const Subject& subject, Checks& checks) {
  steps(subject, checks);
  curve(subject, checks);
}

}  // namespace pergrad::audit
