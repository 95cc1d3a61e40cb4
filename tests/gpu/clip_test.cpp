// clip_and_sum on a GPU: the bound of every row in 128-bit integers with tolerance zero, the processor's
// bits, neighbours, rows that count nothing; and the arithmetic that the proof needs of the device.
#include "dp/clip_stats.h"
#include "tests/gpu/device_test.h"
#include "tests/gpu/dp_fakes.h"
#include "tests/gpu/kernels.h"
#include "core/gpu/launch.h"
#include "dp/gpu_kernels.h"
#include "dp/nonprivate.h"

#include <bit>
#include <cfloat>
#include <cstring>
#include <limits>

namespace pergrad::dp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();
// One group of column blocks of the kernel (gpu_kernels.h) is 8 * 4096 columns.
constexpr int64_t kTwoGroups = 8 * 4096 + 4096 + 5;

class GpuClip : public test::GpuTest {};
class GpuClipSmall : public test::GpuTest {};
class GpuArithmetic : public test::GpuTest {};
class GpuNonPrivateSmall : public test::GpuTest {};

Plan plan_with(double clip_norm, int grid_bits = 40) {
  PlanSettings s = settings();
  s.clip_norm = clip_norm, s.grid_bits = grid_bits;
  return Plan(s);
}

// The bound, and that the processor finds the same integers.
void check_row(Device device, const Plan& plan, const std::vector<float>& row, const std::string& what) {
  const std::vector<int64_t> got = clipped_on(device, plan, {row});
  ASSERT_LE(squared_norm(got), squared_bound(plan)) << what;
  ASSERT_EQ(got, clipped(plan, {row})) << what;
}

TEST_P(GpuClip, RandomRowsStayInsideTheBall) {
  PhiloxStream random(1, 0);
  for (int trial = 0; trial < 2000; ++trial) {
    const Plan plan = plan_with(std::pow(10.0, 6 * random.uniform() - 3), trial % 2 ? 40 : 30);
    std::vector<float> row(1 + random.below(trial % 10 ? 40 : 3000));
    const double size =
        plan->clip_norm * std::pow(10.0, trial % 3 ? 4 * random.uniform() - 1 : 60 * random.uniform() - 30);
    for (float& x : row) x = static_cast<float>(std::clamp(size * random.normal(), -3e38, 3e38));
    check_row(device(), plan, row, concat("trial ", trial));
  }
}

// Norms within a few units of the last place around C, where a scale that is a hair too large shows.
TEST_P(GpuClip, RowsAtTheBoundaryStayInsideTheBall) {
  PhiloxStream random(4, 0);
  for (int trial = 0; trial < 1000; ++trial) {
    std::vector<float> row(2 + random.below(30));
    double squares = 0;
    for (float& x : row) {
      x = static_cast<float>(random.normal());
      squares += static_cast<double>(x) * x;
    }
    const double clip_norm = std::sqrt(squares) * (1 + 0x1p-52 * (static_cast<double>(random.below(9)) - 4));
    check_row(device(), plan_with(clip_norm, 44), row, concat("trial ", trial));
  }
}

TEST_P(GpuClip, HostileRowsStayInsideTheBall) {
  const Rows rows = hostile_rows();
  for (double clip_norm : {1.0, 0.3, 1e-20, 1e20, 5.0, static_cast<double>(0.1f), 1 / 3.0})
    for (int grid_bits : {30, 40, 44})
      for (size_t i = 0; i < rows.size(); ++i)
        check_row(device(), plan_with(clip_norm, grid_bits), rows[i],
                  concat("row ", i, " clip norm ", clip_norm, " grid ", grid_bits));
}

TEST_P(GpuClipSmall, LongRowsStayInsideTheBall) {
  PhiloxStream random(2, 0);
  for (int64_t P : {4095, 4096, 4097, 32767, 32768, 32769, 100003}) {
    std::vector<float> row(static_cast<size_t>(P));
    for (float& x : row) x = static_cast<float>(random.normal());
    const Plan plan = plan_with(0.7);
    check_row(device(), plan, row, concat(P, " columns"));
    // Truncation costs at most one grid step per coordinate: nothing is lost that need not be.
    EXPECT_GE(std::sqrt(static_cast<double>(squared_norm(clipped_on(device(), plan, {row})))),
              std::ldexp(1.0, 40) - std::sqrt(static_cast<double>(P)) - 2000);
  }
}

// The integers rarely show the last bits of a norm: here they are, block by block.
TEST_P(GpuClipSmall, SquaresHaveTheProcessorsBits) {
  Rows rows;
  for (int64_t id = 0; id < 3; ++id) rows.push_back(row_of(id, kTwoGroups));
  const PerExampleGradient slab = rows_on(device(), rows);
  const int64_t blocks = (kTwoGroups + kClipBlock - 1) / kClipBlock;
  const Tensor squares = Tensor::empty({3, blocks}, DType::f64, device());
  const SquaresOfRows kernel{slab.slab().device_data<float>(), kTwoGroups, squares.device_data<double>()};
  launch_blocks(gpu(), 3 * kernel.blocks_of_row(), kernel);
  const Tensor host = squares.to(Device{});
  for (int64_t i = 0; i < 3 * blocks; ++i) {
    const int64_t begin = i % blocks * kClipBlock;
    EXPECT_EQ(host.data<double>()[i], sum_of_squares(rows[static_cast<size_t>(i / blocks)].data() + begin,
                                                     std::min(kClipBlock, kTwoGroups - begin)));
  }
}

// D and D plus one row, at every place, in every chunking: the sums differ by that row's own vector, to the
// bit.
TEST_P(GpuClip, OneRowMoreMovesTheSumByItsOwnVectorAndNothingElse) {
  const Plan plan(settings());
  constexpr int64_t P = 5000;  // more than one block of columns
  Rows others;
  for (int64_t id = 0; id < 11; ++id) others.push_back(row_of(id, P));
  const std::vector<int64_t> without = clipped_on(device(), plan, others);
  EXPECT_EQ(without, clipped(plan, others));
  Rows added = {row_of(1000, P), std::vector<float>(P, 1e30f), std::vector<float>(P, kTiny),
                std::vector<float>(P, NAN), std::vector<float>(P, 1)};
  added[0][3] = 50;
  for (const auto& extra : added) {
    const std::vector<int64_t> own = clipped_on(device(), plan, {extra});
    ASSERT_LE(squared_norm(own), squared_bound(plan));
    for (size_t place = 0; place <= others.size(); place += 5)
      for (size_t chunk : {1, 2, 7, 12}) {
        Rows all = others;
        all.insert(all.begin() + static_cast<std::ptrdiff_t>(place), extra);
        const std::vector<int64_t> with = clipped_on(device(), plan, all, chunk);
        for (size_t i = 0; i < P; ++i)
          ASSERT_EQ(with[i] - without[i], own[i]) << "place " << place << " chunk " << chunk;
      }
  }
}

TEST_P(GpuClipSmall, ChunksChangeNoBitAndTheSumIsTheProcessors) {
  const Plan plan(settings());
  Rows rows;
  for (int64_t id = 0; id < 15; ++id) rows.push_back(row_of(id, kTwoGroups));
  rows[3][5] = NAN;
  const std::vector<int64_t> expected = clipped(plan, rows);
  for (size_t chunk : {1, 2, 7, 15}) EXPECT_EQ(clipped_on(device(), plan, rows, chunk), expected) << chunk;
}

TEST_P(GpuClipSmall, NonFiniteAndPaddingRowsCountZero) {
  const Plan plan(settings());
  const std::vector<float> good = {0.1f, -0.2f, 0.05f};
  for (float bad : {NAN, -NAN, kInf, -kInf})
    for (size_t place = 0; place < 3; ++place) {
      std::vector<float> row = {1, 2, 3};
      row[place] = bad;
      EXPECT_EQ(clipped_on(device(), plan, {row}), (std::vector<int64_t>{0, 0, 0}));
      EXPECT_EQ(clipped_on(device(), plan, {row, good}), clipped(plan, {good}));
    }
  // Anywhere: in each of 16 partial sums, each block of columns, the first and the last column.
  std::vector<size_t> places = {4095, 4096, 32767, 32768, kTwoGroups - 1};
  for (size_t i = 0; i < 17; ++i) places.push_back(3 * i), places.push_back(4096 * (i % 8) + i);
  for (size_t i = 0; i < places.size(); ++i) {
    std::vector<float> row(kTwoGroups, 0.001f);
    row[places[i]] = i % 2 ? NAN : -kInf;
    EXPECT_EQ(squared_norm(clipped_on(device(), plan, {row})), 0) << places[i];
  }
  ClippedSum sum(plan, 3, device());
  PerExampleGradient rows =
      rows_on(device(), {{5, 5, 5}, good, {NAN, 1, 1}, {kInf, 0, 0}, {9, 9, 9}, good}, {0, 1, 0, 1, 1, 0});
  const NonprivateClipStats stats(nonprivate_squares(rows), plan->clip_norm);
  clip_and_sum(std::move(rows), plan, sum);
  EXPECT_EQ(integers(sum), clipped(plan, {good, {9, 9, 9}}));
  EXPECT_EQ(stats.nonprivate_rows, 3);
  EXPECT_EQ(stats.nonprivate_non_finite_rows, 1);
  EXPECT_EQ(stats.nonprivate_clipped_rows, 1);
  EXPECT_NEAR(stats.nonprivate_norm_sum, std::sqrt(0.0525) + std::sqrt(243.0), 1e-6);
}

TEST_P(GpuClipSmall, RefusesOtherDevicesOtherPlansAndTooManyRows) {
  const Plan plan(settings());
  ClippedSum here(plan, 2), there(plan, 2, device()), other(plan_with(0.31), 2, device());
  EXPECT_THROW(clip_and_sum(rows_on(device(), {{1, 2}}), plan, here), DeviceError);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2}}), plan, there), DeviceError);
  EXPECT_THROW(clip_and_sum(rows_on(device(), {{1, 2}}), plan, other), PrivacyError);
  EXPECT_THROW(clip_and_sum(rows_on(device(), {{1, 2, 3}}), plan, there), Error);
  EXPECT_EQ(integers(there), (std::vector<int64_t>{0, 0}));
  PlanSettings s = settings();
  s.max_examples = 2;
  const Plan small(s);
  ClippedSum sum(small, 1, device());
  clip_and_sum(rows_on(device(), {{1}, {1}, {1}}, {1, 0, 1}), small, sum);
  EXPECT_THROW(clip_and_sum(rows_on(device(), {{1}}), small, sum), PrivacyError);
}

TEST_P(GpuClipSmall, AMovedSumIsUsedUp) {
  const Plan plan(settings());
  ClippedSum sum(plan, 2, device());
  clip_and_sum(rows_on(device(), {{1, 2}}), plan, sum);
  const ClippedSum taken = std::move(sum);
  EXPECT_EQ(integers(taken), clipped(plan, {{1, 2}}));
  EXPECT_EQ(sum.parameters(), 0);                // NOLINT: used up
  EXPECT_THROW(sum.nonprivate_values(), Error);  // NOLINT
}

// The largest sum that a plan allows, 2^17 rows on a grid of 44 bits, neither overflows nor comes near it.
TEST_P(GpuClipSmall, RangeProofHoldsAtItsLimit) {
  constexpr int64_t kRows = int64_t{1} << 17;
  const Tensor slab = Tensor::empty({kRows, 1}, DType::f32), scale = Tensor::empty({kRows}, DType::f64);
  slab.fill(1e30);
  const auto g = static_cast<double>(1e30f);
  scale.fill(grid_scale(g * g, 1, 0.3, 44));
  const Tensor rows = slab.to(device()), scales = scale.to(device());
  const Tensor sum = Tensor::zeros({1}, DType::i64, device());
  launch_each(gpu(), 1,
              AddRowsOnGrid{rows.device_data<float>(), scales.device_data<double>(), kRows, 1,
                            sum.device_data<int64_t>()});
  const int64_t total = sum.to(Device{}).data<int64_t>()[0];
  EXPECT_LE(total, int64_t{1} << 61);
  EXPECT_GT(total, (int64_t{1} << 61) - 2 * kRows);
}

// What dp/README.md assumes of the device: the bits of IEEE 754, as the processor has them.
TEST_P(GpuArithmetic, IsThatOfTheProcessor) {
  constexpr int64_t n = 1 << 20;
  PhiloxStream random(5, 0);
  const Tensor x = Tensor::empty({n}, DType::f64), y = Tensor::empty({n}, DType::f64);
  for (int64_t i = 0; i < n; ++i)
    for (const Tensor* t : {&x, &y}) {
      // Any double by its bits, or one of the size of gradients.
      uint64_t bits = random.next_u64();
      double v = std::ldexp(random.normal(), static_cast<int>(random.below(120)) - 60);
      if (i % 2) std::memcpy(&v, &bits, 8);
      t->data<double>()[i] = v;
    }
  const double special[] = {0.0, -0.0,      NAN,     -NAN,    HUGE_VAL,    -HUGE_VAL,
                            1.0, 0x1p-1074, DBL_MAX, DBL_MIN, 1 - 0x1p-53, 0x1p-1022};
  for (int64_t i = 0; i < 144; ++i)
    x.data<double>()[i] = special[i / 12], y.data<double>()[i] = special[i % 12];
  const auto run = [&](Device device) {
    const Tensor there_x = x.to(device), there_y = y.to(device);
    const Tensor out = Tensor::empty({n, test::Arithmetic::kResults}, DType::f64, device);
    const Tensor whole = Tensor::empty({n}, DType::i64, device);
    const test::Arithmetic kernel{there_x.device_data<double>(), there_y.device_data<double>(),
                                  out.device_data<double>(), whole.device_data<int64_t>()};
    if (device.is_cpu())
      CpuExec{}.for_each(n, kernel);
    else
      launch_each(Gpu::of(device), n, kernel);
    return std::pair(out.to(Device{}), whole.to(Device{}));
  };
  const auto [out, whole] = run(device());
  const auto [expected, expected_whole] = run(Device{});
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(whole.data<int64_t>()[i], expected_whole.data<int64_t>()[i]) << x.data<double>()[i];
    for (int64_t r = 0; r < test::Arithmetic::kResults; ++r) {
      const int64_t at = i * test::Arithmetic::kResults + r;
      const double a = out.data<double>()[at], b = expected.data<double>()[at];
      ASSERT_TRUE(std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) ||
                  (std::isnan(a) && std::isnan(b)))
          << "result " << r << " of " << x.data<double>()[i] << ", " << y.data<double>()[i];
    }
  }
}

TEST_P(GpuNonPrivateSmall, MeanOfRowsIsTheProcessorsInEveryChunking) {
  FakeExamples examples;
  FakeGradients here(5001);
  GpuGradients there(5001, device());
  std::vector<Unit> units;
  for (int64_t id = 0; id < 23; ++id) units.push_back({{id}});
  const auto run = [&](GradientSource& gradients, int64_t chunk) {
    examples.padding = chunk % 2;
    const NonPrivateGradient g = nonprivate_step(units, examples, gradients, 0, chunk, {});
    EXPECT_EQ(g.values().device(), gradients.device());
    const Tensor host = g.values().to(Device{});
    return std::vector<float>(host.values<float>().begin(), host.values<float>().end());
  };
  for (int64_t chunk : {1, 2, 7, 100}) EXPECT_EQ(run(there, chunk), run(here, 23));
  units.clear();
  EXPECT_EQ(run(there, 5), std::vector<float>(5001, 0.0f));
  NonPrivateSum elsewhere(2);
  EXPECT_THROW(add_rows(rows_on(device(), {{1, 2}}), elsewhere, {}), DeviceError);
}

PG_ON_GPUS(GpuClip);
PG_ON_GPUS(GpuClipSmall);
PG_ON_GPUS(GpuArithmetic);
PG_ON_GPUS(GpuNonPrivateSmall);

}  // namespace
}  // namespace pergrad::dp
