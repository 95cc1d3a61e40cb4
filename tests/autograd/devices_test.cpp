// Devices: float (the fast kernels of this processor) against double on the same numbers, and nothing
// written behind any output. The CUDA device joins here when a build has it.
#include "tests/support/compare.h"
#include "tests/support/guards.h"
#include "tests/support/op_runs.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <set>

namespace pergrad::test {
namespace {

std::vector<std::string> op_groups() {
  std::set<std::string> names;
  for (const OpCase& c : op_cases()) names.insert(c.op);
  return {names.begin(), names.end()};
}

class Devices : public testing::TestWithParam<std::string> {};

TEST_P(Devices, CpuFloatAgreesWithDoubleAndKeepsGuardWords) {
  for (const OpCase& c : op_cases()) {
    if (c.op != GetParam()) continue;
    SCOPED_TRACE(c.op + ": " + c.name);
    const int64_t rows = 9 / c.inputs[0].shape[0];  // see the note on shapes in op_cases.cpp
    const CaseData single = make_data(c, rows, DType::f32), exact = make_data(c, rows, DType::f64);
    size_t largest = 1 << 14;
    for (const Tensor* t : {&exact.inputs[0], &exact.coefficients})
      largest = std::max(largest, byte_size(*t));
    GuardedWorkspace guards(4 * largest, 40);  // padded copies are larger than their images
    const CaseRun fast = run_case(c, single, &guards);
    EXPECT_EQ(fast.overrun, "");
    const CaseRun reference = run_case(c, exact);
    EXPECT_LE(normalised_error(fast.output, reference.output), kFloatOpTolerance) << "output";
    for (size_t i = 0; i < fast.input_gradients.size(); ++i) {
      if (!fast.input_gradients[i].defined()) continue;
      EXPECT_LE(normalised_error(fast.input_gradients[i], reference.input_gradients[i]), kFloatOpTolerance)
          << "gradient of input " << i;
    }
    for (int64_t n = 0; n < rows && fast.weight_gradients.size() > 0; ++n)
      EXPECT_LE(
          normalised_error(fast.weight_gradients.rows(n, n + 1), reference.weight_gradients.rows(n, n + 1)),
          kFloatOpTolerance)
          << "weight gradient of row " << n;
    // Inputs and weights are read only.
    const CaseData again = make_data(c, rows, DType::f32);
    for (size_t i = 0; i < again.inputs.size(); ++i)
      EXPECT_TRUE(same_bits(again.inputs[i], single.inputs[i]));
    for (size_t i = 0; i < again.weights.size(); ++i)
      EXPECT_TRUE(same_bits(again.weights[i], single.weights[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Devices, testing::ValuesIn(op_groups()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace pergrad::test
