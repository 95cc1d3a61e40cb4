// Gradcheck: every entry of every input and of every weight, for every example's own row, in double, against
// central differences.
#include "tests/support/compare.h"
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

// |a - b| by the larger of the two and a fraction of the largest of the array.
double worst(const std::vector<double>& ours, const std::vector<double>& differences) {
  double largest = 0, error = 0;
  for (double d : differences) largest = std::max(largest, std::abs(d));
  for (size_t i = 0; i < ours.size(); ++i) {
    const double scale =
        std::max({std::abs(ours[i]), std::abs(differences[i]), kGradcheckFloor * largest, 1e-12});
    const double e = std::abs(ours[i] - differences[i]) / scale;
    error = e <= error ? error : e;  // NaN stays
  }
  return error;
}

void check_case(const OpCase& c) {
  SCOPED_TRACE(c.op + ": " + c.name);
  const CaseData data = make_data(c, 2, DType::f64);
  const CaseRun run = run_case(c, data);
  const auto losses = [&] { return case_losses(c, data); };

  // Weights: one entry moves the loss of every row; entry [n, p] of the slab is the slope of loss n.
  int64_t column = 0;
  for (size_t w = 0; w < data.weights.size(); ++w) {
    std::vector<double> ours, differences;
    for (double& entry : data.weights[w].values<double>()) {
      const std::vector<double> slope = difference_quotient(losses, entry, c.multilinear);
      for (int64_t n = 0; n < data.rows(); ++n) {
        ours.push_back(run.weight_gradients.data<double>()[n * run.weight_gradients.dim(1) + column]);
        differences.push_back(slope[static_cast<size_t>(n)]);
      }
      ++column;
    }
    EXPECT_LE(worst(ours, differences), kGradcheckTolerance) << "weight " << w;
  }
  EXPECT_EQ(column, run.weight_gradients.dim(1));

  // Inputs: an entry of row n moves loss n, and no other, not by a bit.
  const std::vector<double> still = losses();
  for (size_t x = 0; x < data.inputs.size(); ++x) {
    if (!c.inputs[x].differentiable) continue;
    std::vector<double> ours, differences;
    const int64_t row = data.inputs[x].size() / data.rows();
    for (int64_t i = 0; i < data.inputs[x].size(); ++i) {
      const auto n = static_cast<size_t>(i / row);
      const std::vector<double> slope =
          difference_quotient(losses, data.inputs[x].data<double>()[i], c.multilinear);
      for (size_t other = 0; other < slope.size(); ++other) {
        if (other == n) continue;
        ASSERT_EQ(slope[other], 0.0) << "input " << x << " entry " << i << " reaches row " << other;
      }
      ours.push_back(run.input_gradients[x].data<double>()[i]);
      differences.push_back(slope[n]);
    }
    EXPECT_LE(worst(ours, differences), kGradcheckTolerance) << "input " << x;
  }
  EXPECT_EQ(losses(), still);
}

class Gradcheck : public testing::TestWithParam<std::string> {};

TEST_P(Gradcheck, EveryEntryOfEveryExample) {
  for (const OpCase& c : op_cases())
    if (c.op == GetParam()) check_case(c);
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradcheck, testing::ValuesIn(op_groups()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace pergrad::test
