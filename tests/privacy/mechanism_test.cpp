// GaussianMechanism and private_step: the law of what is released, one line each, replay, forks, refusals.
#include "tests/privacy/fakes.h"
#include "dp/clip_stats.h"
#include "dp/step.h"
#include "dp/nonprivate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

namespace pergrad::dp {
namespace {

const Key kKey = key_from_text("mechanism test");

// One release, in standard deviations of the noise that is promised: (release - sum / divisor) / (sigma C /
// divisor).
std::vector<double> noise_of(GaussianMechanism& mechanism, ClippedSum&& sum, int64_t step,
                             const CpuExec& exec = {}) {
  const Plan plan = mechanism.plan();
  const std::vector<int64_t> before(sum.nonprivate_values().begin(), sum.nonprivate_values().end());
  const PrivateGradient gradient = mechanism.release(std::move(sum), step, exec);
  std::vector<double> z;
  for (size_t i = 0; i < before.size(); ++i)
    z.push_back((gradient.values().values<float>()[i] * plan.divisor() / plan->clip_norm -
                 std::ldexp(static_cast<double>(before[i]), -plan->grid_bits)) /
                plan->noise_multiplier);
  return z;
}

ClippedSum sum_of(const Plan& plan, const std::vector<float>& row) {
  ClippedSum sum(plan, static_cast<int64_t>(row.size()));
  clip_and_sum(rows_of({row}), plan, sum);
  return sum;
}

TEST(Mechanism, NoiseHasThePromisedLawInEveryCoordinate) {
  const Plan plan(settings());
  Folder folder;
  Ledger ledger(folder.ledger(), plan);
  GaussianMechanism mechanism(plan, kKey, ledger);
  constexpr int64_t P = 10007, T = 60;  // not a multiple of any block
  std::vector<double> power(P), all;
  double fourth = 0, beyond4 = 0;
  for (int64_t step = 0; step < T; ++step) {
    const auto z = noise_of(mechanism, ClippedSum(plan, P), step);
    for (size_t i = 0; i < P; ++i)
      power[i] += z[i] * z[i], fourth += std::pow(z[i], 4), beyond4 += std::fabs(z[i]) > 4;
    all.insert(all.end(), z.begin(), z.end());
  }
  const double n = static_cast<double>(P * T);
  double total = 0;
  for (double p : power) {
    total += p;  // each coordinate by itself: chi-square with T degrees, at 7.5 sigmas for 10007 of them
    ASSERT_LT(p, chi_square_limit(T, 7.5));
    ASSERT_GT(p, chi_square_limit(T, -6.5));
  }
  EXPECT_LT(std::fabs(total - n), kSigmas * std::sqrt(2 * n));  // sigma to 0.6 %
  EXPECT_LT(std::fabs(fourth - 3 * n), kSigmas * std::sqrt(96 * n));
  EXPECT_LT(std::fabs(beyond4 - 6.33e-5 * n), kSigmas * std::sqrt(6.33e-5 * n) + 2);
  // Kolmogorov and Smirnov, by the bound of Dvoretzky, Kiefer, Wolfowitz and Massart at 1e-9.
  std::ranges::sort(all);
  double distance = 0;
  for (size_t i = 0; i < all.size(); ++i)
    distance = std::max(distance, std::fabs(normal_cdf(all[i]) - (static_cast<double>(i) + 0.5) / n));
  EXPECT_LT(distance, std::sqrt(std::log(2e9) / (2 * n)));
}

TEST(Mechanism, NoiseIsIndependentOverStepsBlocksBranchesPlansAndKeys) {
  const Plan plan(settings());
  PlanSettings other_settings = settings();
  other_settings.clip_norm = 0.4;  // same noise on the grid, if it came from the same bits
  const Plan other_plan(other_settings);
  Folder a, b, c;
  Ledger ledger(a.ledger(), plan), ledger_b(b.ledger(), other_plan), ledger_c(c.ledger(), plan);
  GaussianMechanism mechanism(plan, kKey, ledger), with_plan(other_plan, kKey, ledger_b),
      with_key(plan, key_from_text("other"), ledger_c);
  constexpr size_t P = 20000;
  const auto zero = [](const Plan& p) { return ClippedSum(p, P); };
  std::vector<std::vector<double>> z = {noise_of(mechanism, zero(plan), 0),
                                        noise_of(mechanism, zero(plan), 1),
                                        noise_of(mechanism, zero(plan), 2),
                                        noise_of(mechanism, sum_of(plan, row_of(1, P)), 0),
                                        noise_of(mechanism, sum_of(plan, row_of(2, P)), 0),
                                        noise_of(with_plan, zero(other_plan), 0),
                                        noise_of(with_key, zero(plan), 0)};
  std::set<std::pair<double, double>> starts;  // of every block of noise there is
  for (size_t i = 0; i < z.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      EXPECT_LT(std::fabs(correlation(z[i], z[j])), kSigmas / std::sqrt(P)) << i << ' ' << j;
    for (size_t lag : {1, 2, 16, 64, 255, 256, 257, 512, 4096})
      EXPECT_LT(std::fabs(correlation({z[i].begin(), z[i].end() - static_cast<std::ptrdiff_t>(lag)},
                                      {z[i].begin() + static_cast<std::ptrdiff_t>(lag), z[i].end()})),
                kSigmas / std::sqrt(P - lag))
          << i << " lag " << lag;
    if (i == 3 || i == 4) continue;  // there, rounding noise plus sum to f32 blurs the start
    for (size_t block = 0; block + 256 <= P; block += 256) {
      EXPECT_TRUE(starts.emplace(z[i][block], z[i][block + 1]).second) << i << " block " << block;
    }
  }
}

TEST(Mechanism, AddsTheSumAndDividesByTheConstant) {
  for (int64_t microbatch : {0, 5}) {
    PlanSettings s = settings();
    s.microbatch_size = microbatch, s.units = microbatch ? "microbatch" : "example";
    s.noise_multiplier = 0x1p-20;  // next to nothing, so that the rest shows
    const Plan plan(s);
    Folder folder;
    Ledger ledger(folder.ledger(), plan);
    GaussianMechanism mechanism(plan, kKey, ledger);
    const PrivateGradient gradient = mechanism.release(sum_of(plan, {3, -4}), 0);
    EXPECT_EQ(plan.divisor(), microbatch ? 3 : 12.5);  // round(12.5 / 5) groups, half away from zero
    EXPECT_NEAR(gradient.values().values<float>()[0], 0.3 * 0.6 / plan.divisor(), 1e-6);
    EXPECT_NEAR(gradient.values().values<float>()[1], -0.3 * 0.8 / plan.divisor(), 1e-6);
  }
}

TEST(Mechanism, OneLinePerReleaseReplaysAreFreeForksAreCharged) {
  const Plan plan(settings());
  Folder folder;
  std::vector<float> first, fork;
  const auto floats = [](const PrivateGradient& g) {
    return std::vector<float>(g.values().values<float>().begin(), g.values().values<float>().end());
  };
  {
    Ledger ledger(folder.ledger(), plan);
    GaussianMechanism mechanism(plan, kKey, ledger);
    EXPECT_EQ(lines_in(folder.ledger()), 1);  // the header
    first = floats(mechanism.release(sum_of(plan, row_of(1, 700)), 4));
    EXPECT_EQ(lines_in(folder.ledger()), 2);
    EXPECT_EQ(floats(mechanism.release(sum_of(plan, row_of(1, 700)), 4)), first);  // replay
    EXPECT_EQ(lines_in(folder.ledger()), 2);
  }
  Ledger ledger(folder.ledger(), plan);  // after a crash
  GaussianMechanism mechanism(plan, kKey, ledger);
  EXPECT_EQ(floats(mechanism.release(sum_of(plan, row_of(1, 700)), 4, CpuExec{3})), first);
  EXPECT_EQ(lines_in(folder.ledger()), 2);
  fork = floats(mechanism.release(sum_of(plan, row_of(2, 700)), 4));  // another sum in the same step
  EXPECT_EQ(lines_in(folder.ledger()), 3);
  EXPECT_NE(text_in(folder.ledger()).find("\"step\":4,\"branch\":1"), std::string::npos);
  EXPECT_EQ(floats(mechanism.release(sum_of(plan, row_of(2, 700)), 4)), fork);
  EXPECT_EQ(floats(mechanism.release(sum_of(plan, row_of(1, 700)), 4)), first);  // both branches replay
  EXPECT_NE(floats(mechanism.release(sum_of(plan, row_of(1, 700)), 5)),
            first);  // same sum, other step: charged
  EXPECT_EQ(lines_in(folder.ledger()), 4);
  int64_t released = 0;  // numbers, on all branches
  for (const Phase& phase : read_ledger(folder.ledger())) released += phase.releases * phase.parameters;
  EXPECT_EQ(released, 3 * 700);
}

// The worst case of counter-based noise: the whole folder was set back, and another sum comes in the same
// step.
TEST(Mechanism, LosingTheLedgerDoesNotRepeatTheNoise) {
  const Plan plan(settings());
  Folder a, b;
  Ledger one(a.ledger(), plan), two(b.ledger(), plan);
  GaussianMechanism before(plan, kKey, one), after(plan, kKey, two);
  std::vector<float> row(5000, 1e-4f);  // inside the ball: one number changes no other
  const auto x = noise_of(before, sum_of(plan, row), 3);
  row.back() += 0.01f;  // the smallest of forks
  const auto y = noise_of(after, sum_of(plan, row), 3);
  EXPECT_LT(std::fabs(correlation(x, y)), kSigmas / std::sqrt(5000.0));
}

TEST(Mechanism, Refusals) {
  const Plan plan(settings());
  PlanSettings changed = settings();
  changed.clip_norm = 0.4;
  const Plan other(changed);
  Folder folder;
  Ledger ledger(folder.ledger(), plan);
  EXPECT_THROW(GaussianMechanism(other, kKey, ledger), PrivacyError);
  GaussianMechanism mechanism(plan, kKey, ledger);
  EXPECT_THROW(mechanism.release(ClippedSum(plan, 5), 1000), PrivacyError);
  EXPECT_THROW(mechanism.release(ClippedSum(plan, 5), -1), PrivacyError);
  EXPECT_THROW(mechanism.release(ClippedSum(other, 5), 0), PrivacyError);
  ClippedSum sum(plan, 5);
  const PrivateGradient gradient = mechanism.release(std::move(sum), 0);
  EXPECT_EQ(gradient.values().size(), 5);
  EXPECT_THROW(mechanism.release(std::move(sum), 1), Error);  // NOLINT: used up
  EXPECT_THROW(ClippedSum(plan, 0), Error);
  EXPECT_EQ(lines_in(folder.ledger()), 2);
}

// What the types forbid.
static_assert(!std::is_copy_constructible_v<ClippedSum> && !std::is_copy_constructible_v<PrivateGradient>);
static_assert(!std::is_default_constructible_v<PrivateGradient> &&
              !std::is_constructible_v<PrivateGradient, Tensor, int64_t>);
static_assert(!std::is_constructible_v<PrivateGradient, NonPrivateGradient>);

struct Step {
  Folder folder;
  Plan plan;
  Ledger ledger;
  PoissonSampler sampler;
  GaussianMechanism mechanism;
  FakeExamples examples;
  FakeGradients gradients{300};
  explicit Step(const PlanSettings& s, int64_t n = 100)
      : plan(s), ledger(folder.ledger(), plan), sampler(plan, kKey, n), mechanism(plan, kKey, ledger) {}
  std::vector<float> run(int64_t step, int64_t chunk, int threads = 1) {
    const auto g = private_step(sampler, examples, gradients, mechanism, step, chunk, CpuExec{threads});
    return {g.values().values<float>().begin(), g.values().values<float>().end()};
  }
};

TEST(Step, ChunksThreadsAndPaddingChangeNoBit) {
  Step step(settings());
  const auto expected = step.run(0, 1000);
  for (int64_t chunk : {1, 2, 7, 32})
    for (int threads : {1, 2, 3}) {
      step.examples.padding = chunk % 3;
      EXPECT_EQ(step.run(0, chunk, threads), expected) << chunk;
    }
  EXPECT_EQ(lines_in(step.folder.ledger()), 2);  // replays all
}

// Rows that two threads at least must ask for: each waits for another before its first row. (Where there is
// one thread only, it waits in vain for a while.)
struct Meeting : FakeGradients {
  using FakeGradients::FakeGradients;
  std::mutex mutex;
  std::condition_variable came;
  std::set<std::thread::id> here;
  bool in_vain = false;
  PerExampleGradient rows(ExampleBatch&& batch) override {
    {
      std::unique_lock lock(mutex);
      here.insert(std::this_thread::get_id());
      came.notify_all();
      if (!in_vain) in_vain = !came.wait_for(lock, std::chrono::seconds(20), [&] { return here.size() > 1; });
    }
    return FakeGradients::rows(std::move(batch));
  }
};

TEST(Step, WhatEachThreadSummedCountsOnce) {
  const Plan plan(settings());
  FakeExamples examples;
  std::vector<Unit> units;
  std::vector<std::vector<float>> rows;
  for (int64_t id = 0; id < 41; ++id) units.push_back({{id}}), rows.push_back(row_of(id, 20001));
  const std::vector<int64_t> wanted = clipped(plan, rows);
  for (int threads : {2, 3}) {
    Meeting gradients(20001);
    const ClippedSum sum = clipped_sum(units, examples, gradients, plan, 0, 4 * threads, CpuExec{threads});
    if (gradients.in_vain) GTEST_SKIP() << "there is one thread only";
    EXPECT_TRUE(std::ranges::equal(sum.nonprivate_values(), wanted)) << threads;
  }
}

// Whoever did not say that it takes threads is asked by one.
TEST(Step, SourcesAreAskedByOneThreadUnlessTheyTakeMore) {
  struct Single : FakeGradients {
    using FakeGradients::FakeGradients;
    std::set<std::thread::id> here;
    bool prepare_for_threads() override { return false; }
    PerExampleGradient rows(ExampleBatch&& batch) override {
      here.insert(std::this_thread::get_id());
      return FakeGradients::rows(std::move(batch));
    }
  } gradients(300);
  const Plan plan(settings());
  FakeExamples examples;
  std::vector<Unit> units;
  for (int64_t id = 0; id < 41; ++id) units.push_back({{id}});
  clipped_sum(units, examples, gradients, plan, 0, 4, CpuExec{4});
  EXPECT_EQ(gradients.here, std::set{std::this_thread::get_id()});
  struct SingleViews : FakeExamples {
    bool takes_threads() const override { return false; }
  } single_views;
  Meeting meeting(300);
  meeting.in_vain = true;
  clipped_sum(units, single_views, meeting, plan, 0, 4, CpuExec{4});
  EXPECT_EQ(meeting.here, std::set{std::this_thread::get_id()});
}

TEST(Step, WhatOneThreadThrowsComesOutAndNothingIsReleased) {
  struct Failing : Meeting {
    using Meeting::Meeting;
    std::atomic<bool> failed = false;
    PerExampleGradient rows(ExampleBatch&& batch) override {
      PerExampleGradient made = Meeting::rows(std::move(batch));
      PG_CHECK(failed.exchange(true), "one row fails");
      return made;
    }
  } gradients(300);
  PlanSettings s = settings();
  s.sampling_rate = 0.9;
  Step step(s);
  EXPECT_THROW(private_step(step.sampler, step.examples, gradients, step.mechanism, 0, 4, CpuExec{2}), Error);
  EXPECT_EQ(lines_in(step.folder.ledger()), 1);
}

TEST(Step, StatisticsDoNotDependOnWhoCameFirst) {
  std::vector<std::vector<float>> rows;
  for (int64_t id = 0; id < 40; ++id) rows.push_back(row_of(id, 300));
  std::vector<double> squares = nonprivate_squares(rows_of(rows));
  const NonprivateClipStats wanted(squares, 0.3);
  std::ranges::reverse(squares);
  squares.push_back(NAN);
  std::rotate(squares.begin(), squares.begin() + 3, squares.end());
  const NonprivateClipStats got(squares, 0.3);
  EXPECT_GT(wanted.nonprivate_norm_sum, 0);
  EXPECT_EQ(got.nonprivate_norm_sum, wanted.nonprivate_norm_sum);
  EXPECT_EQ(got.nonprivate_rows, wanted.nonprivate_rows + 1);
  EXPECT_EQ(got.nonprivate_non_finite_rows, 1);
}

TEST(Step, IsTheSumOverTheDrawPlusNoise) {
  PlanSettings s = settings();
  s.noise_multiplier = 0x1p-20;
  Step step(s);
  const auto released = step.run(9, 5);
  const auto units = step.sampler.draw(9);
  ASSERT_GT(units.size(), 3u);
  std::vector<double> expected(300);
  for (const Unit& unit : units) {
    const auto row = row_of(unit.ids[0], 300);
    double norm = 0;
    for (float x : row) norm += static_cast<double>(x) * x;
    for (size_t i = 0; i < 300; ++i) expected[i] += row[i] * std::min(1.0, 0.3 / std::sqrt(norm)) / 12.5;
  }
  for (size_t i = 0; i < 300; ++i) EXPECT_NEAR(released[i], expected[i], 1e-6);
}

TEST(Step, AnEmptyDrawReleasesNoiseAndIsRecorded) {
  PlanSettings s = settings();
  s.sampling_rate = 0x1p-60;
  Step step(s);
  step.gradients.P = 20000;
  double power = 0;
  const auto released = step.run(0, 10);
  for (float x : released) power += std::pow(x * 12.5 / (1.7 * 0.3), 2);
  EXPECT_LT(std::fabs(power - 20000), kSigmas * std::sqrt(40000.0));
  EXPECT_EQ(lines_in(step.folder.ledger()), 2);
  EXPECT_EQ(read_ledger(step.folder.ledger()).at(0).releases, 1);
}

TEST(Step, RefusesSourcesThatMakeMoreRowsThanUnitsAndMixedPlans) {
  struct Doubling : FakeExamples {
    ExampleBatch views(std::span<const Unit> units, int64_t step) override {
      ExampleBatch batch = FakeExamples::views(units, step);
      batch.units.back() = batch.units.front();
      batch.is_real.back() = 1;
      return batch;
    }
  } doubling;
  doubling.padding = 1;
  Step step(settings());
  EXPECT_THROW(private_step(step.sampler, doubling, step.gradients, step.mechanism, 0, 4, {}), PrivacyError);
  PlanSettings s = settings();
  s.sampling_rate = 0.25;
  const PoissonSampler other(Plan(s), kKey, 100);
  EXPECT_THROW(private_step(other, step.examples, step.gradients, step.mechanism, 0, 4, {}), PrivacyError);
  const PoissonSampler another(step.plan, derive_key(kKey, "another run"), 100);
  EXPECT_THROW(private_step(another, step.examples, step.gradients, step.mechanism, 0, 4, {}), PrivacyError);
  EXPECT_THROW(step.run(0, 0), Error);
  EXPECT_THROW(step.run(0, 4, 0), Error);
  EXPECT_EQ(lines_in(step.folder.ledger()), 1);
}

// Microbatches: one example more moves the sum by at most 2C, and by more than C when it turns its group
// around.
TEST(Step, MicrobatchSensitivityIsTwoClips) {
  PlanSettings s = settings();
  s.units = "microbatch", s.microbatch_size = 4, s.sampling_rate = 0.5, s.expected_batch = 50;
  const Plan plan(s);
  constexpr int64_t n = 101, P = 4;
  const auto mean_gradient = [](const std::vector<int64_t>& ids) {
    return std::vector<float>(P, ids.back() == n - 1 ? -1.0f : 1.0f);
  };
  const auto sum_for = [&](int64_t examples, int64_t step) {
    std::vector<int64_t> total(P);
    for (const Unit& unit : PoissonSampler(plan, kKey, examples).draw(step)) {
      const auto part = clipped(plan, {mean_gradient(unit.ids)});
      for (size_t i = 0; i < P; ++i) total[i] += part[i];
    }
    return total;
  };
  int128 largest = 0;
  for (int64_t step = 0; step < 100; ++step) {
    auto difference = sum_for(n, step);
    const auto without = sum_for(n - 1, step);
    for (size_t i = 0; i < P; ++i) difference[i] -= without[i];
    ASSERT_LE(squared_norm(difference), squared_bound(plan, 2));
    largest = std::max(largest, squared_norm(difference));
  }
  EXPECT_GT(largest, squared_bound(plan, 1));  // so 1C would be a lie
}

TEST(NonPrivate, MeanOfRowsDoesNotDependOnChunksOrThreads) {
  FakeExamples examples;
  FakeGradients gradients(5001);
  std::vector<Unit> units;
  for (int64_t id = 0; id < 23; ++id) units.push_back({{id}});
  const auto run = [&](int64_t chunk, int threads) {
    examples.padding = chunk % 2;
    const NonPrivateGradient g = nonprivate_step(units, examples, gradients, 0, chunk, CpuExec{threads});
    return std::vector<float>(g.values().values<float>().begin(), g.values().values<float>().end());
  };
  const auto expected = run(1, 1);
  for (int64_t chunk : {2, 7, 23, 100}) EXPECT_EQ(run(chunk, 3), expected);
  double mean = 0;
  for (int64_t id = 0; id < 23; ++id) mean += row_of(id, 5001)[4999] / 23.0;
  EXPECT_NEAR(expected[4999], mean, 1e-7);
  units.clear();
  EXPECT_EQ(run(5, 1), std::vector<float>(5001, 0.0f));
}

}  // namespace
}  // namespace pergrad::dp
