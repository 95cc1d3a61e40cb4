// Rung A: what the accountant states is held against simulated attacks, closed forms, the published values of
// others, its own other answers, and the ledgers and plans that it is asked about (accountant_ledgers.cpp).
#include "apps/audit/accountant_ledgers.h"
#include "apps/audit/published_epsilons.h"
#include "apps/audit/rungs.h"
#include "apps/audit/statistics.h"
#include "apps/audit/subsampled_gaussian.h"
#include "apps/planning.h"
#include "core/exec_rows.h"
#include "core/philox.h"
#include "dp/accountant.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"
#include "dp/accounting/rdp.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>

namespace pergrad::audit {
namespace {

using accounting::Phases;

constexpr double kRounding = 1e-9;  // of our own closed forms, relative
constexpr double kWidth = 2e-4;     // of an interval of the accountant, relative: twice what it aims at

std::string text_of(const SubsampledGaussian& run) {
  return fmt::format("noise multiplier {:g}, sampling rate {:g}, {} steps", run.sigma, run.q, run.steps);
}
Phases phases_of(const SubsampledGaussian& run) { return {{run.sigma, run.q, run.steps}}; }

// ---- Simulated attacks ---------------------------------------------------------------------------------

struct Attack {
  int64_t runs = 0;
  double nearest = std::numeric_limits<double>::infinity();  // stated delta / proved delta
  std::string where, refuted;
};

// Every bound that is proved against what is stated, both ways round.
Attack attack(const SubsampledGaussian& run, int64_t runs, const Key& key) {
  constexpr double kPrecision = 1e-3;
  const std::vector<double> epsilons = {0, 0.25, 0.5, 1, 2};
  const std::vector<BothWays> proved = proved_deltas(run, epsilons, runs, kLevel, key, {});
  Attack result{.runs = runs, .where = {}, .refuted = {}};
  const auto hold = [&](const char* way, double epsilon, double delta, double stated, auto range_of) {
    if (!(delta > 0)) return;
    const double at = range_of(accounting::epsilon_interval(phases_of(run), delta, kPrecision)).upper;
    if (!(delta <= stated))
      result.refuted =
          fmt::format("delta at epsilon {} ({}) is stated as {:.6g}, proved to be at least {:.6g}", epsilon,
                      way, stated, delta);
    else if (!(epsilon <= at))
      result.refuted =
          fmt::format("epsilon at delta {:.6g} ({}) is stated as {:.6g}, proved to be at least {:.6g}", delta,
                      way, at, epsilon);
    if (stated / delta < result.nearest) {
      result.nearest = stated / delta;
      result.where = fmt::format("{}, epsilon {}", text_of(run), epsilon);
    }
  };
  for (size_t k = 0; k < epsilons.size(); ++k) {
    const accounting::Interval stated = accounting::delta_interval(phases_of(run), epsilons[k], kPrecision);
    hold("remove", epsilons[k], proved[k].remove, stated.remove.upper,
         [](const auto& i) { return i.remove; });
    hold("add", epsilons[k], proved[k].add, stated.add.upper, [](const auto& i) { return i.add; });
    if (stated.upper < std::max(stated.remove.upper, stated.add.upper))
      result.refuted = "delta is below that of one of the two directions";
  }
  return result;
}

void attacks(const Subject& subject, Checks& checks) {
  const dp::Plan& plan = subject.plan;
  const SubsampledGaussian runs[] = {
      {plan->sampling_rate, plan.effective_noise_multiplier(), std::min<int64_t>(plan->steps, 250)},
      {0.05, 0.7, 80},
      {0.05, 0.8, 100},
      {0.1, 1.0, 60},
      {0.2, 1.5, 40},
      {0.3, 1.0, 10},
      {0.5, 1.2, 12},
      {0.9, 0.9, 3},
      {1.0, 2.0, 6},
  };
  const double draws = subject.full ? 8e7 : 3e6;
  std::vector<Attack> results(std::size(runs));
  for_each_row(subject.exec, std::ssize(results), [&](int64_t i) {
    const SubsampledGaussian& run = runs[i];
    results[static_cast<size_t>(i)] = attack(run, std::llround(draws / static_cast<double>(run.steps)),
                                             derive_key(subject.random, concat("accountant ", i)));
  });
  Attack nearest;
  int64_t simulated = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const Attack& result = results[i];
    simulated += result.runs;
    // The level of a setting was split among its bounds.
    checks.likely(result.refuted.empty() ? 1.0 : 0.0, 1, text_of(runs[i]), ": ", result.refuted);
    if (result.nearest < nearest.nearest) nearest = result;
  }
  checks.found(
      fmt::format("{} simulated runs of {} settings proved no delta above the stated one, in either "
                  "direction; the nearest came to 1/{:.4f} of it ({})",
                  simulated, std::size(runs), nearest.nearest, nearest.where));
}

// ---- Closed forms --------------------------------------------------------------------------------------

// [lower, upper] holds `exact`.
void inside(Checks& checks, const accounting::Range& range, double exact, double tolerance,
            const auto&... what) {
  checks.require(range.lower <= exact * (1 + tolerance), what..., ": the exact value is ", exact,
                 ", the lower end ", range.lower);
  checks.require(range.upper >= exact * (1 - tolerance), what..., ": the exact value is ", exact,
                 ", the upper end ", range.upper);
  checks.require(range.lower <= range.upper, what..., ": lower end ", range.lower, ", upper end ",
                 range.upper);
}

void without_sampling(Checks& checks) {
  for (const auto& [sigma, steps] : {std::pair{0.5, 1}, {1.0, 1}, {2.0, 3}, {10.0, 100}, {40.0, 4000}}) {
    const SubsampledGaussian run{1, sigma, steps};
    const double mu = std::sqrt(static_cast<double>(steps)) / sigma;
    for (const double delta : {1e-10, 1e-5, 1e-2}) {
      const accounting::Interval epsilon = accounting::epsilon_interval(phases_of(run), delta);
      const double exact = gaussian_epsilon(mu, delta);
      inside(checks, epsilon.remove, exact, kRounding, text_of(run), ", delta ", delta, ", remove");
      inside(checks, epsilon.add, exact, kRounding, text_of(run), ", delta ", delta, ", add");
      inside(checks, epsilon, exact, kRounding, text_of(run), ", delta ", delta);
    }
    for (const double epsilon : {0.0, 1.0, 5.0})
      inside(checks, accounting::delta_interval(phases_of(run), epsilon), gaussian_delta(mu, epsilon),
             kRounding, text_of(run), ", epsilon ", epsilon);
  }
  // Phases without sampling add up: 100 / 10^2 + 25 / 5^2 = 2.
  for (const Phases& phases : {Phases{{10, 1, 100}, {5, 1, 25}}, Phases{{5, 1, 25}, {10, 1, 100}}})
    inside(checks, accounting::epsilon_interval(phases, 1e-5), gaussian_epsilon(std::sqrt(2.0), 1e-5),
           kRounding, "two phases without sampling");
}

void one_step(Checks& checks) {
  constexpr double kRough =
      0.01;  // of single steps with a small q the last digits take the accountant seconds
  for (const SubsampledGaussian& run :
       std::initializer_list<SubsampledGaussian>{{0.1, 0.7, 1}, {0.3, 2, 1}, {0.8, 1.5, 1}, {1, 1, 1}}) {
    for (const double epsilon : {0.0, 0.05, 0.5, 2.0}) {
      const BothWays exact = one_step_delta(run, epsilon);
      const accounting::Interval stated = accounting::delta_interval(phases_of(run), epsilon, kRough);
      inside(checks, stated.remove, exact.remove, kRounding, text_of(run), ", delta at ", epsilon,
             ", remove");
      inside(checks, stated.add, exact.add, kRounding, text_of(run), ", delta at ", epsilon, ", add");
    }
    // Delta falls with epsilon: a statement about epsilon is one about delta at its ends.
    for (const double delta : {1e-8, 1e-5, 1e-3}) {
      const accounting::Interval stated = accounting::epsilon_interval(phases_of(run), delta, kRough);
      const auto ends = [&](const accounting::Range& range, auto way, const char* name) {
        checks.require(way(one_step_delta(run, range.upper)) <= delta * (1 + kRounding), text_of(run), ", ",
                       name, ": epsilon is stated as ", range.upper, " at delta ", delta, ", where it is ",
                       way(one_step_delta(run, range.upper)));
        checks.require(range.lower == 0 || way(one_step_delta(run, range.lower)) >= delta * (1 - kRounding),
                       text_of(run), ", ", name, ": the lower end ", range.lower, " is above epsilon");
      };
      ends(
          stated.remove, [](const BothWays& d) { return d.remove; }, "remove");
      ends(
          stated.add, [](const BothWays& d) { return d.add; }, "add");
    }
  }
}

void published(Checks& checks) {
  for (const Published& row : kPublished) {
    const accounting::Interval epsilon = accounting::epsilon_interval(phases_of(row.run), row.delta);
    const double rdp = accounting::rdp_epsilon(phases_of(row.run), row.delta).value;
    inside(checks, epsilon.remove, row.remove, kRounding, row.source, ", remove");
    inside(checks, epsilon.add, row.add, kRounding, row.source, ", add");
    inside(checks, epsilon, std::max(row.remove, row.add), kRounding, row.source);
    for (const double above : {row.rdp, row.pld_above, row.prv_above})
      checks.require(epsilon.lower <= above * (1 + 1e-9), row.source, ": the lower end ", epsilon.lower,
                     " is above a published upper bound, ", above);
    for (const double below : {row.pld_below, row.prv_below})
      checks.require(epsilon.upper >= below * (1 - 1e-3), row.source, ": epsilon is stated as ",
                     epsilon.upper, ", published as at least ", below);
    checks.require(rdp >= std::max(row.remove, row.add), row.source, ": by Renyi divergences ", rdp,
                   ", below the exact value");
    checks.require(rdp <= row.rdp * (1 + 1e-6), row.source, ": by Renyi divergences ", rdp, ", published as ",
                   row.rdp);
  }
  checks.found(
      fmt::format("The exact values of unsampled runs, of single steps and of {} published settings lie "
                  "inside the stated intervals, in both directions",
                  std::size(kPublished)));
}

// ---- Its answers agree with each other -----------------------------------------------------------------

struct Question {
  SubsampledGaussian run;
  double delta = 0;
};

// Random pairs, the second exposed more in one respect; then all questions again, backwards.
void order_and_repetition(const Subject& subject, Checks& checks) {
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "accountant order"), 0, 0);
  const auto spread = [&](double low, double high) { return low * std::pow(high / low, random.uniform()); };
  struct Asked {
    Question question;
    accounting::Interval epsilon;
    double rdp = 0;
  };
  const auto ask = [](const Question& question) {
    return Asked{question, accounting::epsilon_interval(phases_of(question.run), question.delta),
                 accounting::rdp_epsilon(phases_of(question.run), question.delta).value};
  };
  const int pairs = subject.full ? 400 : 36;
  constexpr const char* kMore[] = {"sampled more often", "less noise", "more steps", "a smaller delta"};
  std::vector<Question> questions;
  for (int i = 0; i < pairs; ++i) {
    const Question less{{spread(0.02, 0.9), spread(0.8, 20), static_cast<int64_t>(spread(20, 5000))},
                        spread(1e-10, 1e-3)};
    Question more = less;
    const double factor = spread(1.02, 1.5);
    if (i % 4 == 0) more.run.q = std::min(1.0, less.run.q * factor);
    if (i % 4 == 1) more.run.sigma = less.run.sigma / factor;
    if (i % 4 == 2) more.run.steps = std::llround(std::ceil(static_cast<double>(less.run.steps) * factor));
    if (i % 4 == 3) more.delta = less.delta / factor;
    questions.insert(questions.end(), {less, more});
  }
  std::vector<Asked> all(questions.size());
  for_each_row(subject.exec, std::ssize(questions), [&](int64_t i) {
    const auto n = static_cast<size_t>(i);
    all[n] = ask(questions[n]);
  });
  for (size_t i = 0; i < all.size(); i += 2) {
    const Asked &first = all[i], &second = all[i + 1];
    const std::string less = fmt::format("{}, delta {:g}", text_of(first.question.run), first.question.delta);
    const char* more = kMore[i / 2 % 4];
    checks.require(first.epsilon.upper <= second.epsilon.upper * (1 + kWidth), less, ": epsilon ",
                   first.epsilon.upper, "; with ", more, " only ", second.epsilon.upper);
    checks.require(first.epsilon.lower <= second.epsilon.upper, less, ": at least ", first.epsilon.lower,
                   "; with ", more, " at most ", second.epsilon.upper);
  }
  for (const Asked& asked : all) {
    const accounting::Interval& e = asked.epsilon;
    checks.require(e.lower >= 0 && e.lower <= e.upper && std::isfinite(e.upper), text_of(asked.question.run),
                   ": [", e.lower, ", ", e.upper, "] is no interval");
    checks.require(asked.rdp >= e.lower, text_of(asked.question.run), ": by Renyi divergences ", asked.rdp,
                   ", but epsilon is at least ", e.lower);
  }
  for (auto asked = all.rbegin(); asked != all.rend();
       asked += std::min<std::ptrdiff_t>(5, all.rend() - asked)) {
    const Asked again = ask(asked->question);
    checks.require(again.epsilon.upper == asked->epsilon.upper &&
                       again.epsilon.lower == asked->epsilon.lower && again.rdp == asked->rdp,
                   text_of(asked->question.run), ": the same question again has another answer");
  }
}

// Where other accountants return 0, or nothing.
void extremes(Checks& checks) {
  for (const SubsampledGaussian& run : std::initializer_list<SubsampledGaussian>{{1e-3, 50, 1},
                                                                                 {1e-3, 50, 100},
                                                                                 {1e-4, 10, 1},
                                                                                 {0.01, 100, 10000},
                                                                                 {1e-5, 1, 1000},
                                                                                 {0.5, 1e4, 1}}) {
    const double visible = accounting::delta_interval(phases_of(run), 0, 0.2).lower;
    checks.require(visible > 0, text_of(run), ": delta at epsilon 0 may be 0");
    if (run.steps == 1) {
      const double exact = one_step_delta(run, 0).remove;
      checks.require(visible <= exact * (1 + kRounding) && visible >= exact * 0.5, text_of(run),
                     ": delta at epsilon 0 is ", exact, ", at least ", visible, " is stated");
    }
    for (const double delta : {visible / 2, visible * 1e-6}) {
      const double epsilon = accounting::epsilon_interval(phases_of(run), delta, 0.2).upper;
      const double rdp = accounting::rdp_epsilon(phases_of(run), delta).value;
      checks.require(epsilon > 0 && rdp > 0, text_of(run), ": delta ", delta,
                     " needs an epsilon above 0; stated are ", epsilon, " and, by Renyi divergences, ", rdp);
    }
  }
  // Without sampling delta (mu^2 / 2) is above 1e-5 for any mu worth an epsilon.
  for (const double mu : {10.0, 100.0, 1000.0}) {
    const double epsilon = accounting::epsilon_interval({{1 / mu, 1, 1}}, 1e-5).upper;
    checks.require(epsilon > mu * mu / 2, "noise multiplier ", 1 / mu,
                   " without sampling: epsilon is stated as ", epsilon);
  }
}

// ---- Inverse problems ----------------------------------------------------------------------------------

void inverses(const Subject& subject, Checks& checks) {
  const double q = subject.plan->sampling_rate, delta = subject.plan->delta;
  const int64_t steps = std::min<int64_t>(subject.plan->steps, 2000);
  const auto upper = [&](double sigma, double rate, int64_t count) {
    return accounting::epsilon_interval({{sigma, rate, count}}, delta).upper;
  };
  std::vector<double> targets = {2.0};
  if (subject.full) targets = {0.1, 0.5, 1, 2, 4, 8, 16};
  for (const double target : targets) {
    const double sigma = accounting::noise_multiplier_for(target, delta, q, steps);
    checks.require(upper(sigma, q, steps) <= target, "the noise for epsilon ", target, " costs ",
                   upper(sigma, q, steps));
    checks.require(upper(sigma * 0.999, q, steps) > target, "0.1 % less than the noise for epsilon ", target,
                   " would do");
    const double more = sigma * 1.1;
    const int64_t count = accounting::steps_for(target, delta, q, more);
    checks.require(upper(more, q, count) <= target, "the steps for epsilon ", target, " cost ",
                   upper(more, q, count));
    checks.require(upper(more, q, count + 1 + count / 1000) > target,
                   "0.1 % more than the steps for epsilon ", target, " would do");
    const double rate = accounting::sampling_rate_for(target, delta, more, steps);
    checks.require(upper(more, rate, steps) <= target, "the sampling rate for epsilon ", target, " costs ",
                   upper(more, rate, steps));
    checks.require(rate >= 1 / 1.001 || upper(more, rate * 1.001, steps) > target,
                   "0.1 % more than the sampling rate for epsilon ", target, " would do");
  }

  apps::Config config = subject.config;
  const double now = dp::planned_cost(subject.plan, subject.parameters).epsilon_upper;
  const double target = std::clamp(0.7 * now, 0.1, 20.0);
  config.privacy.noise_multiplier.reset();
  config.privacy.epsilon = target;
  const dp::Plan plan = apps::plan_of(config, subject.data.size(), subject.parameters);
  const double cost = dp::planned_cost(plan, subject.parameters).epsilon_upper;
  checks.require(cost <= target, "the plan for privacy.epsilon = ", target, " costs ", cost);
  dp::PlanSettings less = *plan.operator->();
  less.noise_multiplier *= 0.998;
  checks.require(dp::planned_cost(dp::Plan(less), subject.parameters).epsilon_upper > target,
                 "0.2 % less than the noise of the plan for privacy.epsilon = ", target, " would do");
  checks.found(fmt::format("The plan made for epsilon {:.4f} costs {:.4f}, with 0.2 % less noise too much",
                           target, cost));
}

// ---- Refusals ------------------------------------------------------------------------------------------

void refusals(Checks& checks) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [&](const std::string& what, auto ask) {
    bool threw = false;
    try {
      ask();
    } catch (const std::exception&) {
      threw = true;
    }
    checks.require(threw, what, " is accounted for, not refused");
  };
  const auto everywhere = [&](const std::string& what, double sigma, double q, int64_t steps, double delta) {
    refused(what, [&] { accounting::epsilon_interval({{sigma, q, steps}}, delta); });
    refused(what + " (Renyi)", [&] { accounting::rdp_epsilon({{sigma, q, steps}}, delta); });
    refused(what + " (releases)", [&] { dp::cost_of({{sigma, q, steps, 10, int64_t{1} << 40}}, delta); });
  };
  for (const double sigma : {0.0, -1.0, kNaN, HUGE_VAL})
    everywhere(concat("noise multiplier ", sigma), sigma, 0.1, 10, 1e-5);
  for (const double q : {0.0, -0.1, 1.0000001, kNaN}) everywhere(concat("sampling rate ", q), 1, q, 10, 1e-5);
  for (const double delta : {0.0, 1.0, 1.5, -1e-5, kNaN})
    everywhere(concat("delta ", delta), 1, 0.1, 10, delta);
  everywhere("-1 steps", 1, 0.1, -1, 1e-5);
  for (const double epsilon : {-1.0, kNaN, HUGE_VAL}) {
    refused(concat("epsilon ", epsilon), [&] { accounting::delta_interval({{1, 0.1, 10}}, epsilon); });
    refused(concat("the noise for epsilon ", epsilon),
            [&] { accounting::noise_multiplier_for(epsilon, 1e-5, 0.1, 10); });
  }
  refused("noise on a grid too coarse", [] { dp::cost_of({{1, 0.1, 10, 10, 1000}}, 1e-5); });
}

}  // namespace

void audit_accountant(const Subject& subject, Checks& checks) {
  refusals(checks);
  without_sampling(checks);
  one_step(checks);
  published(checks);
  order_and_repetition(subject, checks);
  extremes(checks);

  audit_ledgers(subject, checks);
  inverses(subject, checks);
  attacks(subject, checks);
}

}  // namespace pergrad::audit
