// Weight standardization: once per step forward, once per example backward.
#include "autograd/isa_kernels.h"
#include "autograd/ops.h"
#include "autograd/weight_kernels.h"
#include "core/gpu/launch.h"

#include <cmath>

namespace pergrad {
namespace {

// Per output channel o, with s = 1 / sqrt(max(var F, floor)) and u = (w - mean) s:  w' = gain u, and
//   dgain = sum dw' u,   dw = gain s (dw' - mean(dw') - u <u, dw'> [if the floor was not hit]),
// because sum u^2 = 1 exactly there (var F s^2 = 1).
struct Standardize : WeightNode {
  WeightVar gain;
  Tensor values, gain_values;  // of w and gain
  Tensor unit;                 // u, like w
  std::vector<double> scale;   // gain-free factor s [O]
  std::vector<double> gains;   // [O]
  std::vector<bool> floored;   // [O]

  void forward(const Tensor& standardized) {
    dispatch(unit.dtype(), [&]<class T>() {
      const T *value = values.data<T>(), *g = gain_values.data<T>();
      T *u = unit.data<T>(), *out = standardized.data<T>();
      const auto outputs = static_cast<int64_t>(scale.size());
      const int64_t fan_in = unit.size() / outputs;
      std::vector<double> mean(scale.size(), 0.0), squares(scale.size(), 0.0);
      const auto each = [&](const auto& f) {  // f(position, channel), along memory
        for (int64_t i = 0; i < fan_in; ++i)
          for (int64_t o = 0; o < outputs; ++o) f(i * outputs + o, static_cast<size_t>(o));
      };
      each([&](int64_t at, size_t o) { mean[o] += value[at]; });
      for (double& m : mean) m /= static_cast<double>(fan_in);
      each([&](int64_t at, size_t o) { squares[o] += (value[at] - mean[o]) * (value[at] - mean[o]); });
      for (size_t o = 0; o < scale.size(); ++o) {
        floored[o] = squares[o] < kernels::kStandardizeFloor;  // var * fan_in is the sum of squares
        scale[o] = 1.0 / std::sqrt(std::max(squares[o], kernels::kStandardizeFloor));
        gains[o] = g[o];
      }
      each([&](int64_t at, size_t o) {
        const double v = (value[at] - mean[o]) * scale[o];
        u[at] = static_cast<T>(v);
        out[at] = static_cast<T>(v * g[o]);
      });
    });
  }

  // dw takes the place of dw'.
  template <class T>
  void row(WeightSlots& slots, WeightVar output, int64_t n) const {
    const auto outputs = static_cast<int64_t>(scale.size());
    const int64_t fan_in = unit.size() / outputs;
    T* g = slots.place<T>(output, n);
    const T* u = unit.data<T>();
    T* dgain = slots.row<T>(gain, n);
    std::vector<double> sum(scale.size(), 0.0), dot(scale.size(), 0.0);
    std::vector<T> factor(scale.size()), mean(scale.size()), along(scale.size());
    const auto settle = [&] {
      for (size_t o = 0; o < scale.size(); ++o) {
        dgain[o] += static_cast<T>(dot[o]);
        factor[o] = static_cast<T>(gains[o] * scale[o]);
        mean[o] = static_cast<T>(sum[o] / static_cast<double>(fan_in));
        along[o] = floored[o] ? T{0} : static_cast<T>(dot[o]);
      }
    };
    if constexpr (std::is_same_v<T, float>)
      if (outputs % kIsaChannels == 0) {
        isa_kernels().column_sums(g, u, fan_in, outputs, sum.data(), dot.data());
        settle();
        return isa_kernels().project(g, u, fan_in, outputs, factor.data(), mean.data(), along.data());
      }
    for (int64_t at = 0; at < fan_in * outputs; ++at) {
      const double v = g[at];
      sum[static_cast<size_t>(at % outputs)] += v;
      dot[static_cast<size_t>(at % outputs)] += v * u[at];
    }
    settle();
    for (int64_t at = 0; at < fan_in * outputs; ++at) {
      const auto o = static_cast<size_t>(at % outputs);
      g[at] = factor[o] * (g[at] - mean[o] - u[at] * along[o]);
    }
  }

  void backward_row(WeightSlots& slots, WeightVar output, int64_t n) const override {
    dispatch(unit.dtype(), [&]<class T>() { row<T>(slots, output, n); });
  }
  void backward_rows(WeightSlots&, WeightVar) const override {
    throw Error("weight_standardize: not on a GPU");
  }
};

// The same on a GPU.
struct GpuStandardize : WeightNode {
  WeightVar w, gain;
  Tensor unit, factor, slope;  // u like w; [O]; [O]

  void backward_row(WeightSlots&, WeightVar, int64_t) const override {
    throw Error("weight_standardize: rows one by one on a GPU");
  }
  void backward_rows(WeightSlots& slots, WeightVar output) const override {
    const int64_t outputs = factor.size();
    const GradientRows g = slots.gathered(output), dw = slots.rows_of(w), dgain = slots.rows_of(gain);
    const kernels::StandardizeBackward kernel{g.first,
                                              unit.device_data<float>(),
                                              factor.device_data<float>(),
                                              slope.device_data<float>(),
                                              dw.first,
                                              dgain.first,
                                              unit.size() / outputs,
                                              outputs,
                                              g.stride,
                                              dw.stride,
                                              dgain.stride,
                                              dw.accumulate,
                                              dgain.accumulate};
    launch_blocks(Gpu::of(unit.device()), slots.rows() * kernel.slabs(), kernel);
  }
};

WeightVar standardize_on_gpu(WeightTape& tape, WeightVar w, WeightVar gain) {
  const Tensor weights = tape.value(w), gains = tape.value(gain);
  const Device device = weights.device();
  auto node = std::make_unique<GpuStandardize>();
  node->w = w;
  node->gain = gain;
  node->unit = Tensor::empty(weights.shape(), DType::f32, device);
  node->factor = Tensor::empty({gains.size()}, DType::f32, device);
  node->slope = Tensor::empty({gains.size()}, DType::f32, device);
  Tensor standardized = Tensor::empty(weights.shape(), DType::f32, device);
  const kernels::StandardizeForward kernel{
      weights.device_data<float>(),      gains.device_data<float>(),
      node->unit.device_data<float>(),   standardized.device_data<float>(),
      node->factor.device_data<float>(), node->slope.device_data<float>(),
      weights.size() / gains.size(),     gains.size()};
  tape.keep_fresh(w, [kernel, device] { launch_blocks(Gpu::of(device), kernel.blocks(), kernel); });
  return tape.derive(std::move(standardized), w, std::move(node));
}

}  // namespace

WeightVar weight_standardize(WeightTape& tape, WeightVar w, WeightVar gain) {
  const Tensor& weights = tape.value(w);
  const int64_t outputs = weights.dim(weights.rank() - 1);
  PG_CHECK(tape.value(gain).size() == outputs, "weight_standardize: gain ",
           to_string(tape.value(gain).shape()), ", wanted [", outputs, "]");
  if (!tape.device().is_cpu()) return standardize_on_gpu(tape, w, gain);
  auto node = std::make_unique<Standardize>();
  node->gain = gain;
  node->values = weights;
  node->gain_values = tape.value(gain);
  node->unit = Tensor::empty(weights.shape(), weights.dtype());
  node->scale.resize(static_cast<size_t>(outputs));
  node->gains.resize(static_cast<size_t>(outputs));
  node->floored.resize(static_cast<size_t>(outputs));
  Tensor standardized = Tensor::empty(weights.shape(), weights.dtype());
  tape.keep_fresh(w, [node = node.get(), standardized] { node->forward(standardized); });
  return tape.derive(std::move(standardized), w, std::move(node));
}

}  // namespace pergrad
