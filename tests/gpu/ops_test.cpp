// Every op case on a GPU: against double on the processor, in float and in bf16; and row by row.
#include "tests/gpu/device_test.h"
#include "tests/support/compare.h"
#include "tests/support/op_runs.h"
#include "tests/support/tolerance.h"

#include <limits>

namespace pergrad::test {
namespace {

class GpuOpsSmall : public GpuTest {
 protected:
  GpuConvSettings settings(const OpCase& c, Precision precision) const {
    GpuConvSettings s;
    s.precision = precision;
    s.images_per_call = c.inputs[0].shape[0];  // the views of one row
    return s;
  }
  // bf16 wants output channels in multiples of 8.
  bool possible(const OpCase& c, Precision precision) const {
    if (precision != Precision::bf16 || (c.op != "conv2d" && c.op != "weight_standardize")) return true;
    return c.weights[0].shape.back() % 8 == 0 || c.weights[0].shape.size() == 2;
  }
};

// What floats hold exactly, or bf16.
CaseData rounded(CaseData data, bool half) {
  if (!half) return data;
  for (Tensor& x : data.inputs)
    if (x.rank() == 5) x = in_float(in_bf16(x));
  data.coefficients = in_float(in_bf16(data.coefficients));
  return data;
}
CaseData in_double(const CaseData& data) {
  CaseData exact;
  for (const Tensor& x : data.inputs) exact.inputs.push_back(x.to(DType::f64));
  for (const Tensor& w : data.weights) exact.weights.push_back(w.to(DType::f64));
  exact.coefficients = data.coefficients.to(DType::f64);
  return exact;
}

TEST_P(GpuOpsSmall, AgreeWithDouble) {
  int tried = 0;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const bool half = precision == Precision::bf16;
    const double tolerance = half ? kBf16OpTolerance : kFloatOpTolerance;
    for (const OpCase& c : op_cases()) {
      if (!possible(c, precision)) continue;
      SCOPED_TRACE(concat(c.op, ": ", c.name, half ? " (bf16)" : " (fp32)"));
      const CaseData data = rounded(make_data(c, 3, DType::f32), half);
      const CaseRun reference = run_case(c, in_double(data));
      const CaseRun run = run_case_on_gpu(c, data, device(), settings(c, precision));
      EXPECT_EQ(run.overrun, "");
      EXPECT_LE(normalised_error(run.output, reference.output), tolerance) << "output";
      for (size_t i = 0; i < run.input_gradients.size(); ++i) {
        if (!reference.input_gradients[i].defined()) continue;
        EXPECT_LE(normalised_error(run.input_gradients[i], reference.input_gradients[i]), tolerance)
            << "gradient of input " << i;
      }
      for (int64_t n = 0; n < 3 && run.weight_gradients.size() > 0; ++n)
        EXPECT_LE(
            normalised_error(run.weight_gradients.rows(n, n + 1), reference.weight_gradients.rows(n, n + 1)),
            tolerance)
            << "weight gradient of row " << n;
      ++tried;
    }
  }
  EXPECT_GT(tried, 150);
}

TEST_P(GpuOpsSmall, RowsBelongToTheirExampleAlone) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const Precision precision : {Precision::fp32, Precision::bf16})
    for (const OpCase& c : op_cases()) {
      if (!possible(c, precision)) continue;
      SCOPED_TRACE(concat(c.op, ": ", c.name));
      const auto run = [&](const CaseData& data) {
        return run_case_on_gpu(c, data, device(), settings(c, precision));
      };
      const auto expect_same = [&](const CaseRun& a, int64_t n, const CaseRun& b, int64_t m) {
        EXPECT_TRUE(same_row(a.output, n, b.output, m)) << "output of row " << n;
        for (size_t i = 0; i < a.input_gradients.size(); ++i) {
          if (!a.input_gradients[i].defined()) continue;
          EXPECT_TRUE(same_row(a.input_gradients[i], n, b.input_gradients[i], m))
              << "input gradient, row " << n;
        }
        if (a.weight_gradients.size() == 0) return;
        EXPECT_TRUE(same_row(a.weight_gradients, n, b.weight_gradients, m)) << "weight gradient, row " << n;
      };
      const CaseData data = make_data(c, 3, DType::f32);
      const CaseRun together = run(data), again = run(data);
      const CaseRun alone = run(select_rows(data, {1}));
      const CaseRun turned = run(select_rows(data, {2, 0, 1}));
      expect_same(together, 1, alone, 0);
      for (int64_t n = 0; n < 3; ++n) {
        expect_same(together, n, again, n);
        expect_same(turned, n, together, (n + 2) % 3);
      }
      for (const double poison : {kNan, std::numeric_limits<double>::infinity()}) {
        const CaseData bad = make_data(c, 3, DType::f32);
        bad.inputs[0].rows(1, 2).fill(poison);
        const CaseRun poisoned = run(bad);
        for (const int64_t n : {0, 2}) expect_same(poisoned, n, together, n);
      }
    }
}

PG_ON_GPUS(GpuOpsSmall);

}  // namespace
}  // namespace pergrad::test
