// Plans and ledgers: what dp/ says that they cost is what dp/accounting says of their phases.
#include "apps/audit/accountant_ledgers.h"

#include "apps/audit/parts.h"
#include "apps/audit/toy_run.h"
#include "core/hash.h"
#include "dp/accountant.h"
#include "dp/accounting/accountant.h"
#include "dp/sampler.h"
#include "dp/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace pergrad::audit {
namespace {

using accounting::Phases;

// What dp/ states for a plan or a ledger is what dp/accounting says of `phases`, and the slack of the grid.
void agrees(Checks& checks, const dp::PrivacyCost& cost, const Phases& phases, const auto&... what) {
  const accounting::Interval epsilon =
      accounting::epsilon_interval(phases, cost.delta * std::exp(-cost.grid_slack));
  const double most = (epsilon.upper + 2 * cost.grid_slack) * (1 + 1e-3) + 1e-9;
  checks.require(cost.epsilon_upper >= epsilon.lower + 2 * cost.grid_slack, what...,
                 ": epsilon is stated as ", cost.epsilon_upper, ", but is at least ", epsilon.lower);
  checks.require(cost.epsilon_upper <= most, what..., ": epsilon is stated as ", cost.epsilon_upper,
                 ", but is at most ", most);
  checks.require(cost.epsilon_lower <= cost.epsilon_upper && cost.rdp_epsilon >= cost.epsilon_lower, what...,
                 ": the bounds are out of order");
}

bool same(const dp::PrivacyCost& a, const dp::PrivacyCost& b) {
  return a.epsilon_upper == b.epsilon_upper && a.epsilon_lower == b.epsilon_lower &&
         a.rdp_epsilon == b.rdp_epsilon && a.releases == b.releases && a.grid_slack == b.grid_slack;
}

std::string tag(int64_t number) { return sha256_hex(concat("audit tag ", number)); }

// A delta at which half of so many steps cost something.
double telling_delta(const dp::Plan& plan, int64_t steps) {
  const double seen = accounting::delta_interval(
                          {{plan.effective_noise_multiplier(), plan->sampling_rate, steps / 2}}, 0, 0.01)
                          .lower;
  return seen > 0 ? std::min(plan->delta, seen / 10) : plan->delta;
}

// A plan of 20 steps, step by step on a ledger.
void ledger_of(const Subject& subject, Checks& checks, dp::PlanSettings settings, const std::string& name) {
  constexpr int64_t kSteps = 20;
  settings.steps = kSteps;
  settings.delta = telling_delta(dp::Plan(settings), kSteps);
  const dp::Plan plan(settings);
  const double delta = plan->delta, q = plan->sampling_rate;
  const double sigma = plan->noise_multiplier / (plan.microbatches() ? 2 : 1);
  const int64_t P = subject.parameters;
  const std::string path = (subject.scratch / ("accountant-" + name + ".jsonl")).string();
  const dp::PrivacyCost planned = dp::planned_cost(plan, P);
  agrees(checks, planned, {{sigma, q, kSteps}}, name, ": the plan");
  checks.require(same(planned, dp::planned_cost(plan, P)), name,
                 ": the plan costs another epsilon when asked again");

  dp::Ledger ledger(path, plan);
  checks.require(dp::spent_cost(path, delta).epsilon_upper == 0, name, ": an empty ledger costs something");
  for (int64_t step = 0; step < kSteps / 2; ++step) ledger.append(step, P, tag(step), kSampler);
  const dp::PrivacyCost half = dp::spent_cost(path, delta);
  agrees(checks, half, {{sigma, q, kSteps / 2}}, name, ": half of the ledger");
  for (int64_t step = kSteps / 2; step < kSteps; ++step) ledger.append(step, P, tag(step), kSampler);
  ledger.append(0, P, tag(0), kSampler);  // a replay costs nothing
  const std::string before = text_of_file(path);
  const dp::PrivacyCost whole = dp::spent_cost(path, delta);
  checks.require(same(whole, planned), name, ": all steps of the plan cost ", whole.epsilon_upper, " for ",
                 whole.releases, " releases, planned ", planned.epsilon_upper, " for ", planned.releases);
  checks.require(same(whole, dp::spent_cost(path, delta)) && text_of_file(path) == before, name,
                 ": a question to the ledger changes it, or its next answer");
  checks.require(half.epsilon_upper < whole.epsilon_upper && half.releases == kSteps / 2, name,
                 ": half of the steps cost ", half.epsilon_upper, ", all ", whole.epsilon_upper);

  ledger.append(3, P, tag(100), kSampler);  // a second release of step 3
  const dp::PrivacyCost forked = dp::spent_cost(path, delta);
  checks.require(forked.epsilon_upper > whole.epsilon_upper, name, ": a step released twice costs ",
                 forked.epsilon_upper, ", once ", whole.epsilon_upper);
  agrees(checks, forked, {{sigma, q, kSteps - 1}, {sigma / std::sqrt(2.0), q, 1}}, name,
         ": a step released twice");
}

// Two plans on one ledger: both are charged.
void two_plans(const Subject& subject, Checks& checks) {
  dp::PlanSettings settings = *subject.plan.operator->();
  settings.steps = 12;
  settings.delta = telling_delta(dp::Plan(settings), 12);
  const dp::Plan first(settings);
  settings.noise_multiplier *= 1.5;
  settings.sampling_rate = settings.sampling_rate / 2;
  const dp::Plan second(settings);
  const std::string path = (subject.scratch / "accountant-two.jsonl").string();
  const int64_t P = subject.parameters;
  for (const dp::Plan& plan : {first, second}) {
    dp::Ledger ledger(path, plan);
    for (int64_t step = 0; step < 12; ++step) ledger.append(step, P, tag(step), kSampler);
  }
  agrees(checks, dp::spent_cost(path, first->delta),
         {{first.effective_noise_multiplier(), first->sampling_rate, 12},
          {second.effective_noise_multiplier(), second->sampling_rate, 12}},
         "two plans on one ledger");
}

// Two run keys on one ledger: each step has a draw of each. Where a line names none, all are of one key.
void two_keys(const Subject& subject, Checks& checks) {
  dp::PlanSettings settings = *subject.plan.operator->();
  settings.steps = 12;
  settings.delta = telling_delta(dp::Plan(settings), 24);
  const dp::Plan plan(settings);
  const std::string path = (subject.scratch / "accountant-keys.jsonl").string();
  for (const char* run : {"one run", "another run"}) {
    dp::Ledger ledger(path, plan);
    dp::GaussianMechanism mechanism(plan, derive_key(subject.random, run), ledger);
    for (int64_t step = 0; step < 12; ++step) mechanism.release(dp::ClippedSum(plan, 3), step);
  }
  agrees(checks, dp::spent_cost(path, plan->delta),
         {{plan.effective_noise_multiplier(), plan->sampling_rate, 24}}, "two run keys on one ledger");
  dp::Ledger ledger(path, plan);
  ledger.append(0, 3, tag(0), "");
  agrees(checks, dp::spent_cost(path, plan->delta),
         {{plan.effective_noise_multiplier() / std::sqrt(2.0), plan->sampling_rate, 11},
          {plan.effective_noise_multiplier() / std::sqrt(3.0), plan->sampling_rate, 1}},
         "a ledger with a line that names no sampler");
}

// A release is a step, whether its draw is empty or takes many chunks.
void real_steps(const Subject& subject, Checks& checks) {
  constexpr int64_t kSteps = 24;
  dp::PlanSettings settings = *subject.plan.operator->();
  settings.steps = kSteps;
  settings.sampling_rate = 0.3;
  settings.max_examples = 4;
  settings.delta = 1e-5;
  const dp::Plan plan(settings);
  const Key key = derive_key(subject.random, "accountant steps");
  const std::string path = (subject.scratch / "accountant-steps.jsonl").string();
  dp::Ledger ledger(path, plan);
  dp::GaussianMechanism mechanism(plan, key, ledger);
  const dp::PoissonSampler sampler(plan, key, 4);
  NamedUnits examples;
  ChosenRows rows(3, [](const Unit&, std::span<float>) {});
  for (int64_t step = 0; step < kSteps; ++step) {
    dp::private_step(sampler, examples, rows, mechanism, step, 1, subject.exec);
    checks.require(ledger.releases() == step + 1, "after ", step + 1, " steps the ledger holds ",
                   ledger.releases(), " releases");
  }
  checks.require(same(dp::spent_cost(path, plan->delta), dp::planned_cost(plan, 3)), kSteps,
                 " steps that were made cost another epsilon than planned");
}

// The discrete noise costs 2 eta, which a coarse grid makes visible: eta = 0.1 here.
void coarse_grid(Checks& checks) {
  const dp::PrivacyCost cost = dp::cost_of({{1.0, 0.1, 100, 1 << 20, 1 << 20}}, 1e-5);
  const double eta = 1024 * 0x1p-40 * 0x1p20 * 100;
  checks.require(cost.grid_slack >= eta && cost.grid_slack <= eta * 1.001, "a coarse grid costs ",
                 cost.grid_slack, ", by hand ", eta);
  agrees(checks, cost, {{1.0, 0.1, 100}}, "a coarse grid");
}

}  // namespace

void audit_ledgers(const Subject& subject, Checks& checks) {
  const dp::PlanSettings settings = *subject.plan.operator->();
  dp::PlanSettings examples = settings, groups = settings;
  examples.units = "example";
  examples.microbatch_size = 0;
  groups.units = "microbatch";
  groups.microbatch_size = std::max<int64_t>(2, settings.microbatch_size);
  ledger_of(subject, checks, examples, "examples");
  ledger_of(subject, checks, groups, "microbatches");
  two_plans(subject, checks);
  two_keys(subject, checks);
  real_steps(subject, checks);
  coarse_grid(checks);
  const dp::PrivacyCost cost = dp::planned_cost(subject.plan, subject.parameters);
  agrees(checks, cost,
         {{subject.plan.effective_noise_multiplier(), subject.plan->sampling_rate, subject.plan->steps}},
         "the plan");
  checks.found(
      fmt::format("The plan costs an epsilon in [{:.4f}, {:.4f}] at delta {:g}; a ledger with all its steps "
                  "costs the same to the last bit, with one of them twice what the accountant says of it",
                  cost.epsilon_lower, cost.epsilon_upper, cost.delta));
}

}  // namespace pergrad::audit
