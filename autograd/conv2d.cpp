// conv2d: forward, input gradient, and the weight gradient that adds the views of one example, never
// examples.
#include "autograd/isa_kernels.h"
#include "autograd/ops.h"

namespace pergrad {
namespace {

// db [outputs] += the sum of g [pixels, outputs].
void add_pixels(const float* g, int64_t pixels, int64_t outputs, float* db) {
  isa_kernels().add_columns(g, pixels, outputs, db);
}
void add_pixels(const double* g, int64_t pixels, int64_t outputs, double* db) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = 0; o < outputs; ++o) db[o] += g[p * outputs + o];
}

struct Conv2d : Node {
  Var x;
  ConvKernel kernel;
  WeightVar bias;
  Tensor input;  // x as the kernels want it

  const char* name() const override { return "conv2d"; }
  size_t saved_bytes() const override { return input.byte_size(); }

  template <class T>
  void walk(Tape& tape, const Tensor& dy) {
    const ConvShape& s = kernel.prepared->shape();
    const int64_t examples = dy.dim(0), views = dy.dim(1);
    const bool wants_dx = tape.needs_gradient(x);
    Tensor dx = wants_dx ? tape.empty({examples, views, s.height, s.width, s.channels}) : Tensor();
    const int64_t in_size = kernel.prepared->in_size();
    for (int64_t n = 0; n < examples; ++n) {
      bool accumulate = false;
      T* dw = tape.weight_gradient<T>(kernel.w, n, accumulate);
      T* db = tape.weight_gradient<T>(bias, n);
      for (int64_t image = n * views; image < (n + 1) * views; ++image) {
        const T* g = dy.data<T>() + image * s.output_size();
        kernel.prepared->weight_gradient(input.data<T>() + image * in_size, g, dw, accumulate,
                                         tape.workspace());
        accumulate = true;
        add_pixels(g, s.out_h() * s.out_w(), s.outputs, db);
        if (wants_dx)
          kernel.prepared->input_gradient(g, dx.data<T>() + image * s.input_size(), tape.workspace());
      }
    }
    if (wants_dx) tape.accumulate(x, std::move(dx));
  }

  void backward(Tape& tape, const Tensor& dy) override {
    dispatch(dy.dtype(), [&]<class T>() { walk<T>(tape, dy); });
  }
};

struct GpuConv2d : Node {
  Var x;
  ConvKernel kernel;
  WeightVar bias;
  Tensor input;  // x as the kernels want it
  DType type;    // of x

  const char* name() const override { return "conv2d"; }
  size_t saved_bytes() const override { return input.byte_size(); }
  void backward(Tape& tape, const Tensor& dy) override {
    kernel.on_gpu->weight_gradient(input, dy, tape.weight_rows(kernel.w), tape.workspace());
    kernel.on_gpu->bias_gradient(dy, tape.weight_rows(bias));
    if (tape.needs_gradient(x)) tape.accumulate(x, kernel.on_gpu->input_gradient(dy, type, tape.workspace()));
  }
};

Var conv2d_on_gpu(Tape& tape, Var x, const ConvKernel& kernel, WeightVar bias) {
  auto node = std::make_unique<GpuConv2d>();
  node->x = x;
  node->kernel = kernel;
  node->bias = bias;
  node->type = tape.value(x).dtype();
  node->input = kernel.on_gpu->input(tape.value(x), tape.workspace());
  Tensor y = kernel.on_gpu->forward(node->input, tape.value(bias), tape.workspace());
  return tape.record(std::move(y), std::move(node));
}

}  // namespace

ConvKernel conv_kernel(WeightTape& tape, WeightVar w, const ConvShape& shape, bool wants_input_gradient) {
  const Tensor values = tape.value(w);
  if (tape.device().is_cpu()) {
    const auto prepared = std::make_shared<ConvWeights>(shape, values, wants_input_gradient);
    tape.keep_fresh(w, [prepared] { prepared->update(); });
    return {w, shape, prepared, nullptr};
  }
  const auto conv = std::make_shared<GpuConv>(shape, values, tape.conv_settings());
  tape.keep_fresh(w, [conv] { conv->update(); });
  return {w, shape, nullptr, conv};
}

Var conv2d(Tape& tape, Var x, const ConvKernel& kernel, WeightVar bias) {
  const Tensor& input = tape.value(x);
  const ConvShape& s = kernel.shape;
  PG_CHECK(
      input.rank() == 5 && input.dim(2) == s.height && input.dim(3) == s.width && input.dim(4) == s.channels,
      "conv2d: x has shape ", to_string(input.shape()), ", wanted [N,V,", s.height, ",", s.width, ",",
      s.channels, "]");
  PG_CHECK(tape.value(bias).size() == s.outputs, "conv2d: bias ", to_string(tape.value(bias).shape()),
           ", wanted [", s.outputs, "]");
  if (tape.on_gpu()) return conv2d_on_gpu(tape, x, kernel, bias);
  Tensor y = tape.empty({input.dim(0), input.dim(1), s.out_h(), s.out_w(), s.outputs});
  auto node = std::make_unique<Conv2d>();
  node->x = x;
  node->kernel = kernel;
  node->bias = bias;
  node->input = kernel.prepared->input(input, tape.workspace());
  dispatch(input.dtype(), [&]<class T>() {
    const T *in = node->input.data<T>(), *b = tape.value(bias).data<T>();
    for (int64_t image = 0; image < input.dim(0) * input.dim(1); ++image)
      kernel.prepared->forward(in + image * kernel.prepared->in_size(), b,
                               y.data<T>() + image * s.output_size(), tape.workspace());
  });
  return tape.record(std::move(y), std::move(node));
}

}  // namespace pergrad
