// Accountant: the ledger is what counts, branches included; sensitivity 2 halves sigma; the slack of the
// discrete noise.
#include "tests/privacy/fakes.h"
#include "core/hash.h"
#include "dp/accountant.h"
#include "dp/accounting/accountant.h"
#include "dp/mechanism.h"

#include <gtest/gtest.h>

namespace pergrad::dp {
namespace {

TEST(Accountant, PlanAndLedgerAgreeAndForksCost) {
  PlanSettings s = settings();
  s.steps = 20;
  const Plan plan(s);
  Folder folder;
  Ledger ledger(folder.ledger(), plan);
  for (int64_t step = 0; step < 20; ++step)
    ledger.append(step, 1000, sha256_hex(std::to_string(step)), kSampler);
  const PrivacyCost planned = planned_cost(plan, 1000), spent = spent_cost(folder.ledger(), 1e-5);
  EXPECT_EQ(planned.epsilon_upper, spent.epsilon_upper);
  EXPECT_EQ(spent.releases, 20);
  const auto reference = accounting::epsilon_interval({{1.7, 0.125, 20}}, 1e-5);
  EXPECT_NEAR(planned.epsilon_upper, reference.upper, 1e-8 * reference.upper);
  EXPECT_GE(planned.epsilon_upper, reference.upper);
  EXPECT_LE(planned.epsilon_lower, planned.epsilon_upper);
  for (int64_t step = 10; step < 20; ++step)
    ledger.append(step, 1000, sha256_hex("fork" + std::to_string(step)), kSampler);
  const PrivacyCost forked = spent_cost(folder.ledger(), 1e-5);
  EXPECT_EQ(forked.releases, 20);  // steps
  const double twice = 1.7 / std::sqrt(2);
  EXPECT_NEAR(forked.epsilon_upper,
              accounting::epsilon_interval({{1.7, 0.125, 10}, {twice, 0.125, 10}}, 1e-5).upper, 1e-7);
}

// A step released k times on one Poisson sample is no k steps: the sample amplifies once.
TEST(Accountant, ForksOfAStepShareItsSample) {
  PlanSettings s = settings();
  s.noise_multiplier = 1;
  s.sampling_rate = 0.03125;
  s.steps = 1;
  const Plan plan(s);
  Folder folder;
  Ledger ledger(folder.ledger(), plan);
  for (int branch = 0; branch < 20; ++branch)
    ledger.append(0, 10, sha256_hex(std::to_string(branch)), kSampler);
  EXPECT_EQ(ledger.forks(), 19);
  const double spent = spent_cost(folder.ledger(), 1e-5).epsilon_upper;
  EXPECT_NEAR(spent, accounting::epsilon_interval({{1 / std::sqrt(20.0), 0.03125, 1}}, 1e-5).upper, 1e-6);
  EXPECT_GT(spent, 5 * accounting::epsilon_interval({{1, 0.03125, 20}}, 1e-5).upper);
}

// Two draws can cost more than two releases of one: whoever is left out of the first may be in the second. It
// shows where the noise hides nothing, and delta lies between the chance to be in one and in either.
TEST(Accountant, AnotherRunKeyHasADrawOfItsOwn) {
  PlanSettings s = settings();
  s.noise_multiplier = 0.1, s.sampling_rate = 0.1, s.steps = 1;
  const Plan plan(s);
  Folder folder;
  for (const char* run : {"one", "another"}) {
    Ledger ledger(folder.ledger(), plan);
    GaussianMechanism mechanism(plan, key_from_text(run), ledger);
    (void)mechanism.release(ClippedSum(plan, 10), 0);
  }
  const double spent = spent_cost(folder.ledger(), 0.15).epsilon_upper;
  EXPECT_NEAR(spent, accounting::epsilon_interval({{0.1, 0.1, 2}}, 0.15).upper, 1e-6);
  EXPECT_EQ(accounting::epsilon_interval({{0.1 / std::sqrt(2.0), 0.1, 1}}, 0.15).upper, 0);
  EXPECT_GT(spent, 1);
}

TEST(Accountant, MicrobatchesHalveSigmaAndPhasesAdd) {
  PlanSettings s = settings();
  s.units = "microbatch", s.microbatch_size = 2, s.steps = 50;
  EXPECT_NEAR(planned_cost(Plan(s), 10).epsilon_upper,
              accounting::epsilon_interval({{0.85, 0.125, 50}}, 1e-5).upper, 1e-7);
  const Phase a{1.7, 0.125, 20, 10, int64_t{1} << 40}, b{2.5, 0.25, 30, 10, int64_t{1} << 40};
  const auto both = accounting::epsilon_interval({{1.7, 0.125, 20}, {2.5, 0.25, 30}}, 1e-5);
  EXPECT_NEAR(cost_of({a, b}, 1e-5).epsilon_upper, both.upper, 1e-7);
  EXPECT_EQ(cost_of({}, 1e-5).epsilon_upper, 0);
  EXPECT_THROW(cost_of({a}, 0), PrivacyError);
  EXPECT_THROW(cost_of({a}, NAN), PrivacyError);
  EXPECT_THROW(cost_of({{1, 0.1, 1, 1, 1000}}, 1e-5), PrivacyError);
}

// 2^25 parameters, 2^12 steps, sigma 1: eta = 2^37 * (2^10 / 2^80 + 2^-99).
TEST(Accountant, SlackIsTheStatedOne) {
  const PrivacyCost cost = cost_of({{1, 0.01, 4096, int64_t{1} << 25, int64_t{1} << 40}}, 1e-5);
  EXPECT_GE(cost.grid_slack, 0x1p-33);
  EXPECT_LT(cost.grid_slack, 0x1p-33 * 1.0001);
  // With the largest noise, where the error of the sampler's table shows beside the grid's.
  const double fine = cost_of({{1, 0.01, 4096, int64_t{1} << 25, int64_t{1} << 54}}, 1e-5).grid_slack;
  EXPECT_GE(fine, 0x1p37 * (0x1p-98 + 0x1p-99));
  EXPECT_LT(fine, 0x1p37 * (0x1p-98 + 0x1p-99) * 1.0001);
  // A coarse grid, where it shows: eta = 2^-10, twice on epsilon and once on delta.
  const PrivacyCost coarse = cost_of({{1, 0.01, 1, int64_t{1} << 20, int64_t{1} << 20}}, 1e-5);
  const double without = accounting::epsilon_interval({{1, 0.01, 1}}, 1e-5 * std::exp(-0x1p-10)).upper;
  EXPECT_NEAR(coarse.epsilon_upper - without, 0x1p-9, 1e-6);
}

// Step 2 of the proof, at a small s where it can be seen: |log(R / D)| <= max(z^2 / s^2, 1) / (8 s^2), plus
// the norm.
TEST(Accountant, RoundedAndDiscreteGaussianAreAsCloseAsProved) {
  const long double s = 40, root = std::sqrt(2.0L);
  long double norm = 0;
  for (int z = -2000; z <= 2000; ++z) norm += std::exp(-z * z / (2 * s * s));
  for (int z = 0; z <= 400; ++z) {
    const long double rounded =
        0.5L * (std::erfc((z - 0.5L) / (s * root)) - std::erfc((z + 0.5L) / (s * root)));
    const long double ratio = std::log(rounded / (std::exp(-z * z / (2 * s * s)) / norm));
    ASSERT_LE(std::fabs(ratio), std::max(z * z / (s * s), 1.0L) / (8 * s * s) + 1e-13L) << z;
    if (z > 80) {
      ASSERT_GT(ratio, z * z / (s * s) / (40 * s * s)) << z;  // and it is really there
    }
  }
}

}  // namespace
}  // namespace pergrad::dp
