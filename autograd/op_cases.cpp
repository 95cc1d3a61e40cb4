// The table of op cases, and their numbers.
#include "autograd/op_cases.h"

#include "core/philox.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace pergrad {
namespace {

using Weights = std::vector<WeightVar>;
using Inputs = std::vector<Var>;

// ---------------------------------------------------------------- the table
// Shapes: N * V is 9 in the test of guard words (N = 9 / V), and no size with a factor 9 fills a workspace
// buffer to its end, so that every output has words behind it.

OpCase conv(ConvShape s, int64_t views, bool standardize = false) {
  OpCase c;
  c.op = standardize ? "weight_standardize" : "conv2d";
  c.name = concat(s.height, 'x', s.width, " C", s.channels, " O", s.outputs, " k", s.kernel, " s", s.stride,
                  " p", s.pad);
  c.uses = {"conv_kernel", "conv2d"};
  c.inputs = {{{views, s.height, s.width, s.channels}}};
  c.weights = {{{s.kernel, s.kernel, s.channels, s.outputs}, Fill::small}, {{s.outputs}}};
  c.multilinear = !standardize;
  if (!standardize) c.conv = s;
  if (standardize) {
    c.uses.push_back("weight_standardize");
    c.weights[0].fill = Fill::one_flat;
    c.weights.push_back({{s.outputs}});
  }
  c.prepare = [=](WeightTape& tape, const Weights& w) -> Record {
    const WeightVar kernel_weights = standardize ? weight_standardize(tape, w[0], w[2]) : w[0];
    const ConvKernel kernel = conv_kernel(tape, kernel_weights, s, true);
    return [=, bias = w[1]](Tape& t, const Inputs& x) { return conv2d(t, x[0], kernel, bias); };
  };
  return c;
}

void add_convolutions(std::vector<OpCase>& all) {
  // Every kernel, stride, padding and channel count, on images as small as the kernel allows.
  for (int64_t kernel : {1, 3, 5, 8})
    for (int64_t stride : {1, 2})
      for (int64_t pad : {0, 1, 2, 3})
        for (int64_t channels : {1, 3, 16}) {
          const int64_t side = std::max<int64_t>(3, kernel + 1 - 2 * pad);
          all.push_back(conv({side + 1, side, channels, 2, kernel, stride, pad}, channels == 16 ? 1 : 3));
        }
  // Channel counts at which the direct kernels run: forward if O, backward if C is a multiple of 16. Tiles
  // of one and of two vectors, pixel counts that do not fill a tile, strides that skip pixels.
  all.push_back(conv({5, 4, 3, 16, 3, 1, 1}, 3));
  all.push_back(conv({5, 4, 3, 32, 3, 1, 1}, 3));
  all.push_back(conv({4, 7, 1, 48, 3, 2, 1}, 3));
  all.push_back(conv({4, 5, 16, 16, 1, 1, 0}, 3));
  all.push_back(conv({4, 5, 16, 16, 1, 2, 0}, 3));
  all.push_back(conv({3, 4, 16, 16, 3, 1, 1}, 1));
  all.push_back(conv({5, 4, 16, 16, 3, 2, 1}, 1));
  all.push_back(conv({3, 3, 48, 16, 1, 1, 0}, 3));
  all.push_back(conv({3, 3, 16, 80, 1, 1, 0}, 1));
  all.push_back(conv({3, 4, 32, 5, 3, 1, 1}, 1));
  all.push_back(conv({5, 3, 32, 3, 3, 2, 1}, 1));
  all.push_back(conv({8, 7, 1, 16, 8, 2, 3}, 3));
  all.push_back(conv({6, 5, 3, 16, 5, 2, 2}, 1));
  all.push_back(conv({9, 10, 1, 16, 3, 1, 0}, 1));
  // One kernel for two layers: its slot adds both.
  OpCase tied = conv({4, 3, 2, 2, 3, 1, 1}, 3);
  tied.name = "one kernel twice";
  tied.multilinear = false;
  tied.prepare = [](WeightTape& tape, const Weights& w) -> Record {
    const ConvKernel kernel = conv_kernel(tape, w[0], {4, 3, 2, 2, 3, 1, 1}, true);
    return [=, bias = w[1]](Tape& t, const Inputs& x) {
      return conv2d(t, conv2d(t, x[0], kernel, bias), kernel, bias);
    };
  };
  all.push_back(tied);
}

void add_weight_standardize(std::vector<OpCase>& all) {
  all.push_back(conv({4, 3, 2, 3, 3, 1, 1}, 3, true));
  all.push_back(conv({3, 4, 3, 16, 3, 2, 1}, 3, true));
  all.push_back(conv({3, 3, 5, 4, 1, 1, 0}, 3, true));
  OpCase c;
  c.op = "weight_standardize";
  c.name = "of a linear layer, twice used";
  c.uses = {"weight_standardize", "linear"};
  c.inputs = {{{3, 4}}};
  c.weights = {{{4, 4}, Fill::one_flat}, {{4}}, {{4}}};
  c.prepare = [](WeightTape& tape, const Weights& w) -> Record {
    const WeightVar standardized = weight_standardize(tape, w[0], w[1]);
    return [=, bias = w[2]](Tape& t, const Inputs& x) {
      return linear(t, linear(t, x[0], standardized, bias), standardized, bias);
    };
  };
  all.push_back(c);
  c.name = "of a standardized weight";
  // Where its gain is large the second undoes the first, and no derivative is left; channel 0 is below its
  // floor.
  c.weights[0].fill = Fill::small;
  c.weights[1].fill = Fill::one_flat;
  c.weights.push_back({{4}});
  c.prepare = [](WeightTape& tape, const Weights& w) -> Record {
    const WeightVar twice = weight_standardize(tape, weight_standardize(tape, w[0], w[1]), w[3]);
    return [=, bias = w[2]](Tape& t, const Inputs& x) { return linear(t, x[0], twice, bias); };
  };
  all.push_back(c);
}

OpCase linear_case(std::string name, Shape input, int64_t features, int64_t outputs) {
  OpCase c;
  c.op = "linear";
  c.name = std::move(name);
  c.uses = {"linear"};
  c.inputs = {{std::move(input)}};
  c.weights = {{{features, outputs}}, {{outputs}}};
  c.multilinear = true;
  c.prepare = [](WeightTape& tape, const Weights& w) -> Record {
    return [kernel = linear_kernel(tape, w[0]), bias = w[1]](Tape& t, const Inputs& x) {
      return linear(t, x[0], kernel, bias);
    };
  };
  return c;
}

OpCase group_norm_case(int64_t height, int64_t width, int64_t channels, int64_t groups, int64_t views,
                       GroupNormOp* op = group_norm) {
  OpCase c;
  c.op = op == relu_group_norm ? "relu_group_norm" : op == group_norm_relu ? "group_norm_relu" : "group_norm";
  c.name = concat(height, 'x', width, " C", channels, " groups ", groups);
  c.uses = {c.op};
  c.inputs = {{{views, height, width, channels}}};
  c.weights = {{{channels}}, {{channels}}};
  c.prepare = [=](WeightTape&, const Weights& w) -> Record {
    return [=](Tape& t, const Inputs& x) { return op(t, x[0], w[0], w[1], groups); };
  };
  return c;
}

// An op of inputs alone.
OpCase plain(std::string op, std::string name, std::vector<Operand> inputs, bool multilinear,
             const Record& record) {
  OpCase c;
  c.op = op;
  c.name = std::move(name);
  c.uses = {std::move(op)};
  c.inputs = std::move(inputs);
  c.prepare = [record](WeightTape&, const Weights&) { return record; };
  c.multilinear = multilinear;
  return c;
}

std::vector<OpCase> make_cases() {
  std::vector<OpCase> all;
  add_convolutions(all);
  add_weight_standardize(all);

  all.push_back(linear_case("5 to 4", {3, 5}, 5, 4));
  all.push_back(linear_case("an image to 1", {3, 2, 3, 4}, 24, 1));
  all.push_back(linear_case("1 to 7", {1, 1}, 1, 7));
  all.push_back(linear_case("64 to 10", {3, 64}, 64, 10));

  all.push_back(group_norm_case(3, 5, 4, 1, 3));
  all.push_back(group_norm_case(4, 3, 4, 2, 3));
  all.push_back(group_norm_case(3, 4, 6, 6, 3));
  all.push_back(group_norm_case(2, 3, 16, 4, 1));
  all.push_back(group_norm_case(1, 1, 8, 2, 3));

  for (const auto& [height, width, channels, groups] :
       {std::array<int64_t, 4>{3, 5, 4, 1}, {4, 3, 16, 4}, {3, 4, 6, 6}, {2, 3, 80, 5}}) {
    all.push_back(group_norm_case(height, width, channels, groups, 3, relu_group_norm));
    all.back().inputs[0].fill = Fill::away_from_zero;
  }
  // Few numbers, and none of them within a difference step of the kink.
  for (const auto& [height, width, channels, groups] :
       {std::array<int64_t, 4>{3, 5, 4, 1}, {4, 3, 16, 4}, {2, 3, 6, 6}, {1, 2, 48, 3}})
    all.push_back(group_norm_case(height, width, channels, groups, 3, group_norm_relu));
  // The two branches of a residual block: x has a gradient from the other one already.
  OpCase residual = group_norm_case(3, 4, 16, 4, 3, relu_group_norm);
  residual.name = "beside an identity";
  residual.uses.push_back("add");
  residual.inputs[0].fill = Fill::away_from_zero;
  residual.prepare = [](WeightTape&, const Weights& w) -> Record {
    return [=](Tape& t, const Inputs& x) { return add(t, relu_group_norm(t, x[0], w[0], w[1], 4), x[0]); };
  };
  all.push_back(residual);

  const Operand image{{3, 3, 2, 5}, Fill::away_from_zero};
  all.push_back(
      plain("relu", "image", {image}, false, [](Tape& t, const Inputs& x) { return relu(t, x[0]); }));
  all.push_back(plain("tanh", "image", {{{3, 3, 2, 5}}}, false,
                      [](Tape& t, const Inputs& x) { return tanh(t, x[0]); }));
  all.push_back(plain("add", "two", {{{3, 4, 3, 2}}, {{3, 4, 3, 2}}}, true,
                      [](Tape& t, const Inputs& x) { return add(t, x[0], x[1]); }));
  all.push_back(plain("add", "one to itself", {{{3, 4, 3, 2}}}, true,
                      [](Tape& t, const Inputs& x) { return add(t, x[0], x[0]); }));
  all.push_back(plain("add", "fan-out of three", {image}, false, [](Tape& t, const Inputs& x) {
    return add(t, add(t, relu(t, x[0]), tanh(t, x[0])), x[0]);
  }));

  all.push_back(plain("mean_pool", "5x3", {{{3, 5, 3, 4}}}, true,
                      [](Tape& t, const Inputs& x) { return mean_pool(t, x[0]); }));
  struct Pool {
    int64_t height, width, size, stride;
  };
  for (const Pool p :
       {Pool{4, 6, 2, 2}, Pool{5, 4, 2, 1}, Pool{5, 7, 3, 2}, Pool{7, 5, 2, 3}, Pool{3, 3, 3, 1}}) {
    const std::string name = concat(p.height, 'x', p.width, " by ", p.size, " stride ", p.stride);
    all.push_back(plain("average_pool", name, {{{3, p.height, p.width, 2}}}, true,
                        [=](Tape& t, const Inputs& x) { return average_pool(t, x[0], p.size, p.stride); }));
    all.push_back(plain("max_pool", name, {{{3, p.height, p.width, 2}, Fill::distinct}}, false,
                        [=](Tape& t, const Inputs& x) { return max_pool(t, x[0], p.size, p.stride); }));
  }

  for (int64_t views : {1, 3})
    for (int64_t labels : {2, 10})
      all.push_back(plain("soft_cross_entropy", concat("V", views, " L", labels),
                          {{{views, labels}},
                           {{views, labels}, Fill::soft_labels, false},
                           {{views}, Fill::view_weights, false}},
                          false, [](Tape& t, const Inputs& x) {
                            return soft_cross_entropy(t, x[0], t.value(x[1]), t.value(x[2]));
                          }));
  return all;
}

std::vector<OpCase> make_cases_at_size() {
  std::vector<OpCase> all;
  for (const ConvShape& s : std::initializer_list<ConvShape>{{32, 32, 3, 16, 3, 1, 1},
                                                             {32, 32, 16, 64, 3, 1, 1},
                                                             {32, 32, 16, 64, 1, 1, 0},
                                                             {32, 32, 64, 64, 3, 1, 1},
                                                             {32, 32, 64, 128, 3, 2, 1},
                                                             {32, 32, 64, 128, 1, 2, 0},
                                                             {16, 16, 128, 128, 3, 1, 1},
                                                             {16, 16, 128, 256, 3, 2, 1},
                                                             {16, 16, 128, 256, 1, 2, 0},
                                                             {8, 8, 256, 256, 3, 1, 1},
                                                             {28, 28, 1, 16, 5, 2, 2},
                                                             {14, 14, 16, 32, 3, 2, 1}})
    all.push_back(conv(s, 1));
  all.push_back(conv({8, 8, 256, 256, 3, 1, 1}, 1, true));
  for (const auto& [side, channels] : {std::array<int64_t, 2>{32, 16}, {32, 64}, {16, 128}, {8, 256}})
    all.push_back(group_norm_case(side, side, channels, 16, 1, relu_group_norm));
  for (const auto& [side, channels] : {std::array<int64_t, 2>{14, 16}, {7, 32}})
    all.push_back(group_norm_case(side, side, channels, 4, 1, group_norm_relu));
  const Shape image = {1, 32, 32, 64};
  all.push_back(
      plain("relu", "32x32 C64", {{image}}, false, [](Tape& t, const Inputs& x) { return relu(t, x[0]); }));
  all.push_back(plain("add", "32x32 C64", {{image}, {image}}, true,
                      [](Tape& t, const Inputs& x) { return add(t, x[0], x[1]); }));
  all.push_back(plain("mean_pool", "8x8 C256", {{{1, 8, 8, 256}}}, true,
                      [](Tape& t, const Inputs& x) { return mean_pool(t, x[0]); }));
  all.push_back(linear_case("256 to 10", {1, 256}, 256, 10));
  all.push_back(linear_case("1568 to 10", {1, 1568}, 1568, 10));
  return all;
}

// ---------------------------------------------------------------- numbers

void fill(Tensor& t, Fill how, PhiloxStream random) {
  const int64_t last = t.dim(t.rank() - 1);
  std::vector<double> v(static_cast<size_t>(t.size()));
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  switch (how) {
    case Fill::normal:
      for (double& x : v) x = random.normal();
      break;
    case Fill::small:
      for (double& x : v) x = 0.5 * random.normal();
      break;
    case Fill::one_flat:
      for (int64_t i = 0; i < t.size(); ++i) v[at(i)] = (i % last == 0 ? 0.0005 : 0.5) * random.normal();
      break;
    case Fill::away_from_zero:
      for (double& x : v) x = (0.1 + random.uniform()) * (random.below(2) ? 1 : -1);
      break;
    case Fill::distinct:
      std::iota(v.begin(), v.end(), -std::floor(0.5 * static_cast<double>(t.size())));
      for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[random.below(static_cast<uint32_t>(i))]);
      for (double& x : v) x *= 0.02;
      break;
    case Fill::soft_labels:
      for (int64_t i = 0; i < t.size(); i += last)
        for (int unit = 0; unit < 64; ++unit)
          v[at(i + random.below(static_cast<uint32_t>(last)))] += 1.0 / 64;
      break;
    case Fill::view_weights:  // 1 | 0, 1 | 0, 1/4, 3/4 | ..., turned by one place from row to row
      for (int64_t i = 0; i < t.size(); i += last) {
        const auto place = [&](int64_t view) -> double& { return v[at(i + (view + i / last) % last)]; };
        double rest = 1;
        for (int64_t view = 1; view + 1 < last; ++view) rest -= place(view) = rest / 4;
        place(last - 1) = rest;
      }
      break;
  }
  dispatch(t.dtype(), [&]<class T>() {
    std::transform(v.begin(), v.end(), t.data<T>(),
                   [](double x) { return static_cast<T>(static_cast<float>(x)); });
  });
}

PhiloxStream stream_of(const OpCase& c, int64_t operand) {
  return PhiloxStream::of(key_from_text(c.op + c.name), operand, 0);
}

}  // namespace

Recording::Recording(const OpCase& c, const CaseData& data, const WeightTape& where)
    : weights(where.device(), where.conv_settings()) {
  std::vector<WeightVar> leaves;
  for (const Tensor& w : data.weights) leaves.push_back(weights.leaf(w, weights.columns()));
  record = c.prepare(weights, leaves);
}

std::vector<Var> Recording::inputs(Tape& tape, const OpCase& c, const CaseData& data) const {
  std::vector<Var> vars;
  for (size_t i = 0; i < data.inputs.size(); ++i)
    vars.push_back(tape.input(data.inputs[i], c.inputs[i].differentiable));
  return vars;
}

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> kCases = make_cases();
  return kCases;
}
const std::vector<OpCase>& op_cases_at_size() {
  static const std::vector<OpCase> kCases = make_cases_at_size();
  return kCases;
}

CaseData make_data(const OpCase& c, int64_t rows, DType type) {
  CaseData data;
  int64_t operand = 0;
  for (const Operand& x : c.inputs) {
    Shape shape = x.shape;
    shape.insert(shape.begin(), rows);
    data.inputs.push_back(Tensor::empty(shape, type));
    fill(data.inputs.back(), x.fill, stream_of(c, ++operand));
  }
  for (const Operand& w : c.weights) {
    data.weights.push_back(Tensor::empty(w.shape, type));
    fill(data.weights.back(), w.fill, stream_of(c, ++operand));
  }
  const Recording recording(c, data);
  Workspace workspace;
  Tape tape(recording.weights, nullptr, workspace);
  const Var y = recording.record(tape, recording.inputs(tape, c, data));
  data.coefficients = Tensor::empty(tape.value(y).shape(), type);
  fill(data.coefficients, Fill::normal, stream_of(c, ++operand));
  return data;
}

namespace {

struct Seed : Node {
  Var y;
  Tensor c;
  const char* name() const override { return "seed"; }
  void backward(Tape& tape, const Tensor&) override { tape.accumulate(y, c); }
};

}  // namespace

Var seed(Tape& tape, Var y, const Tensor& c) {
  auto node = std::make_unique<Seed>();
  node->y = y;
  node->c = c;
  const DType type = tape.on_gpu() ? DType::f32 : c.dtype();
  return tape.record(Tensor::zeros({c.dim(0)}, type, tape.workspace()), std::move(node));
}

}  // namespace pergrad
