// The tape itself: fan-out, unused outputs, what needs no gradient, memory, and wrong use.
#include "autograd/ops.h"
#include "tests/support/compare.h"

#include <gtest/gtest.h>

namespace pergrad::test {
namespace {

Tensor doubles(Shape shape, std::vector<double> values) {
  return Tensor::of<double>(std::move(shape), values);
}
std::vector<double> list(const Tensor& t) { return {t.values<double>().begin(), t.values<double>().end()}; }

// Two examples, one view, classifier from 2 numbers to 2 labels; the loss is cross-entropy.
struct Small {
  Tensor w = doubles({2, 2}, {1, -1, 0.5, 2});
  Tensor b = doubles({2}, {0.25, -0.5});
  Tensor x = doubles({2, 1, 2}, {1, 2, -1, 0.5});
  Tensor targets = doubles({2, 1, 2}, {1, 0, 0.25, 0.75});
  Tensor weights = doubles({2, 1}, {1, 1});
  WeightTape tape;
  WeightVar w_var = tape.leaf(w, 0), b_var = tape.leaf(b, 4);
};

TEST(Tape, LossOfTwoRowsHasItsTextbookGradient) {
  Small s;
  Workspace workspace;
  const Tensor slab = Tensor::empty({2, 6}, DType::f64);
  WeightSlots slots(s.tape, slab, workspace);
  Tape tape(s.tape, &slots, workspace);
  const Var x = tape.input(s.x, true);
  const Var loss = soft_cross_entropy(tape, linear(tape, x, s.w_var, s.b_var), s.targets, s.weights);
  // By hand: logits of row 0: (1 + 1 + 0.25, -1 + 4 - 0.5) = (2.25, 2.5); p0 = 1 / (1 + e^0.25).
  const double p0 = 1 / (1 + std::exp(0.25)), r0 = p0 - 1;
  // Row 1: (-1 + 0.25 + 0.25, 1 + 1 - 0.5) = (-0.5, 1.5); p = 1 / (1 + e^2).
  const double p1 = 1 / (1 + std::exp(2.0)), r1 = p1 - 0.25;
  EXPECT_NEAR(tape.value(loss).data<double>()[0], -std::log(p0), 1e-15);
  EXPECT_NEAR(tape.value(loss).data<double>()[1], -0.25 * std::log(p1) - 0.75 * std::log1p(-p1), 1e-15);
  tape.backward(loss);
  slots.finish();
  const std::vector<double> wanted = {r0,  -r0, 2 * r0,   -2 * r0,   r0, -r0,
                                      -r1, r1,  0.5 * r1, -0.5 * r1, r1, -r1};
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(list(slab)[i], wanted[i], 1e-15) << i;
  const std::vector<double> dx = {2 * r0, -1.5 * r0, 2 * r1, -1.5 * r1};
  for (size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(list(tape.gradient(x))[i], dx[i], 1e-15) << i;
}

TEST(Tape, FanOutAddsInTheSlot) {
  WeightTape none;
  Workspace workspace;
  WeightSlots slots(none, Tensor::empty({1, 0}, DType::f64), workspace);
  Tape tape(none, &slots, workspace);
  const Var x = tape.input(doubles({1}, {0.5}), true);
  const Var t = tanh(tape, x);
  // x + tanh x + relu(tanh x) + relu(tanh x)
  const Var y = add(tape, add(tape, x, t), add(tape, relu(tape, t), relu(tape, t)));
  tape.backward(y);
  const double slope = 1 - std::tanh(0.5) * std::tanh(0.5);
  EXPECT_NEAR(tape.gradient(x).data<double>()[0], 1 + 3 * slope, 1e-15);
}

TEST(Tape, UnusedOutputsCostNothingAndChangeNothing) {
  Small s;
  Workspace workspace;
  const auto rows = [&](bool with_unused) {
    Tensor slab = Tensor::empty({2, 6}, DType::f64);
    WeightSlots slots(s.tape, slab, workspace);
    Tape tape(s.tape, &slots, workspace);
    const Var x = tape.input(s.x, true);
    if (with_unused) linear(tape, tanh(tape, x), s.w_var, s.b_var);
    const Var y = linear(tape, x, s.w_var, s.b_var);
    if (with_unused) relu(tape, y);
    const Var loss = soft_cross_entropy(tape, y, s.targets, s.weights);
    if (with_unused) linear(tape, y, s.w_var, s.b_var);  // recorded after the loss
    tape.backward(loss);
    slots.finish();
    return slab;
  };
  EXPECT_TRUE(same_bits(rows(false), rows(true)));
}

TEST(Tape, InputsThatAskForNoGradientGetNone) {
  Small s;
  Workspace workspace;
  WeightSlots slots(s.tape, Tensor::empty({2, 6}, DType::f64), workspace);
  Tape tape(s.tape, &slots, workspace);
  const Var x = tape.input(s.x);
  const Var still = relu(tape, x);
  EXPECT_FALSE(tape.needs_gradient(still));
  const Var loss = soft_cross_entropy(tape, linear(tape, still, s.w_var, s.b_var), s.targets, s.weights);
  tape.backward(loss);
  EXPECT_FALSE(tape.gradient(x).defined());
  EXPECT_FALSE(tape.gradient(still).defined());
}

TEST(Tape, MemoryDiesAsTheWalkPasses) {
  Small s;
  Workspace workspace;
  WeightSlots slots(s.tape, Tensor::empty({2, 6}, DType::f64), workspace);
  Tape tape(s.tape, &slots, workspace);
  Var h = tape.input(s.x, true);
  for (int i = 0; i < 20; ++i) h = tanh(tape, h);
  const Var loss = soft_cross_entropy(tape, linear(tape, h, s.w_var, s.b_var), s.targets, s.weights);
  const size_t before = tape.value_bytes();
  EXPECT_EQ(before, (21 * 4 + 4 + 2) * sizeof(double));
  const std::string report = tape.memory_report();
  EXPECT_EQ(std::count(report.begin(), report.end(), '\n'), 22);
  EXPECT_NE(report.find("tanh [2,1,2]: saves 32 bytes"), std::string::npos) << report;
  EXPECT_NE(report.find("linear"), std::string::npos) << report;
  tape.backward(loss);
  EXPECT_EQ(tape.value_bytes(), 4 * sizeof(double)) << "only the input is left";
  EXPECT_EQ(tape.memory_report(), "");
  // What died is in the pool: the same again asks the system for nothing.
  const size_t reserved = workspace.bytes_reserved();
  Tape second(s.tape, &slots, workspace);
  Var g = second.input(s.x, true);
  for (int i = 0; i < 20; ++i) g = tanh(second, g);
  EXPECT_EQ(workspace.bytes_reserved(), reserved);
}

TEST(Tape, WorkspaceDoesNotGrowAfterTheSecondStep) {
  Small s;
  Workspace workspace;
  std::vector<size_t> reserved;
  for (int step = 0; step < 6; ++step) {
    WeightSlots slots(s.tape, Tensor::empty({2, 6}, DType::f64), workspace);
    Tape tape(s.tape, &slots, workspace);
    Var h = tape.input(s.x, true);
    for (int i = 0; i < 5; ++i) h = add(tape, relu(tape, h), tanh(tape, h));
    tape.backward(soft_cross_entropy(tape, linear(tape, h, s.w_var, s.b_var), s.targets, s.weights));
    slots.finish();
    reserved.push_back(workspace.bytes_reserved());
  }
  for (size_t i = 2; i < reserved.size(); ++i) EXPECT_EQ(reserved[i], reserved[1]);
}

TEST(Tape, ForwardOnlyRecordsNothingAndGivesTheSameBits) {
  Small s;
  Workspace workspace;
  WeightSlots slots(s.tape, Tensor::empty({2, 6}, DType::f64), workspace);
  Tape recording(s.tape, &slots, workspace), forward(s.tape, nullptr, workspace);
  const Var a = linear(recording, recording.input(s.x, true), s.w_var, s.b_var);
  const Var b = linear(forward, forward.input(s.x, true), s.w_var, s.b_var);
  EXPECT_TRUE(same_bits(recording.value(a), forward.value(b)));
  EXPECT_EQ(forward.memory_report(), "");
  EXPECT_NE(message_of([&] { forward.backward(b); }).find("without gradient slots"), std::string::npos);
}

TEST(Tape, DerivedWeightsWalkBackToTheLeavesRowByRow) {
  // w' = standardize(w), used by both rows; row 1 has no loss weight, so its row of dw must be exactly zero.
  Small s;
  s.weights = doubles({2, 1}, {1, 0});
  const Tensor gain = doubles({2}, {1.5, 0.5});
  const WeightVar standardized = weight_standardize(s.tape, s.w_var, s.tape.leaf(gain, 6));
  Workspace workspace;
  const Tensor slab = Tensor::empty({2, 8}, DType::f64);
  slab.fill(std::nan(""));  // what its memory held before must not matter
  WeightSlots slots(s.tape, slab, workspace);
  Tape tape(s.tape, &slots, workspace);
  tape.backward(
      soft_cross_entropy(tape, linear(tape, tape.input(s.x), standardized, s.b_var), s.targets, s.weights));
  slots.finish();
  EXPECT_NE(slab.data<double>()[6], 0);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(slab.data<double>()[8 + i], 0);
}

TEST(Tape, SlotsThatNothingUsedAndColumnsOfNobodyAreZero) {
  Small s;  // w in columns 0 to 4, b in 4 to 6
  const WeightVar late = s.tape.leaf(doubles({2}, {1, 2}), 9);
  const WeightVar derived = weight_standardize(s.tape, s.tape.leaf(doubles({2, 2}, {1, 2, 3, 5}), 12),
                                               s.tape.leaf(doubles({2}, {1, 1}), 16));
  (void)late, (void)derived;
  Workspace workspace;
  const Tensor slab = Tensor::empty({2, 20}, DType::f64);
  slab.fill(std::nan(""));
  WeightSlots slots(s.tape, slab, workspace);
  Tape tape(s.tape, &slots, workspace);
  tape.backward(
      soft_cross_entropy(tape, linear(tape, tape.input(s.x), s.w_var, s.b_var), s.targets, s.weights));
  slots.finish();
  for (int n = 0; n < 2; ++n)
    for (int i = 0; i < 20; ++i) {
      const double v = slab.data<double>()[20 * n + i];
      EXPECT_TRUE(i < 6 ? std::isfinite(v) : v == 0) << "row " << n << " column " << i << ": " << v;
    }
}

TEST(Tape, AColumnHasOneOwner) {
  Small s;
  const auto leaf_at = [&](int64_t column) {
    return message_of([&] { s.tape.leaf(doubles({2}, {1, 2}), column); });
  };
  EXPECT_EQ(leaf_at(3), "weight: leaf at column 3, which is not free");
  EXPECT_EQ(leaf_at(5), "weight: leaf at column 5, which is not free");
  // A weight and what is made of it gather in one place: using both is refused.
  const WeightVar standardized = weight_standardize(s.tape, s.w_var, s.tape.leaf(doubles({2}, {1, 1}), 6));
  Workspace workspace;
  WeightSlots slots(s.tape, Tensor::empty({2, 8}, DType::f64), workspace);
  EXPECT_NE(message_of([&] { slots.row<double>(s.w_var, 0); }).find("used by itself"), std::string::npos);
  EXPECT_NO_THROW(slots.row<double>(standardized, 0));
}

TEST(Tape, WrongUseIsNamed) {
  Small s;
  Workspace workspace;
  WeightSlots slots(s.tape, Tensor::empty({2, 6}, DType::f64), workspace);
  Tape tape(s.tape, &slots, workspace);
  const Var x = tape.input(s.x, true);
  EXPECT_EQ(message_of([&] { tape.backward(x); }), "tape: losses [2,1,2], wanted [2]");
  EXPECT_EQ(message_of([&] { tape.accumulate(x, doubles({1}, {0})); }),
            "tape: gradient [1] for a value [2,1,2]");
  EXPECT_EQ(message_of([&] {
              WeightSlots(s.tape, Tensor::empty({2, 5}, DType::f64), workspace);
            }),
            "weight slots: slab [2,5], wanted [N,6]");
  EXPECT_THROW(tape.value(Var{99}), std::out_of_range);
}

}  // namespace
}  // namespace pergrad::test
