// Clip, integer sum, noise and release on a GPU: the promises of dp/, kept there.
#include "core/gpu/launch.h"
#include "dp/mechanism.h"
#include "dp/nonprivate.h"
#include "dp/step.h"
#include "tests/gpu/device_test.h"
#include "tests/gpu/kernels.h"
#include "tests/privacy/fakes.h"
#include "tests/support/compare.h"

#include <cmath>
#include <limits>

namespace pergrad::dp {
namespace {

using Rows = std::vector<std::vector<float>>;
using test::same_bits;

class GpuClipSmall : public test::GpuTest {
 protected:
  PerExampleGradient there(const Rows& rows, std::vector<uint8_t> is_real = {}) const {
    PerExampleGradient host = rows_of(rows, std::move(is_real));
    std::vector<uint8_t> real;
    for (int64_t n = 0; n < host.rows(); ++n) real.push_back(host.is_real(n));
    return {host.slab().to(device()), real};
  }
  // The integer sum of rows given in chunks of so many.
  std::vector<int64_t> clipped_there(const Plan& plan, const Rows& rows, size_t chunk,
                                     const std::vector<uint8_t>& is_real = {}) const {
    ClippedSum sum(plan, static_cast<int64_t>(rows.at(0).size()), device());
    for (size_t n = 0; n < rows.size(); n += chunk) {
      const auto first = rows.begin() + static_cast<int64_t>(n);
      const size_t size = std::min(chunk, rows.size() - n);
      std::vector<uint8_t> real(size, 1);
      if (!is_real.empty()) std::copy_n(is_real.begin() + static_cast<int64_t>(n), size, real.begin());
      clip_and_sum(there({first, first + static_cast<int64_t>(size)}, real), plan, sum, {});
    }
    const Tensor host = sum.nonprivate_values().to(Device{});
    return {host.values<int64_t>().begin(), host.values<int64_t>().end()};
  }
};

// A guarantee of IEEE arithmetic that step 3 to 5 of clip_kernels.h use: the device gives the processor's
// bits.
TEST_P(GpuClipSmall, TheDeviceRoundsAsIeeeSays) {
  constexpr int64_t kN = 20000;
  PhiloxStream random(3, 0);
  const Tensor x = Tensor::empty({kN, 2}, DType::f64);
  for (double& v : x.values<double>())
    v = std::ldexp(random.uniform() + 0.5, static_cast<int>(random.below(400)) - 200);
  const double special[] = {0.0, -0.0, 1e308, 5e-324, INFINITY, -INFINITY, NAN, 2.0};
  std::copy(std::begin(special), std::end(special), x.data<double>());
  const Tensor in = x.to(device());
  const Tensor out = Tensor::zeros({kN, 5}, DType::f64, device());
  const Tensor cut = Tensor::zeros({kN}, DType::i64, device());
  launch_each(gpu(), kN,
              test::DoubleArithmetic{in.device_data<double>(), out.device_data<double>(),
                                     cut.device_data<int64_t>()});
  const Tensor expected = Tensor::zeros({kN, 5}, DType::f64);
  const Tensor expected_cut = Tensor::zeros({kN}, DType::i64);
  const test::DoubleArithmetic here{x.data<double>(), expected.data<double>(), expected_cut.data<int64_t>()};
  for (int64_t i = 0; i < kN; ++i) here(i);
  const Tensor got = out.to(Device{}), got_cut = cut.to(Device{});
  for (int64_t i = 0; i < kN * 5; ++i) {
    const double a = got.data<double>()[i], b = expected.data<double>()[i];
    ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << i << ": " << a << " and " << b;
  }
  for (int64_t i = 0; i < kN; ++i)
    ASSERT_EQ(got_cut.data<int64_t>()[i], expected_cut.data<int64_t>()[i]) << i;
}

TEST_P(GpuClipSmall, NoRowExceedsTheClipNormByAnything) {
  const Plan plan(settings());
  const auto clip = static_cast<float>(plan->clip_norm);
  PhiloxStream random(5, 0);
  Rows hard;
  for (const int64_t P : {1, 2, 255, 256, 257, 16384, 16385, 40000}) {
    hard.clear();
    for (int64_t id = 0; id < 6; ++id) hard.push_back(row_of(id, P));
    hard.push_back(std::vector<float>(static_cast<size_t>(P), 1e38f));
    hard.push_back(std::vector<float>(static_cast<size_t>(P), 1e-42f));
    hard.push_back(std::vector<float>(static_cast<size_t>(P), 0.0f));
    hard.push_back(std::vector<float>(static_cast<size_t>(P), 0.0f));
    hard.back().back() = clip;  // the boundary, in the last column
    hard.push_back(hard.back());
    hard.back().back() = std::nextafter(clip, 1.0f);
    for (int i = 0; i < 4; ++i) {  // norms within rounding of the boundary
      std::vector<float> row = row_of(100 + i, P);
      double squares = 0;
      for (float v : row) squares += double{v} * v;
      for (float& v : row) v = static_cast<float>(v / std::sqrt(squares) * plan->clip_norm);
      hard.push_back(row);
    }
    for (const auto& row : hard) {
      const std::vector<int64_t> q = clipped_there(plan, {row}, 1);
      ASSERT_LE(squared_norm(q), squared_bound(plan)) << "P " << P;
      const std::vector<int64_t> here = clipped(plan, {row});  // another order of summation
      for (size_t i = 0; i < q.size(); ++i)
        ASSERT_LE(std::abs(q[i] - here[i]), 1 + std::abs(here[i]) / (1 << 30));
    }
  }
}

TEST_P(GpuClipSmall, ARowAddsItselfAndChunksChangeNothing) {
  const Plan plan(settings());
  constexpr int64_t P = 16500;
  Rows rows;
  for (int64_t id = 0; id < 7; ++id) rows.push_back(row_of(id, P));
  std::vector<int64_t> expected(static_cast<size_t>(P), 0);
  for (const auto& row : rows) {
    const auto own = clipped_there(plan, {row}, 1);
    for (size_t i = 0; i < own.size(); ++i) expected[i] += own[i];
  }
  for (const size_t chunk : {1u, 2u, 3u, 7u}) EXPECT_EQ(clipped_there(plan, rows, chunk), expected) << chunk;
  std::ranges::reverse(rows);
  EXPECT_EQ(clipped_there(plan, rows, 4), expected);
}

TEST_P(GpuClipSmall, PaddingAndNonFiniteRowsAddNothing) {
  const Plan plan(settings());
  constexpr int64_t P = 16500;
  const Rows good = {row_of(1, P), row_of(2, P)};
  const auto expected = clipped_there(plan, good, 2);
  const auto nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float poison : {nan, infinity, -infinity})
    for (const size_t place : {size_t{0}, size_t{255}, size_t{16384}, static_cast<size_t>(P - 1)}) {
      std::vector<float> bad = row_of(3, P);
      bad[place] = poison;
      EXPECT_EQ(clipped_there(plan, {good[0], bad, good[1]}, 3), expected) << poison << " at " << place;
    }
  const Rows with_padding = {good[0], row_of(9, P), good[1], std::vector<float>(static_cast<size_t>(P), nan)};
  EXPECT_EQ(clipped_there(plan, with_padding, 4, {1, 0, 1, 0}), expected);

  NonprivateClipStats stats, here;
  ClippedSum sum(plan, P, device()), sum_here(plan, P);
  clip_and_sum(there(with_padding, {1, 0, 1, 1}), plan, sum, {}, &stats);
  clip_and_sum(rows_of(with_padding, {1, 0, 1, 1}), plan, sum_here, {}, &here);
  EXPECT_EQ(stats.nonprivate_rows, 3);
  EXPECT_EQ(stats.nonprivate_non_finite_rows, 1);
  EXPECT_EQ(stats.nonprivate_clipped_rows, here.nonprivate_clipped_rows);
  EXPECT_NEAR(stats.nonprivate_norm_sum, here.nonprivate_norm_sum, 1e-9);
}

TEST_P(GpuClipSmall, RowsAndSumOnDifferentDevicesAreRefused) {
  const Plan plan(settings());
  ClippedSum there_sum(plan, 4, device()), here_sum(plan, 4);
  EXPECT_THROW(clip_and_sum(rows_of({{1, 2, 3, 4}}), plan, there_sum, {}), DeviceError);
  EXPECT_THROW(clip_and_sum(there({{1, 2, 3, 4}}), plan, here_sum, {}), DeviceError);
}

// Integers: the same key and the same sum give the same release on every device, bit for bit.
TEST_P(GpuClipSmall, ReleasesAreTheProcessorsBitForBit) {
  const Plan plan(settings());
  const Key key = key_from_text("gpu release");
  for (const int64_t P : {1, 255, 256, 257, 5000}) {
    Folder a, b;
    Ledger ledger_a(a.ledger(), plan), ledger_b(b.ledger(), plan);
    GaussianMechanism here(plan, key, ledger_a), there_mechanism(plan, key, ledger_b);
    // Rows of powers of two below the clip norm: squares add up exactly in any order, so the sums are equal.
    std::vector<float> row(static_cast<size_t>(P), 0.0f);
    for (int64_t i = 0; i < std::min<int64_t>(P, 40); ++i)
      row[static_cast<size_t>(i * 7 % P)] = std::ldexp(1.0f, -5);
    for (int64_t step = 0; step < 3; ++step) {
      ClippedSum sum_here(plan, P), sum_there(plan, P, device());
      if (step > 0) {
        clip_and_sum(rows_of({row}), plan, sum_here, {});
        clip_and_sum(there({row}), plan, sum_there, {});
      }
      const PrivateGradient g = here.release(std::move(sum_here), step);
      const PrivateGradient h = there_mechanism.release(std::move(sum_there), step);
      EXPECT_EQ(h.values().device(), device());
      EXPECT_TRUE(same_bits(h.values().to(Device{}), g.values())) << "P " << P << " step " << step;
    }
    EXPECT_EQ(text_in(a.ledger()), text_in(b.ledger()));
  }
}

// Rows on the device for private_step and nonprivate_step.
struct GradientsThere : FakeGradients {
  Device where;
  GradientsThere(int64_t parameters, Device device) : FakeGradients(parameters), where(device) {}
  Device device() const override { return where; }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    const std::vector<uint8_t> real = batch.is_real;
    const PerExampleGradient host = FakeGradients::rows(std::move(batch));
    return {host.slab().to(where), real};
  }
};

TEST_P(GpuClipSmall, AWholeStepDoesNotDependOnChunksAndAnEmptyOneIsReleased) {
  PlanSettings few = settings();
  few.sampling_rate = 0.3;
  const Plan plan(few);
  const Key key = key_from_text("gpu step");
  FakeExamples examples;
  examples.padding = 1;
  GradientsThere gradients(300, device());
  std::vector<Tensor> results;
  for (const int64_t chunk : {1, 3, 50}) {
    Folder folder;
    Ledger ledger(folder.ledger(), plan);
    GaussianMechanism mechanism(plan, key, ledger);
    const PoissonSampler sampler(plan, key, 40), nobody(plan, key, 0);
    results.push_back(
        private_step(sampler, examples, gradients, mechanism, 0, chunk, {}).values().to(Device{}));
    const PrivateGradient empty = private_step(nobody, examples, gradients, mechanism, 1, chunk, {});
    EXPECT_EQ(empty.values().device(), device());
    EXPECT_EQ(ledger.releases(), 2);
  }
  for (const Tensor& r : results) EXPECT_TRUE(same_bits(r, results[0]));
}

TEST_P(GpuClipSmall, ThePlainMeanIsTheProcessors) {
  FakeExamples examples;
  examples.padding = 2;
  GradientsThere gradients(300, device());
  FakeGradients gradients_here(300);
  std::vector<Unit> units;
  for (int64_t id = 0; id < 9; ++id) units.push_back({{id}});
  const Tensor want = nonprivate_step(units, examples, gradients_here, 0, 4, {}).values();
  for (const int64_t chunk : {1, 4, 9})
    EXPECT_TRUE(
        same_bits(nonprivate_step(units, examples, gradients, 0, chunk, {}).values().to(Device{}), want));
  EXPECT_TRUE(same_bits(nonprivate_step({}, examples, gradients, 0, 4, {}).values().to(Device{}),
                        Tensor::zeros({300}, DType::f32)));
}

PG_ON_GPUS(GpuClipSmall);

}  // namespace
}  // namespace pergrad::dp
