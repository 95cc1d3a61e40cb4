// clip_and_sum: the bound of every row, in 128-bit integers with tolerance zero; neighbours; rows that count
// nothing.
#include "dp/clip_stats.h"
#include "tests/privacy/fakes.h"
#include "dp/clip_kernels.h"
#include "core/philox.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <limits>

namespace pergrad::dp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

Plan plan_with(double clip_norm, int grid_bits = 40) {
  PlanSettings s = settings();
  s.clip_norm = clip_norm;
  s.grid_bits = grid_bits;
  return Plan(s);
}

TEST(Clip, RandomRowsStayInsideTheBall) {
  PhiloxStream random(1, 0);
  for (int trial = 0; trial < 6000; ++trial) {
    const Plan plan = plan_with(std::pow(10.0, 6 * random.uniform() - 3), trial % 2 ? 40 : 30);
    std::vector<float> row(1 + random.below(trial % 10 ? 40 : 3000));
    const double size =
        plan->clip_norm * std::pow(10.0, trial % 3 ? 4 * random.uniform() - 1 : 60 * random.uniform() - 30);
    for (float& x : row) x = static_cast<float>(std::clamp(size * random.normal(), -3e38, 3e38));
    ASSERT_LE(squared_norm(clipped(plan, {row})), squared_bound(plan)) << "trial " << trial;
  }
}

TEST(Clip, LongRowsStayInsideTheBall) {
  PhiloxStream random(2, 0);
  for (int trial = 0; trial < 12; ++trial) {
    std::vector<float> row(100000);
    for (float& x : row) x = static_cast<float>(random.normal());
    if (trial % 2) row[7] = 1e6f;
    const Plan plan = plan_with(0.7);
    const int128 norm = squared_norm(clipped(plan, {row}));
    EXPECT_LE(norm, squared_bound(plan));
    // Truncation costs at most one grid step per coordinate: nothing is lost that need not be.
    EXPECT_GE(std::sqrt(static_cast<double>(norm)), std::ldexp(1.0, 40) - std::sqrt(100000.0) - 2000);
  }
}

TEST(Clip, HostileRowsStayInsideTheBall) {
  const std::vector<std::vector<float>> rows = hostile_rows();
  for (double clip_norm : {1.0, 0.3, 0.1, 1e-20, 1e20, 5.0, static_cast<double>(0.1f), 1 / 3.0})
    for (int grid_bits : {30, 40, 44})
      for (size_t i = 0; i < rows.size(); ++i) {
        PlanSettings s = settings();
        s.clip_norm = clip_norm, s.grid_bits = grid_bits;
        const Plan plan(s);
        ASSERT_LE(squared_norm(clipped(plan, {rows[i]})), squared_bound(plan))
            << "row " << i << " clip norm " << clip_norm << " grid " << grid_bits;
      }
  // Norm exactly C: kept whole.
  EXPECT_NEAR(static_cast<double>(clipped(plan_with(5), {{3, 4}})[0]), 0.6 * 0x1p40, 1);
}

TEST(Clip, RowsInsideTheBallAreKeptUpToOneGridStep) {
  const Plan plan = plan_with(0.3);
  PhiloxStream random(3, 0);
  for (int trial = 0; trial < 2000; ++trial) {
    const auto g = static_cast<float>(0.29 * (2 * random.uniform() - 1));
    const auto exact = static_cast<long double>(g) / 0.3L * 0x1p40L;
    const auto got = static_cast<long double>(clipped(plan, {{g}})[0]);
    EXPECT_LE(std::fabs(got),
              std::fabs(exact) + 1e-3L);  // toward zero; 1e-3: the rounding of 0.3 and of g / C
    EXPECT_GE(std::fabs(got), std::fabs(exact) - 1.001L);
    EXPECT_EQ(got < 0, g < 0 && got != 0);
  }
}

// D and D plus one row, at every place, in every chunking: the sums differ by that row's own vector, to the
// bit.
TEST(Clip, OneRowMoreMovesTheSumByItsOwnVectorAndNothingElse) {
  const Plan plan(settings());
  constexpr int64_t P = 5000;  // more than one block of columns
  std::vector<std::vector<float>> others;
  for (int64_t id = 0; id < 33; ++id) others.push_back(row_of(id, P));
  const std::vector<int64_t> without = clipped(plan, others);
  std::vector<std::vector<float>> added = {row_of(1000, P), std::vector<float>(P, 1e30f),
                                           std::vector<float>(P, kTiny), std::vector<float>(P, NAN),
                                           std::vector<float>(P, 1)};
  added[0][3] = 50;
  for (const auto& extra : added) {
    const std::vector<int64_t> own = clipped(plan, {extra});
    ASSERT_LE(squared_norm(own), squared_bound(plan));
    for (size_t place = 0; place <= others.size(); place += place < 5 ? 1 : 7)
      for (size_t chunk : {1, 2, 7, 32, 34}) {
        auto all = others;
        all.insert(all.begin() + static_cast<std::ptrdiff_t>(place), extra);
        ClippedSum sum(plan, P);
        for (size_t begin = 0; begin < all.size(); begin += chunk)
          clip_and_sum(
              rows_of({all.begin() + static_cast<std::ptrdiff_t>(begin),
                       all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), begin + chunk))}),
              plan, sum);
        for (size_t i = 0; i < P; ++i)
          ASSERT_EQ(sum.nonprivate_values()[i] - without[i], own[i])
              << "place " << place << " chunk " << chunk;
      }
  }
}

TEST(Clip, NonFiniteAndPaddingRowsCountZero) {
  const Plan plan(settings());
  const std::vector<float> good = {0.1f, -0.2f, 0.05f};
  for (float bad : {NAN, -NAN, kInf, -kInf}) {
    for (int place = 0; place < 3; ++place) {
      std::vector<float> row = {1, 2, 3};
      row[static_cast<size_t>(place)] = bad;
      EXPECT_EQ(clipped(plan, {row}), (std::vector<int64_t>{0, 0, 0}));
      EXPECT_EQ(clipped(plan, {row, good}), clipped(plan, {good}));
    }
    std::vector<float> mixed(10000, 0.001f);
    mixed[9999] = bad;
    mixed[17] = kInf;
    EXPECT_EQ(squared_norm(clipped(plan, {mixed})), 0);
  }
  ClippedSum sum(plan, 3);
  PerExampleGradient rows = rows_of({{5, 5, 5}, good, {NAN, 1, 1}, {kInf, 0, 0}, {9, 9, 9}}, {0, 1, 0, 1, 1});
  const NonprivateClipStats stats(nonprivate_squares(rows), plan->clip_norm);
  clip_and_sum(std::move(rows), plan, sum);
  auto expected = clipped(plan, {good, {9, 9, 9}});
  EXPECT_TRUE(std::ranges::equal(sum.nonprivate_values(), expected));
  EXPECT_EQ(stats.nonprivate_rows, 3);
  EXPECT_EQ(stats.nonprivate_non_finite_rows, 1);
  EXPECT_EQ(stats.nonprivate_clipped_rows, 1);
  EXPECT_NEAR(stats.nonprivate_norm_sum, std::sqrt(0.0525) + std::sqrt(243.0), 1e-6);
}

// Whatever instruction set this machine has, the bits are those of one operation after the other.
TEST(Clip, WideRegistersGiveTheBitsOfScalarCode) {
  for (int64_t P : {1, 15, 16, 17, 1000, 4096}) {
    const std::vector<float> g = row_of(P, P);
    volatile double lane[16] = {};
    std::vector<int64_t> expected(g.size(), 5), sum(g.size(), 5);
    const double scale = 0x1p40 / 0.3;
    for (size_t i = 0; i < g.size(); ++i) {
      volatile double square = static_cast<double>(g[i]) * static_cast<double>(g[i]);
      lane[i % 16] = lane[i % 16] + square;
      volatile double scaled = static_cast<double>(g[i]) * scale;
      expected[i] += static_cast<int64_t>(scaled);
    }
    volatile double total = 0;
    for (volatile double& partial : lane) total = total + partial;
    EXPECT_EQ(sum_of_squares(g.data(), P), total);
    add_on_grid(g.data(), scale, P, sum.data());
    EXPECT_EQ(sum, expected);
  }
}

TEST(Clip, SumsOfSumsAreTheSumOfAll) {
  const Plan plan(settings());
  std::vector<std::vector<float>> rows;
  for (int64_t id = 0; id < 9; ++id) rows.push_back(row_of(id, 20001));
  ClippedSum total(plan, 20001), more(plan, 20001);
  clip_and_sum(rows_of({rows.begin(), rows.begin() + 4}), plan, total);
  clip_and_sum(rows_of({rows.begin() + 4, rows.end()}), plan, more);
  total.add(std::move(more), plan);
  EXPECT_EQ(more.parameters(), 0);  // used up   NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(std::ranges::equal(total.nonprivate_values(), clipped(plan, rows)));
}

TEST(Clip, RefusesToAddSumsThatDoNotMatch) {
  PlanSettings s = settings();
  s.max_examples = 3;
  const Plan plan(s);
  const auto sum_of_two = [&] {
    ClippedSum sum(plan, 2);
    clip_and_sum(rows_of({{1, 2}, {3, 4}}), plan, sum);
    return sum;
  };
  ClippedSum sum = sum_of_two();
  EXPECT_THROW(sum.add(ClippedSum(plan_with(0.31), 2), plan), PrivacyError);
  EXPECT_THROW(sum.add(ClippedSum(plan_with(0.3, 39), 2), plan), PrivacyError);
  EXPECT_THROW(sum.add(ClippedSum(plan, 3), plan), PrivacyError);
  EXPECT_THROW(sum.add(sum_of_two(), plan), PrivacyError);                       // four rows
  EXPECT_THROW(sum.add(ClippedSum(plan, 2), plan_with(0.3, 30)), PrivacyError);  // neither is of that plan
  ClippedSum one(plan, 2);
  clip_and_sum(rows_of({{1, 2}}), plan, one);
  one.add(sum_of_two(), plan);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2}}), plan, one), PrivacyError);  // a fourth
}

TEST(Clip, RefusesSumsOfAnotherPlanAndTooManyRows) {
  const Plan plan(settings());
  ClippedSum other_norm(plan_with(0.31), 2), other_grid(plan_with(0.3, 39), 2), good(plan, 2);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2}}), plan, other_norm), PrivacyError);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2}}), plan, other_grid), PrivacyError);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2, 3}}), plan, good), Error);
  PlanSettings s = settings();
  s.max_examples = 2;
  const Plan small(s);
  ClippedSum sum(small, 1);
  clip_and_sum(rows_of({{1}, {1}, {1}}, {1, 0, 1}), small, sum);
  EXPECT_THROW(clip_and_sum(rows_of({{1}}), small, sum), PrivacyError);
}

// The largest sum that the plan allows neither overflows nor comes near it.
TEST(Clip, RangeProofHoldsAtItsLimit) {
  PlanSettings s = settings();
  s.grid_bits = 44;
  s.max_examples = int64_t{1} << 17;
  const Plan plan(s);
  const std::vector<std::vector<float>> rows(1 << 10, {1e30f});
  ClippedSum sum(plan, 1);
  for (int i = 0; i < 1 << 7; ++i) clip_and_sum(rows_of(rows), plan, sum);
  EXPECT_LE(sum.nonprivate_values()[0], int64_t{1} << 61);
  EXPECT_GT(sum.nonprivate_values()[0], int64_t{1} << 60);
}

// Under -Ofast g++ makes isfinite(NaN) true, which would disarm the non-finite guard.
TEST(Build, NoFastMath) {
  volatile double zero = 0;
  const double not_a_number = zero / zero;
  EXPECT_FALSE(std::isfinite(not_a_number));
  EXPECT_FALSE(not_a_number < HUGE_VAL);
  EXPECT_FALSE(1 / zero < HUGE_VAL);
  volatile double one = 1, tiny = 0x1p-53;
  EXPECT_EQ((one + tiny) - one, 0);  // no reassociation, no excess precision
  volatile double small = 0x1p-1022;
  EXPECT_NE(small * 0.5, 0.0);  // subnormals are not flushed
}

}  // namespace
}  // namespace pergrad::dp
