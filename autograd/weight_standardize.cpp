// Weight standardization: once per step forward, once per example backward.
#include "autograd/ops.h"

#include <cmath>

namespace pergrad {
namespace {

constexpr double kFloor = 1e-4;  // of var * fan_in; De et al. 2022

// Per output channel o, with s = 1 / sqrt(max(var F, floor)) and u = (w - mean) s:  w' = gain u, and
//   dgain = sum dw' u,   dw = gain s (dw' - mean(dw') - u <u, dw'> [if the floor was not hit]),
// because sum u^2 = 1 exactly there (var F s^2 = 1).
struct Standardize : WeightNode {
  WeightVar w, gain;
  Tensor unit;                // u, like w
  std::vector<double> scale;  // gain-free factor s [O]
  std::vector<double> gains;  // [O]
  std::vector<bool> floored;  // [O]

  template <class T>
  void row(WeightSlots& slots, WeightVar output, int64_t n) const {
    const auto outputs = static_cast<int64_t>(scale.size());
    const int64_t fan_in = unit.size() / outputs;
    const T* g = slots.row<T>(output, n);
    const T* u = unit.data<T>();
    T* dw = slots.row<T>(w, n);
    T* dgain = slots.row<T>(gain, n);
    std::vector<double> sum(scale.size(), 0.0), dot(scale.size(), 0.0);
    for (int64_t i = 0; i < fan_in; ++i)
      for (int64_t o = 0; o < outputs; ++o) {
        const double v = g[i * outputs + o];
        sum[static_cast<size_t>(o)] += v;
        dot[static_cast<size_t>(o)] += v * u[i * outputs + o];
      }
    std::vector<T> factor(scale.size()), mean(scale.size()), along(scale.size());
    for (size_t o = 0; o < scale.size(); ++o) {
      dgain[o] += static_cast<T>(dot[o]);
      factor[o] = static_cast<T>(gains[o] * scale[o]);
      mean[o] = static_cast<T>(sum[o] / static_cast<double>(fan_in));
      along[o] = floored[o] ? T{0} : static_cast<T>(dot[o]);
    }
    for (int64_t i = 0; i < fan_in; ++i)
      for (int64_t o = 0; o < outputs; ++o) {
        const int64_t at = i * outputs + o;
        dw[at] += factor[static_cast<size_t>(o)] *
                  (g[at] - mean[static_cast<size_t>(o)] - u[at] * along[static_cast<size_t>(o)]);
      }
  }

  void backward_row(WeightSlots& slots, WeightVar output, int64_t n) const override {
    dispatch(unit.dtype(), [&]<class T>() { row<T>(slots, output, n); });
  }
};

}  // namespace

WeightVar weight_standardize(WeightTape& tape, WeightVar w, WeightVar gain) {
  const Tensor& weights = tape.value(w);
  const int64_t outputs = weights.dim(weights.rank() - 1);
  const int64_t fan_in = weights.size() / outputs;
  PG_CHECK(tape.value(gain).size() == outputs, "weight_standardize: gain ",
           to_string(tape.value(gain).shape()), ", wanted [", outputs, "]");
  auto node = std::make_unique<Standardize>();
  node->w = w;
  node->gain = gain;
  node->unit = Tensor::empty(weights.shape(), weights.dtype());
  node->scale.resize(static_cast<size_t>(outputs));
  node->gains.resize(static_cast<size_t>(outputs));
  node->floored.resize(static_cast<size_t>(outputs));
  Tensor standardized = Tensor::empty(weights.shape(), weights.dtype());
  dispatch(weights.dtype(), [&]<class T>() {
    const T* value = weights.data<T>();
    const T* g = tape.value(gain).data<T>();
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < fan_in; ++i) sum += value[i * outputs + o];
      const double mean = sum / static_cast<double>(fan_in);
      for (int64_t i = 0; i < fan_in; ++i)
        squares += (value[i * outputs + o] - mean) * (value[i * outputs + o] - mean);
      const auto at = static_cast<size_t>(o);
      node->floored[at] = squares < kFloor;  // var * fan_in is the sum of squares
      node->scale[at] = 1.0 / std::sqrt(std::max(squares, kFloor));
      node->gains[at] = g[o];
      for (int64_t i = 0; i < fan_in; ++i) {
        const double u = (value[i * outputs + o] - mean) * node->scale[at];
        node->unit.data<T>()[i * outputs + o] = static_cast<T>(u);
        standardized.data<T>()[i * outputs + o] = static_cast<T>(u * g[o]);
      }
    }
  });
  return tape.derive(std::move(standardized), std::move(node));
}

}  // namespace pergrad
