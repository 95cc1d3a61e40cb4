// linear: y = x w + b; the views of one example are the rows of one small gemm.
#include "autograd/head_kernels.h"
#include "autograd/isa_kernels.h"
#include "autograd/ops.h"
#include "core/gemm.h"

namespace pergrad {
namespace {

// dw [features, labels] = or += the sum over views of x[v]^T g[v].
template <class T>
void add_weight_gradient(const T* x, const T* g, int64_t views, int64_t features, int64_t labels,
                         bool accumulate, T* dw) {
  if constexpr (std::is_same_v<T, float>)
    if (!accumulate && labels <= kIsaLabels && views <= kIsaViews)
      return isa_kernels().outer_products(x, g, views, features, labels, dw);
  gemm<T>(Transpose::yes, Transpose::no, features, labels, views, T{1}, x, g, accumulate ? T{1} : T{0}, dw);
}

// dx [views, features] = g w^T.
template <class T>
void input_gradient(const T* g, const Tensor& w, const Tensor& transposed, int64_t views, T* dx) {
  const int64_t features = w.dim(0), labels = w.dim(1);
  if constexpr (std::is_same_v<T, float>)
    if (transposed.defined())
      return isa_kernels().classify_backward(g, transposed.data<float>(), views, features, labels, dx);
  gemm<T>(Transpose::no, Transpose::yes, views, features, labels, T{1}, g, w.data<T>(), T{0}, dx);
}

struct Linear : Node {
  Var x;
  LinearKernel kernel;
  WeightVar bias;
  Tensor input;

  const char* name() const override { return "linear"; }
  size_t saved_bytes() const override { return static_cast<size_t>(input.size()) * size_of(input.dtype()); }

  void backward(Tape& tape, const Tensor& dy) override {
    const int64_t views = dy.dim(1), labels = dy.dim(2);
    const int64_t features = input.size() / (dy.dim(0) * views);
    dispatch(dy.dtype(), [&]<class T>() {
      for (int64_t n = 0; n < dy.dim(0); ++n) {
        const T* g = dy.data<T>() + n * views * labels;
        bool accumulate = false;
        T* dw = tape.weight_gradient<T>(kernel.w, n, accumulate);
        add_weight_gradient(input.data<T>() + n * views * features, g, views, features, labels, accumulate,
                            dw);
        T* db = tape.weight_gradient<T>(bias, n);
        for (int64_t v = 0; v < views; ++v)
          for (int64_t l = 0; l < labels; ++l) db[l] += g[v * labels + l];
      }
      if (!tape.needs_gradient(x)) return;
      Tensor dx = tape.empty(input.shape());
      for (int64_t n = 0; n < dy.dim(0); ++n)
        input_gradient(dy.data<T>() + n * views * labels, tape.value(kernel.w), kernel.transposed, views,
                       dx.data<T>() + n * views * features);
      tape.accumulate(x, std::move(dx));
    });
  }
};

// On a GPU x may be bf16; y is float.
struct GpuLinear : Node {
  Var x;
  WeightVar w, bias;
  Tensor input;

  const char* name() const override { return "linear"; }
  size_t saved_bytes() const override { return input.byte_size(); }
  void backward(Tape& tape, const Tensor& dy) override {
    const int64_t examples = dy.dim(0), views = dy.dim(1), labels = dy.dim(2);
    const int64_t features = input.size() / (examples * views);
    const GradientRows dw = tape.weight_rows(w), db = tape.weight_rows(bias);
    dispatch_gpu(input.dtype(), [&]<class A>() {
      tape.for_each(examples * (features + 1) * labels,
                    kernels::LinearWeightGradient<A>{input.device_data<A>(), dy.device_data<float>(), views,
                                                     features, labels, dw.first, db.first, dw.stride,
                                                     db.stride, dw.accumulate, db.accumulate});
      if (!tape.needs_gradient(x)) return;
      Tensor dx = tape.empty(input.shape(), input.dtype());
      tape.for_each(dx.size(), kernels::LinearInputGradient<A>{dy.device_data<float>(),
                                                               tape.value(w).device_data<float>(),
                                                               dx.device_data<A>(), features, labels});
      tape.accumulate(x, std::move(dx));
    });
  }
};

Var linear_on_gpu(Tape& tape, Var x, WeightVar w, WeightVar bias) {
  const Tensor& input = tape.value(x);
  const int64_t features = tape.value(w).dim(0), labels = tape.value(w).dim(1);
  Tensor y = tape.empty({input.dim(0), input.dim(1), labels}, DType::f32);
  dispatch_gpu(input.dtype(), [&]<class A>() {
    tape.for_each(y.size(),
                  kernels::LinearForward<A>{input.device_data<A>(), tape.value(w).device_data<float>(),
                                            tape.value(bias).device_data<float>(), y.device_data<float>(),
                                            features, labels});
  });
  auto node = std::make_unique<GpuLinear>();
  node->x = x;
  node->w = w;
  node->bias = bias;
  node->input = input;
  return tape.record(std::move(y), std::move(node));
}

}  // namespace

LinearKernel linear_kernel(WeightTape& tape, WeightVar w) {
  LinearKernel kernel(w);
  const Tensor values = tape.value(w);
  const int64_t features = values.dim(0), labels = values.dim(1);
  if (!tape.device().is_cpu() || values.dtype() != DType::f32 || labels > kIsaLabels) return kernel;
  const Tensor transposed = Tensor::empty({labels, features}, DType::f32);
  tape.keep_fresh(w, [=] {
    for (int64_t l = 0; l < labels; ++l)
      for (int64_t f = 0; f < features; ++f)
        transposed.data<float>()[l * features + f] = values.data<float>()[f * labels + l];
  });
  kernel.transposed = transposed;
  return kernel;
}

Var linear(Tape& tape, Var x, const LinearKernel& kernel, WeightVar bias) {
  const Tensor& input = tape.value(x);
  const Tensor& weights = tape.value(kernel.w);
  PG_CHECK(input.rank() >= 3 && weights.rank() == 2, "linear: x ", to_string(input.shape()), ", w ",
           to_string(weights.shape()), ", wanted [N,V,...] and [C,L]");
  const int64_t examples = input.dim(0), views = input.dim(1);
  const int64_t features = weights.dim(0), labels = weights.dim(1);
  PG_CHECK(input.size() == examples * views * features && tape.value(bias).size() == labels, "linear: x ",
           to_string(input.shape()), " and bias ", to_string(tape.value(bias).shape()), " for w ",
           to_string(weights.shape()));
  if (tape.on_gpu()) return linear_on_gpu(tape, x, kernel.w, bias);
  Tensor y = tape.empty({examples, views, labels});
  dispatch(input.dtype(), [&]<class T>() {
    const T* b = tape.value(bias).data<T>();
    for (int64_t n = 0; n < examples; ++n) {  // one gemm an example: its bits do not depend on the others
      T* out = y.data<T>() + n * views * labels;
      if constexpr (std::is_same_v<T, float>)
        if (kernel.transposed.defined()) {
          isa_kernels().classify(input.data<T>() + n * views * features, kernel.transposed.data<T>(), b,
                                 views, features, labels, out);
          continue;
        }
      for (int64_t v = 0; v < views; ++v) std::copy(b, b + labels, out + v * labels);
      gemm<T>(Transpose::no, Transpose::no, views, labels, features, T{1},
              input.data<T>() + n * views * features, weights.data<T>(), T{1}, out);
    }
  });
  auto node = std::make_unique<Linear>();
  node->x = x;
  node->kernel = kernel;
  node->bias = bias;
  node->input = input;
  return tape.record(std::move(y), std::move(node));
}

}  // namespace pergrad
