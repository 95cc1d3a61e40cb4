// Rung R0: one immutable plan that everything reads, made of the config as it says, refused where it is
// unsafe; and keys with all their entropy.
#include "apps/audit/instruments.h"
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/audit/statistics.h"
#include "apps/planning.h"
#include "apps/run_folder.h"
#include "core/hash.h"
#include "dp/accountant.h"
#include "dp/sampler.h"
#include "dp/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_set>

namespace pergrad::audit {
namespace {

using dp::Plan;
using dp::PlanSettings;
using Change = std::function<void(PlanSettings&)>;

// The plan is what the config says, by arithmetic done again here.
void of_the_config(const Subject& subject, Checks& checks) {
  const apps::Config& config = subject.config;
  const Plan& plan = subject.plan;
  const auto N = static_cast<double>(config.data.examples > 0 ? config.data.examples : subject.data.size());
  const auto batch = static_cast<double>(config.train.expected_batch_size);
  checks.require(plan->sampling_rate <= batch / N && plan->sampling_rate >= batch / N * (1 - 0x1p-50),
                 "the plan's sampling rate is ", plan->sampling_rate, ", the config says ", batch, " of ", N);
  checks.require(plan->clip_norm == config.privacy.clip_norm, "the plan's clip norm is not the config's");
  checks.require(plan->steps == config.train.steps, "the plan's steps are not the config's");
  checks.require(plan->delta == config.privacy.delta, "the plan's delta is not the config's");
  checks.require(plan->expected_batch == batch, "the plan's divisor is not the config's expected batch size");
  checks.require(plan->noise_source == config.noise_source, "the plan's noise source is not the config's");
  checks.require(plan.microbatches() == (config.privacy.units == "microbatch"), "the plan has other units");
  if (config.privacy.noise_multiplier)
    checks.require(plan->noise_multiplier == *config.privacy.noise_multiplier,
                   "the plan's noise multiplier is not the config's");
  const dp::PrivacyCost cost = dp::planned_cost(plan, subject.parameters);
  if (config.privacy.epsilon)
    checks.require(cost.epsilon_upper <= *config.privacy.epsilon, "the plan costs epsilon ",
                   cost.epsilon_upper, ", the config allows ", *config.privacy.epsilon);
  checks.require(std::isfinite(cost.epsilon_upper) && cost.epsilon_upper > 0, "the plan's epsilon is ",
                 cost.epsilon_upper);
  checks.found(
      fmt::format("the plan promises ({:.4f}, {:g})-DP: noise multiplier {:g}, sampling rate {:g}, {} steps",
                  cost.epsilon_upper, plan->delta, plan->noise_multiplier, plan->sampling_rate, plan->steps));
  if (plan->delta >= 1 / N) checks.found(fmt::format("warning: delta {:g} is not below 1/N", plan->delta));
}

// Whatever decides the guarantee is in the hash, and a plan that is unsafe is none.
void immutable(const Subject& subject, Checks& checks) {
  const Plan& plan = subject.plan;
  checks.require(plan.hash() == sha256_hex(plan.canonical_text()), "the plan's hash is not that of its text");
  const std::map<std::string, Change> changes = {
      {"sampling_rate", [](PlanSettings& s) { s.sampling_rate *= 0.75; }},
      {"noise_multiplier",
       [](PlanSettings& s) { s.noise_multiplier = std::nextafter(s.noise_multiplier, 1e9); }},
      {"clip_norm", [](PlanSettings& s) { s.clip_norm = std::nextafter(s.clip_norm, 1e9); }},
      {"steps", [](PlanSettings& s) { ++s.steps; }},
      {"expected_batch", [](PlanSettings& s) { s.expected_batch += 1; }},
      {"delta", [](PlanSettings& s) { s.delta /= 2; }},
      {"max_examples", [](PlanSettings& s) { --s.max_examples; }},
      {"grid_bits", [](PlanSettings& s) { --s.grid_bits; }},
      {"units",
       [](PlanSettings& s) {
         s.units = s.units == "example" ? "microbatch" : "example",
         s.microbatch_size = s.microbatch_size ? 0 : 2;
       }},
      {"pool", [](PlanSettings& s) { s.pool += "x"; }},
      {"noise_source",
       [](PlanSettings& s) { s.noise_source = s.noise_source == "secure" ? "reproducible" : "secure"; }}};
  for (const auto& [name, change] : changes)
    checks.require(plan_like(plan, change).hash() != plan.hash(), "the plan's hash does not cover ", name);

  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(),
                   kInf = std::numeric_limits<double>::infinity();
  const auto refuses = [&](const std::string& name, const Change& change) {
    checks.require(refused([&] { plan_like(plan, change); }), "a plan with ", name, " is accepted");
  };
  for (double bad : {0.0, -1.0, kNan, kInf, -kInf}) {
    refuses(concat("noise multiplier ", bad), [&](PlanSettings& s) { s.noise_multiplier = bad; });
    refuses(concat("sampling rate ", bad), [&](PlanSettings& s) { s.sampling_rate = bad; });
    refuses(concat("clip norm ", bad), [&](PlanSettings& s) { s.clip_norm = bad; });
    refuses(concat("delta ", bad), [&](PlanSettings& s) { s.delta = bad; });
    refuses(concat("expected batch ", bad), [&](PlanSettings& s) { s.expected_batch = bad; });
  }
  refuses("sampling rate 1.5", [](PlanSettings& s) { s.sampling_rate = 1.5; });
  refuses("delta 1", [](PlanSettings& s) { s.delta = 1; });
  refuses("0 steps", [](PlanSettings& s) { s.steps = 0; });
  refuses("unknown units", [](PlanSettings& s) { s.units = "batch"; });
  refuses("an unknown noise source", [](PlanSettings& s) { s.noise_source = "numpy"; });
  refuses("more examples than 64 bits can sum",
          [](PlanSettings& s) { s.max_examples = (int64_t{1} << (61 - s.grid_bits)) + 1; });
  refuses("noise below 2^20 grid steps",
          [](PlanSettings& s) { s.noise_multiplier = std::ldexp(0.9, 20 - s.grid_bits); });

  // The range proof again, in 128 bits, at the largest noise and the most rows that the plan accepts.
  const auto most = static_cast<uint128_t>(plan->max_examples) << plan->grid_bits;
  const auto noise = 64 * static_cast<uint128_t>(plan.noise_std_on_grid());
  checks.require(most + noise < uint128_t{1} << 62, "sum and noise can overflow 64 bits");
  checks.require(
      static_cast<double>(plan.noise_std_on_grid()) >= std::ldexp(plan->noise_multiplier, plan->grid_bits),
      "the noise on the grid is below noise multiplier x clip norm");
  checks.require(plan.sensitivity_in_clips() == (plan.microbatches() ? 2 : 1), "the sensitivity is ",
                 plan.sensitivity_in_clips(), " clip norms");
}

// Sampler, clip, mechanism and ledger of different plans do not work together; the ledger and the accountant
// have the plan's numbers.
void read_by_all(const Subject& subject, Checks& checks) {
  const Plan& plan = subject.plan;
  const Plan other = plan_like(plan, [](PlanSettings& s) { s.clip_norm *= 2, s.delta /= 2; });
  const Key key = derive_key(subject.random, "plan");
  OwnMechanism own(plan, key, subject.scratch, "plan");
  checks.require(own.ledger.plan_hash() == plan.hash(), "the ledger's plan is another");
  checks.require(refused([&] { dp::GaussianMechanism(other, key, own.ledger); }),
                 "a mechanism works with the ledger of another plan");
  NamedUnits examples;
  ChosenRows rows(3, [](const Unit&, std::span<float> row) { row[0] = 1; });
  const dp::PoissonSampler other_sampler(other, key, 5);
  checks.require(
      refused([&] { private_step(other_sampler, examples, rows, own.mechanism, 0, 4, subject.exec); }),
      "a step takes a sampler of another plan");
  const dp::PoissonSampler other_key(plan, derive_key(key, "another run"), 5);
  checks.require(refused([&] { private_step(other_key, examples, rows, own.mechanism, 0, 4, subject.exec); }),
                 "a step takes a sampler of another run key");
  checks.require(refused([&] { own.mechanism.release(dp::ClippedSum(other, 3), 0); }),
                 "a sum of another clip norm is released");
  checks.require(refused([&] {
                   dp::ClippedSum sum(other, 3);
                   clip_and_sum(one_row(std::vector<float>{1, 0, 0}), plan, sum);
                 }),
                 "rows are added to a sum of another clip norm");
  for (int64_t step : {int64_t{-1}, plan->steps, plan->steps + 1})
    checks.require(refused([&] { own.mechanism.release(dp::ClippedSum(plan, 3), step); }), "step ", step,
                   " is released, the plan has ", plan->steps);
  checks.require(refused([&] { dp::PoissonSampler(plan, key, plan->max_examples + 1); }),
                 "more examples are sampled than the plan knows");
  checks.require(own.ledger.releases() == 0, "a refused release is on the ledger");

  own.mechanism.release(dp::ClippedSum(plan, 3), 0);
  const std::vector<dp::Phase> spent = dp::read_ledger(own.path.string());
  const double effective = plan->noise_multiplier / (plan.microbatches() ? 2 : 1);
  checks.require(spent.size() == 1 && spent[0].releases == 1, "one release is not one line of the ledger");
  if (spent.size() == 1) {
    checks.require(spent[0].noise_multiplier == effective, "the ledger charges noise multiplier ",
                   spent[0].noise_multiplier, " for ", effective);
    checks.require(spent[0].sampling_rate == plan->sampling_rate, "the ledger charges sampling rate ",
                   spent[0].sampling_rate, " for ", plan->sampling_rate);
    checks.require(spent[0].noise_std_on_grid == plan.noise_std_on_grid() && spent[0].parameters == 3,
                   "the ledger charges another grid");
  }
}

// A microbatch moves the sum by 2 C: the ledger and the accountant take half the noise multiplier.
void microbatches(const Subject& subject, Checks& checks) {
  const Plan plan = plan_like(subject.plan, [](PlanSettings& s) {
    s.units = "microbatch", s.microbatch_size = 4, s.expected_batch = 40, s.max_examples = 1000;
  });
  OwnMechanism own(plan, derive_key(subject.random, "microbatches"), subject.scratch, "microbatches");
  own.mechanism.release(dp::ClippedSum(plan, 3), 0);
  const std::vector<dp::Phase> spent = dp::read_ledger(own.path.string());
  checks.require(
      plan.sensitivity_in_clips() == 2 && plan.effective_noise_multiplier() == plan->noise_multiplier / 2,
      "microbatches are planned with sensitivity ", plan.sensitivity_in_clips(), " C");
  checks.require(spent.size() == 1 && spent[0].noise_multiplier == plan->noise_multiplier / 2,
                 "microbatches are charged like single examples");
  checks.require(plan.divisor() == 10, "40 examples in groups of 4 are divided by ", plan.divisor());
}

// 256 bits from the system: 2^19 keys are all different (31 bits of entropy would repeat 64 times), each bit
// is set as often as not; runs that differ in seed, config or data have different keys.
void keys(const Subject& subject, Checks& checks) {
  constexpr int64_t kKeys = int64_t{1} << 19;
  std::unordered_set<uint64_t> seen;
  seen.reserve(kKeys);
  std::vector<int64_t> set(256, 0);
  for (int64_t i = 0; i < kKeys; ++i) {
    const Key key = key_from_entropy();
    uint64_t mixed = 0;
    for (size_t b = 0; b < 32; ++b) {
      mixed = (mixed ^ key.bytes[b]) * 0x9E3779B97F4A7C15u;
      mixed ^= mixed >> 29;
      for (size_t bit = 0; bit < 8; ++bit) set[8 * b + bit] += key.bytes[b] >> bit & 1;
    }
    seen.insert(mixed);
  }
  checks.require(static_cast<int64_t>(seen.size()) == kKeys,
                 "keys from the system's entropy repeat: ", kKeys - static_cast<int64_t>(seen.size()), " of ",
                 kKeys);
  double worst = 1;
  for (int64_t count : set) worst = std::min(worst, binomial_p(count, kKeys, 0.5));
  checks.likely(worst, 256, "a bit of the keys is biased");

  auto key_of = [&, n = 0](uint64_t seed, double rate, const std::string& data,
                           const std::string& source) mutable {
    apps::Config config = subject.config;
    config.train.seed = seed, config.train.learning_rate.peak *= rate, config.noise_source = source;
    return apps::RunFolder::create(subject.scratch / concat("key", n++), config).run_key(data);
  };
  const Key first = key_of(1, 1, "data", "reproducible");
  checks.require(first == key_of(1, 1, "data", "reproducible"), "a reproducible run has another key");
  checks.require(!(first == key_of(2, 1, "data", "reproducible")), "runs of different seeds share a key");
  checks.require(!(first == key_of(1, 2, "data", "reproducible")), "runs of different configs share a key");
  checks.require(!(first == key_of(1, 1, "datb", "reproducible")), "runs on different data share a key");
  checks.require(!(key_of(1, 1, "data", "secure") == key_of(1, 1, "data", "secure")),
                 "two secure runs share a key");
  for (const char* use : {"sampler", "bucket", "commitment", "noise", "augment", "shuffle"})
    checks.require(!(derive_key(first, use) == derive_key(first, concat(use, "x"))) &&
                       !(derive_key(first, use) == first),
                   "keys of different uses are the same");
}

// Who is in the data twice is protected half as well.
void records(const Subject& subject, Checks& checks) {
  std::unordered_set<std::string_view> seen;
  int64_t twice = 0;
  for (int64_t id = 0; id < subject.data.size(); ++id) {
    const auto image = subject.data.image(id);
    twice += !seen.emplace(reinterpret_cast<const char*>(image.data()), image.size()).second;
  }
  checks.require(subject.data.size() <= subject.plan->max_examples, "there are ", subject.data.size(),
                 " training examples, the plan is for at most ", subject.plan->max_examples);
  if (twice > 0)
    checks.found(fmt::format("warning: {} of {} training images are there more than once", twice,
                             subject.data.size()));
  if (!subject.pool) return;
  int64_t shared = 0;
  const Dataset& pool = subject.pool->dataset();
  for (int64_t i = 0; i < pool.size(); ++i) {
    const auto image = pool.image(i);
    shared += seen.contains({reinterpret_cast<const char*>(image.data()), image.size()});
  }
  checks.require(shared == 0, shared, " images of the public pool are in the private data");
}

}  // namespace

void audit_plan(const Subject& subject, Checks& checks) {
  test_instruments(subject, checks);
  of_the_config(subject, checks);
  immutable(subject, checks);
  read_by_all(subject, checks);
  microbatches(subject, checks);
  keys(subject, checks);
  records(subject, checks);
}

}  // namespace pergrad::audit
