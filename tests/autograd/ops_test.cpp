// The ops one by one: known answers from the formulas, edges of the domain, and messages about shapes.
#include "autograd/ops.h"
#include "tests/support/compare.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace pergrad::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A tape without gradients and some leaves.
struct Bench {
  WeightTape weights;
  Workspace workspace;
  WeightVar leaf(Shape shape, const std::vector<double>& values) {
    return weights.leaf(Tensor::of<double>(std::move(shape), values), weights.columns());
  }
  WeightVar leaf(Shape shape) {
    return weights.leaf(Tensor::zeros(std::move(shape), DType::f64), weights.columns());
  }
  Tape tape() { return {weights, nullptr, workspace}; }
};
std::vector<double> list(const Tensor& t) { return {t.values<double>().begin(), t.values<double>().end()}; }
Tensor zeros(Shape shape) { return Tensor::zeros(std::move(shape), DType::f64); }
Tensor counted(Shape shape) {  // 1, 2, 3, ...
  Tensor t = zeros(std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) t.data<double>()[i] = static_cast<double>(i + 1);
  return t;
}

TEST(Conv2d, ThreeByThreeOfOnesAddsNeighbours) {
  Bench bench;
  const WeightVar w = bench.leaf({3, 3, 1, 1}, std::vector<double>(9, 1.0));
  const ConvKernel kernel = conv_kernel(bench.weights, w, {3, 3, 1, 1, 3, 1, 1}, false);
  const WeightVar bias = bench.leaf({1}, {0.5});
  Tape tape = bench.tape();
  const Tensor& y = tape.value(conv2d(tape, tape.input(counted({1, 1, 3, 3, 1})), kernel, bias));
  // Image 1..9; sums over each pixel's neighbourhood inside the image, plus 1/2.
  EXPECT_EQ(list(y), (std::vector<double>{12.5, 21.5, 16.5, 27.5, 45.5, 33.5, 24.5, 39.5, 28.5}));
}

TEST(Conv2d, StrideTwoWithOnePixelOfPaddingStartsAtMinusOne) {
  // PyTorch's convention (padding=1), not JAX's SAME: the window of the first output is rows -1..1.
  Bench bench;
  const WeightVar w = bench.leaf({3, 3, 1, 1}, {1, 0, 0, 0, 0, 0, 0, 0, 0});  // reads the upper left tap
  const ConvKernel kernel = conv_kernel(bench.weights, w, {4, 4, 1, 1, 3, 2, 1}, false);
  const WeightVar bias = bench.leaf({1});
  Tape tape = bench.tape();
  const Tensor& y = tape.value(conv2d(tape, tape.input(counted({1, 1, 4, 4, 1})), kernel, bias));
  EXPECT_EQ(list(y), (std::vector<double>{0, 0, 0, 6}));
}

TEST(WeightStandardize, GivesMeanZeroAndNormGainAndFloorsTheFlatChannel) {
  Bench bench;
  // Channel 0: 1, 3 (mean 2, sum of squares 2); channel 1: 5, 5.001 (sum of squares 5e-7 < 1e-4).
  const WeightVar w = bench.leaf({2, 2}, {1, 5, 3, 5.001});
  const WeightVar gain = bench.leaf({2}, {2, 3});
  const std::vector<double> got = list(bench.weights.value(weight_standardize(bench.weights, w, gain)));
  EXPECT_NEAR(got[0], -2 / std::sqrt(2.0), 1e-15);
  EXPECT_NEAR(got[2], 2 / std::sqrt(2.0), 1e-15);
  EXPECT_NEAR(got[1], -3 * 0.0005 / 0.01, 1e-12);  // by the root of the floor, 0.01
  EXPECT_NEAR(got[3], 3 * 0.0005 / 0.01, 1e-12);
}

TEST(GroupNorm, OfTwoPixelsIsPlusAndMinusOne) {
  Bench bench;
  const WeightVar gamma = bench.leaf({2}, {1, 10}), beta = bench.leaf({2}, {0, 5});
  Tape tape = bench.tape();
  const Var x = tape.input(Tensor::of<double>({1, 1, 1, 2, 2}, std::vector<double>{1, 100, 3, 300}));
  // Two groups of one channel: (1, 3) has mean 2, variance 1; (100, 300) mean 200, variance 10^4.
  const std::vector<double> got = list(tape.value(group_norm(tape, x, gamma, beta, 2)));
  const double r = 1 / std::sqrt(1 + 1e-5), s = 100 / std::sqrt(1e4 + 1e-5);
  EXPECT_NEAR(got[0], -r, 1e-14);
  EXPECT_NEAR(got[2], r, 1e-14);
  EXPECT_NEAR(got[1], 5 - 10 * s, 1e-13);
  EXPECT_NEAR(got[3], 5 + 10 * s, 1e-13);
}

// group_norm_relu is relu(group_norm): the same bits forward, the same gradients; also of a channel that is
// zero everywhere (a ReLU's slope there is 0), and of numbers that are none. By vectors and by plain loops.
TEST(GroupNorm, WithAReluBehindIsBothInTurn) {
  for (const int64_t channels : {6, 16, 64}) {
    SCOPED_TRACE(channels);
    WeightTape weights;
    const auto leaf = [&](uint64_t seed) {
      const Tensor values = random_tensor({channels}, DType::f32, seed);
      values.data<float>()[1] = 0;
      return weights.leaf(values, weights.columns());
    };
    const WeightVar gamma = leaf(1), beta = leaf(2);
    const Tensor image = random_tensor({1, 2, 5, 3, channels}, DType::f32, 3);
    const auto run = [&](const auto& op, const Tensor& x, Tensor& y, Tensor& dx) {
      Workspace workspace;
      Tensor slab = Tensor::zeros({1, weights.columns()}, DType::f32);
      WeightSlots slots(weights, slab, workspace);
      Tape tape(weights, &slots, workspace);
      const Var in = tape.input(x, true), out = op(tape, in);
      y = tape.value(out);
      const Tensor targets = random_tensor({1, 2, channels}, DType::f32, 4),
                   shares = Tensor::of<float>({1, 2}, std::vector<float>{0.25f, 0.75f});
      tape.backward(soft_cross_entropy(tape, mean_pool(tape, out), targets, shares));
      slots.finish();
      dx = tape.gradient(in);
      return slab;
    };
    const auto fused = [&](Tape& tape, Var x) { return group_norm_relu(tape, x, gamma, beta, 2); };
    const auto in_turn = [&](Tape& tape, Var x) { return relu(tape, group_norm(tape, x, gamma, beta, 2)); };
    Tensor y, dx, wanted_y, wanted_dx;
    const Tensor slab = run(fused, image, y, dx), wanted_slab = run(in_turn, image, wanted_y, wanted_dx);
    EXPECT_TRUE(same_bits(y, wanted_y));
    EXPECT_LE(normalised_error(dx, wanted_dx), kFloatOpTolerance);
    EXPECT_LE(normalised_error(slab, wanted_slab), kFloatOpTolerance);
    for (int64_t at = 1; at < y.size(); at += channels) EXPECT_EQ(y.data<float>()[at], 0);
    image.data<float>()[7] = std::nanf("");
    run(fused, image, y, dx);
    run(in_turn, image, wanted_y, wanted_dx);
    EXPECT_TRUE(same_bits(y, wanted_y));
  }
}

TEST(GroupNorm, KeepsTheContrastOfABrightImageInFloat) {
  // Mean 1000, contrast 1: one pass (E x^2 - (E x)^2) in float would have lost it all.
  Bench bench;
  const auto ones = [&](float v) {
    return bench.weights.leaf(Tensor::of<float>({1}, std::vector<float>{v}), bench.weights.columns());
  };
  const WeightVar gamma = ones(1), beta = ones(0);
  std::vector<float> bright(64);
  for (size_t i = 0; i < bright.size(); ++i) bright[i] = i % 2 ? 1001.0f : 999.0f;
  Tape tape = bench.tape();
  const Var x = tape.input(Tensor::of<float>({1, 1, 8, 8, 1}, bright));
  const Tensor& y = tape.value(group_norm(tape, x, gamma, beta, 1));
  for (int64_t i = 0; i < 64; ++i) EXPECT_NEAR(y.data<float>()[i], i % 2 ? 1 : -1, 2e-4) << i;
}

TEST(Elementwise, ReluKeepsNanAndHasSlopeZeroAtZero) {
  WeightTape none;
  Workspace workspace;
  WeightSlots slots(none, Tensor::empty({3, 0}, DType::f64), workspace);
  Tape tape(none, &slots, workspace);
  const Var x = tape.input(Tensor::of<double>({3}, std::vector<double>{-1, 0, kNan}), true);
  const Var y = relu(tape, x);
  EXPECT_EQ(tape.value(y).data<double>()[0], 0);
  EXPECT_TRUE(std::isnan(tape.value(y).data<double>()[2]));
  tape.backward(y);
  EXPECT_EQ(tape.gradient(x).data<double>()[0], 0);
  EXPECT_EQ(tape.gradient(x).data<double>()[1], 0);
}

TEST(Pooling, KnownWindows) {
  Bench bench;
  Tape tape = bench.tape();
  const Var x = tape.input(counted({1, 1, 3, 4, 1}));  // rows 1..4, 5..8, 9..12
  EXPECT_EQ(list(tape.value(mean_pool(tape, x))), std::vector<double>{6.5});
  EXPECT_EQ(list(tape.value(average_pool(tape, x, 2, 2))), (std::vector<double>{3.5, 5.5}));
  EXPECT_EQ(list(tape.value(max_pool(tape, x, 2, 1))), (std::vector<double>{6, 7, 8, 10, 11, 12}));
}

TEST(Pooling, MaxGivesTiesToTheFirstAndKeepsNan) {
  WeightTape none;
  Workspace workspace;
  WeightSlots slots(none, Tensor::empty({1, 0}, DType::f64), workspace);
  Tape tape(none, &slots, workspace);
  const Var x = tape.input(Tensor::of<double>({1, 1, 2, 2, 1}, std::vector<double>{1, 7, 7, 0}), true);
  const Var y = max_pool(tape, x, 2, 2);
  const Var loss =
      soft_cross_entropy(tape, mean_pool(tape, y), Tensor::of<double>({1, 1, 1}, std::vector{0.0}),
                         Tensor::of<double>({1, 1}, std::vector{1.0}));
  tape.backward(loss);  // p - target = 1
  EXPECT_EQ(list(tape.gradient(x)), (std::vector<double>{0, 1, 0, 0}));
  Tape other(none, nullptr, workspace);
  for (size_t place = 0; place < 4; ++place) {
    std::vector<double> pixels = {1, 2, 3, 4};
    pixels[place] = kNan;
    const Var z = max_pool(other, other.input(Tensor::of<double>({1, 1, 2, 2, 1}, pixels)), 2, 2);
    EXPECT_TRUE(std::isnan(other.value(z).data<double>()[0])) << place;
  }
}

TEST(SoftCrossEntropy, IsStableForLargeLogitsAndWeighsViews) {
  Bench bench;
  Tape tape = bench.tape();
  const Var z = tape.input(Tensor::of<double>({1, 2, 2}, std::vector<double>{1000, 0, -2000, -2000}));
  const Tensor targets = Tensor::of<double>({1, 2, 2}, std::vector<double>{0, 1, 0.5, 0.5});
  const Tensor weights = Tensor::of<double>({1, 2}, std::vector<double>{0.25, 0.75});
  const double loss = tape.value(soft_cross_entropy(tape, z, targets, weights)).data<double>()[0];
  EXPECT_NEAR(loss, 0.25 * 1000 + 0.75 * std::log(2.0), 1e-12);
}

TEST(Shapes, ErrorsSayWhatWasGotAndWhatWasWanted) {
  Bench bench;
  const WeightVar w = bench.leaf({3, 3, 2, 4}), bias = bench.leaf({4}), short_bias = bench.leaf({3});
  const WeightVar matrix = bench.leaf({6, 4});
  const ConvKernel kernel = conv_kernel(bench.weights, w, {5, 6, 2, 4, 3, 1, 1}, false);
  Tape tape = bench.tape();
  const Var image = tape.input(zeros({2, 3, 5, 6, 2}));
  const Var narrow = tape.input(zeros({2, 3, 5, 4, 2}));
  const Var flat = tape.input(zeros({2, 3, 6}));
  const Var logits = tape.input(zeros({2, 3, 4}));

  EXPECT_EQ(message_of([&] { conv2d(tape, narrow, kernel, bias); }),
            "conv2d: x has shape [2,3,5,4,2], wanted [N,V,5,6,2]");
  EXPECT_EQ(message_of([&] { conv2d(tape, image, kernel, short_bias); }), "conv2d: bias [3], wanted [4]");
  EXPECT_EQ(message_of([&] {
              conv_kernel(bench.weights, w, {5, 6, 3, 4, 3, 1, 1}, false);
            }),
            "conv2d: weights [3,3,2,4], wanted 108 numbers");
  EXPECT_EQ(message_of([&] {
              conv_kernel(bench.weights, w, {2, 6, 2, 4, 3, 1, 0}, false);
            }),
            "conv2d: kernel 3 is larger than the padded image 2x6");
  EXPECT_NE(message_of([&] {
              conv_kernel(bench.weights, w, {5, 6, 2, 4, 3, 0, 1}, false);
            }).find("stride 0"),
            std::string::npos);
  EXPECT_EQ(message_of([&] { linear(tape, image, matrix, bias); }),
            "linear: x [2,3,5,6,2] and bias [4] for w [6,4]");
  EXPECT_EQ(message_of([&] { linear(tape, flat, matrix, short_bias); }),
            "linear: x [2,3,6] and bias [3] for w [6,4]");
  EXPECT_EQ(message_of([&] { linear(tape, flat, w, bias); }),
            "linear: x [2,3,6], w [3,3,2,4], wanted [N,V,...] and [C,L]");
  EXPECT_EQ(message_of([&] { weight_standardize(bench.weights, w, short_bias); }),
            "weight_standardize: gain [3], wanted [4]");
  const WeightVar two = bench.leaf({2});
  EXPECT_EQ(message_of([&] { group_norm(tape, flat, two, two, 1); }),
            "group_norm: x [2,3,6], wanted [N,V,H,W,C]");
  EXPECT_EQ(message_of([&] { group_norm(tape, image, two, two, 3); }),
            "group_norm: groups: 3 do not divide 2 channels");
  EXPECT_EQ(message_of([&] { group_norm(tape, image, bias, two, 2); }), "group_norm: gamma [4], wanted [2]");
  EXPECT_EQ(message_of([&] { add(tape, image, flat); }), "add: [2,3,5,6,2] and [2,3,6]");
  EXPECT_EQ(message_of([&] { mean_pool(tape, flat); }), "mean_pool: x [2,3,6], wanted [N,V,H,W,C]");
  EXPECT_EQ(message_of([&] { max_pool(tape, flat, 2, 2); }), "max_pool: x [2,3,6], wanted [N,V,H,W,C]");
  EXPECT_EQ(message_of([&] { average_pool(tape, image, 6, 1); }),
            "average_pool: window 6, stride 1 on an image 5x6");
  EXPECT_EQ(message_of([&] {
              soft_cross_entropy(tape, logits, zeros({2, 3, 5}), zeros({2, 3}));
            }),
            "soft_cross_entropy: logits [2,3,4], targets [2,3,5], wanted both [N,V,L]");
  EXPECT_EQ(message_of([&] {
              soft_cross_entropy(tape, logits, zeros({2, 3, 4}), zeros({3, 2}));
            }),
            "soft_cross_entropy: weights [3,2] for logits [2,3,4]");
}

TEST(Types, FloatAndDoubleDoNotMix) {
  Bench bench;
  const WeightVar w = bench.leaf({2, 2}), bias = bench.leaf({2});
  Tape tape = bench.tape();
  const Var x = tape.input(Tensor::zeros({1, 1, 2}, DType::f32));
  EXPECT_THROW(linear(tape, x, w, bias), Error);
}

}  // namespace
}  // namespace pergrad::test
