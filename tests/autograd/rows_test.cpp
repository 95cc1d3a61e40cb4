// Rows: what belongs to example n is a function of example n and the weights alone, bit for bit.
//
// rows_violation() says how an op breaks that; it is the test that batch norm must fail, and a toy one here
// proves that it does.
#include "tests/support/compare.h"
#include "tests/support/op_runs.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace pergrad::test {
namespace {

// Compares row n of a run with row m of another; what differs, or "".
std::string row_difference(const CaseRun& a, int64_t n, const CaseRun& b, int64_t m) {
  if (!same_row(a.output, n, b.output, m)) return "output";
  for (size_t i = 0; i < a.input_gradients.size(); ++i)
    if (a.input_gradients[i].defined() && !same_row(a.input_gradients[i], n, b.input_gradients[i], m))
      return concat("gradient of input ", i);
  if (a.weight_gradients.size() > 0 && !same_row(a.weight_gradients, n, b.weight_gradients, m))
    return "weight gradient";
  return "";
}

// A batch against its examples one at a time.
std::string batch_violation(const OpCase& c, DType type) {
  const CaseData data = make_data(c, 4, type);
  const CaseRun together = run_case(c, data);
  for (int64_t n = 0; n < 4; ++n) {
    const std::string what = row_difference(together, n, run_case(c, select_rows(data, {n})), 0);
    if (!what.empty()) return concat("batch of one: ", what, " of row ", n);
  }
  return "";
}

std::string order_violation(const OpCase& c, DType type) {
  const CaseData data = make_data(c, 4, type);
  const CaseRun together = run_case(c, data);
  const std::vector<int64_t> order = {2, 0, 3, 1};
  const CaseRun permuted = run_case(c, select_rows(data, order));
  for (int64_t n = 0; n < 4; ++n) {
    const std::string what = row_difference(permuted, n, together, order[static_cast<size_t>(n)]);
    if (!what.empty()) return concat("permuted: ", what, " of row ", n);
  }
  return "";
}

// One example turned into NaN, infinity, or one NaN among numbers: all others stay as they were.
std::string poison_violation(const OpCase& c, DType type) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const CaseRun clean = run_case(c, make_data(c, 4, type));
  for (int64_t victim = 0; victim < 4; victim += 2)
    for (size_t input = 0; input < c.inputs.size(); ++input)
      for (const double poison : {kNan, kInfinity, -kInfinity, 1e30})
        for (const bool whole : {true, false}) {
          const CaseData data = make_data(c, 4, type);
          const Tensor row = data.inputs[input].rows(victim, victim + 1);
          if (whole)
            row.fill(poison);
          else
            dispatch(type, [&]<class T>() { row.values<T>().back() = static_cast<T>(poison); });
          const CaseRun poisoned = run_case(c, data);
          for (int64_t n = 0; n < 4; ++n) {
            if (n == victim) continue;
            const std::string what = row_difference(poisoned, n, clean, n);
            if (!what.empty())
              return concat("input ", input, " of row ", victim, " = ", poison, ": ", what, " of row ", n);
          }
        }
  return "";
}

std::string rows_violation(const OpCase& c, DType type) {
  for (const auto& check : {batch_violation, order_violation, poison_violation})
    if (std::string what = check(c, type); !what.empty()) return what;
  return "";
}

std::vector<std::string> op_groups() {
  std::set<std::string> names;
  for (const OpCase& c : op_cases()) names.insert(c.op);
  return {names.begin(), names.end()};
}

class Rows : public testing::TestWithParam<std::string> {};

TEST_P(Rows, BelongToTheirExampleAlone) {
  for (const OpCase& c : op_cases()) {
    if (c.op != GetParam()) continue;
    for (const DType type : {DType::f32, DType::f64})
      EXPECT_EQ(rows_violation(c, type), "") << c.op << ": " << c.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Rows, testing::ValuesIn(op_groups()),
                         [](const auto& param) { return param.param; });

// ------------------------------------------------ ops that must fail, each in its own way

// Subtracts the mean over all examples, as batch norm does.
struct CentreOverBatch : Node {
  Var x;
  const char* name() const override { return "centre_over_batch"; }
  void backward(Tape& tape, const Tensor& dy) override { tape.accumulate(x, centred(tape, dy)); }
  static Tensor centred(const Tape& tape, const Tensor& x) {
    Tensor y = tape.empty(x.shape());
    const int64_t row = x.size() / x.dim(0);
    dispatch(x.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < row; ++i) {
        T sum = 0;
        for (int64_t n = 0; n < x.dim(0); ++n) sum += x.data<T>()[n * row + i];
        for (int64_t n = 0; n < x.dim(0); ++n)
          y.data<T>()[n * row + i] = x.data<T>()[n * row + i] - sum / static_cast<T>(x.dim(0));
      }
    });
    return y;
  }
};

// Right forward, but the weight gradient of every row is that of the whole batch.
struct SharedGradient : Node {
  Var x;
  WeightVar w;
  Tensor input;
  const char* name() const override { return "shared_gradient"; }
  void backward(Tape& tape, const Tensor& dy) override {
    dispatch(dy.dtype(), [&]<class T>() {
      T sum = 0;
      for (int64_t i = 0; i < dy.size(); ++i) sum += dy.data<T>()[i] * input.data<T>()[i];
      for (int64_t n = 0; n < dy.dim(0); ++n) tape.weight_gradient<T>(w, n)[0] += sum;
    });
    tape.accumulate(x, dy.clone());
  }
};

OpCase toy(const std::string& name, std::vector<Operand> weights,
           std::function<Record(WeightTape&, const std::vector<WeightVar>&)> prepare) {
  return {"toy", name, {}, {{{2, 3}}}, std::move(weights), std::move(prepare), false, {}};
}

OpCase toy_batch_norm() {
  return toy("batch norm", {}, [](WeightTape&, const std::vector<WeightVar>&) -> Record {
    return [](Tape& tape, const std::vector<Var>& x) {
      auto node = std::make_unique<CentreOverBatch>();
      node->x = x[0];
      return tape.record(CentreOverBatch::centred(tape, tape.value(x[0])), std::move(node));
    };
  });
}

TEST(RowsTestItself, ToyBatchNormFails) {
  const OpCase c = toy_batch_norm();
  for (const DType type : {DType::f32, DType::f64}) {
    EXPECT_NE(batch_violation(c, type), "");
    EXPECT_NE(poison_violation(c, type), "");
    EXPECT_NE(rows_violation(c, type), "");
  }
}

TEST(RowsTestItself, SumOfWeightGradientsOverTheBatchFails) {
  const OpCase c =
      toy("sum over examples", {{{1}}}, [](WeightTape&, const std::vector<WeightVar>& w) -> Record {
        return [w = w[0]](Tape& tape, const std::vector<Var>& x) {
          auto node = std::make_unique<SharedGradient>();
          node->x = x[0];
          node->w = w;
          node->input = tape.value(x[0]);
          return tape.record(tape.value(x[0]).clone(), std::move(node));
        };
      });
  EXPECT_NE(batch_violation(c, DType::f64).find("weight gradient"), std::string::npos);
  EXPECT_NE(poison_violation(c, DType::f64).find("weight gradient"), std::string::npos);
}

}  // namespace
}  // namespace pergrad::test
