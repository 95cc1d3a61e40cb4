// mean_pool, average_pool, max_pool: image by image.
#include "autograd/head_kernels.h"
#include "autograd/ops.h"

#include <algorithm>
#include <cmath>

namespace pergrad {
namespace {

struct MeanPool : Node {
  Var x;
  Shape shape;  // of x

  const char* name() const override { return "mean_pool"; }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.empty(shape);
    const int64_t images = shape[0] * shape[1], pixels = shape[2] * shape[3], channels = shape[4];
    dispatch(dy.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < images; ++i)
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t c = 0; c < channels; ++c)
            dx.data<T>()[(i * pixels + p) * channels + c] =
                dy.data<T>()[i * channels + c] / static_cast<T>(pixels);
    });
    tape.accumulate(x, std::move(dx));
  }
};

// Windows of one pooling: f(output, input) for every pixel of every window, both as pixel indices over all
// images.
struct Windows {
  int64_t images, height, width, size, stride;
  int64_t out_h() const { return (height - size) / stride + 1; }
  int64_t out_w() const { return (width - size) / stride + 1; }
  template <class F>
  void each(const F& f) const {
    for (int64_t i = 0; i < images; ++i)
      for (int64_t y = 0; y < out_h(); ++y)
        for (int64_t x = 0; x < out_w(); ++x)
          for (int64_t r = 0; r < size; ++r)
            for (int64_t q = 0; q < size; ++q)
              f((i * out_h() + y) * out_w() + x, (i * height + y * stride + r) * width + x * stride + q,
                r == 0 && q == 0);
  }
};

Windows windows_of(const char* op, const Tensor& x, int64_t size, int64_t stride) {
  PG_CHECK(x.rank() == 5, op, ": x ", to_string(x.shape()), ", wanted [N,V,H,W,C]");
  PG_CHECK(size > 0 && stride > 0 && size <= x.dim(2) && size <= x.dim(3), op, ": window ", size, ", stride ",
           stride, " on an image ", x.dim(2), "x", x.dim(3));
  return {x.dim(0) * x.dim(1), x.dim(2), x.dim(3), size, stride};
}

struct AveragePool : Node {
  Var x;
  Shape shape;
  Windows windows;

  const char* name() const override { return "average_pool"; }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.zeros(shape);
    const int64_t channels = shape[4];
    dispatch(dy.dtype(), [&]<class T>() {
      const T share = T{1} / static_cast<T>(windows.size * windows.size);
      windows.each([&](int64_t out, int64_t in, bool) {
        for (int64_t c = 0; c < channels; ++c)
          dx.data<T>()[in * channels + c] += share * dy.data<T>()[out * channels + c];
      });
    });
    tape.accumulate(x, std::move(dx));
  }
};

struct MaxPool : Node {
  Var x;
  Shape shape;
  int64_t channels;
  std::vector<int32_t> winner;  // [outputs, C]: input pixel

  const char* name() const override { return "max_pool"; }
  size_t saved_bytes() const override { return winner.size() * sizeof(int32_t); }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.zeros(shape);
    dispatch(dy.dtype(), [&]<class T>() {
      const T* g = dy.data<T>();
      for (size_t at = 0; at < winner.size();)
        for (int64_t c = 0; c < channels; ++c, ++at) dx.data<T>()[winner[at] * channels + c] += g[at];
    });
    tape.accumulate(x, std::move(dx));
  }
};

// ---------------------------------------------------------------- on a GPU

// y is float; x of any type.
struct GpuMeanPool : Node {
  Var x;
  Shape shape;  // of x
  DType type;

  const char* name() const override { return "mean_pool"; }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.empty(shape, type);
    dispatch_gpu(type, [&]<class A>() {
      tape.for_each(dx.size(), kernels::MeanPoolBackward<A>{dy.device_data<float>(), dx.device_data<A>(),
                                                            shape[2] * shape[3], shape[4]});
    });
    tape.accumulate(x, std::move(dx));
  }
};

Var mean_pool_on_gpu(Tape& tape, Var x) {
  const Tensor& input = tape.value(x);
  Tensor y = tape.empty({input.dim(0), input.dim(1), input.dim(4)}, DType::f32);
  dispatch_gpu(input.dtype(), [&]<class A>() {
    tape.for_each(y.size(), kernels::MeanPoolForward<A>{input.device_data<A>(), y.device_data<float>(),
                                                        input.dim(2) * input.dim(3), input.dim(4)});
  });
  auto node = std::make_unique<GpuMeanPool>();
  node->x = x;
  node->shape = input.shape();
  node->type = input.dtype();
  return tape.record(std::move(y), std::move(node));
}

struct GpuWindowPool : Node {
  Var x;
  Shape shape;
  DType type;
  kernels::PoolShape pool;
  std::shared_ptr<std::byte> winner;  // int32 [outputs, C]; null for the mean
  size_t winner_bytes = 0;

  const char* name() const override { return winner ? "max_pool" : "average_pool"; }
  size_t saved_bytes() const override { return winner_bytes; }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.empty(shape, type);
    dispatch_gpu(type, [&]<class A>() {
      tape.for_each(dx.size(), kernels::WindowPoolBackward<A>{pool, dy.device_data<A>(),
                                                              reinterpret_cast<const int32_t*>(winner.get()),
                                                              dx.device_data<A>()});
    });
    tape.accumulate(x, std::move(dx));
  }
};

Var window_pool_on_gpu(Tape& tape, Var x, const Windows& windows, bool maximum) {
  const Tensor& input = tape.value(x);
  Tensor y =
      tape.empty({input.dim(0), input.dim(1), windows.out_h(), windows.out_w(), input.dim(4)}, input.dtype());
  auto node = std::make_unique<GpuWindowPool>();
  node->x = x;
  node->shape = input.shape();
  node->type = input.dtype();
  node->pool = {windows.height, windows.width,   input.dim(4),   windows.size,
                windows.stride, windows.out_h(), windows.out_w()};
  if (maximum) {
    node->winner_bytes = static_cast<size_t>(y.size()) * sizeof(int32_t);
    node->winner = tape.workspace().take(node->winner_bytes);
  }
  dispatch_gpu(input.dtype(), [&]<class A>() {
    tape.for_each(y.size(),
                  kernels::WindowPoolForward<A>{node->pool, input.device_data<A>(), y.device_data<A>(),
                                                reinterpret_cast<int32_t*>(node->winner.get())});
  });
  return tape.record(std::move(y), std::move(node));
}

}  // namespace

Var mean_pool(Tape& tape, Var x) {
  const Tensor& input = tape.value(x);
  PG_CHECK(input.rank() == 5, "mean_pool: x ", to_string(input.shape()), ", wanted [N,V,H,W,C]");
  if (tape.on_gpu()) return mean_pool_on_gpu(tape, x);
  const int64_t images = input.dim(0) * input.dim(1), pixels = input.dim(2) * input.dim(3),
                channels = input.dim(4);
  Tensor y = tape.empty({input.dim(0), input.dim(1), channels});
  dispatch(input.dtype(), [&]<class T>() {
    std::vector<double> sum(static_cast<size_t>(channels));
    for (int64_t i = 0; i < images; ++i) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t c = 0; c < channels; ++c)
          sum[static_cast<size_t>(c)] += input.data<T>()[(i * pixels + p) * channels + c];
      for (int64_t c = 0; c < channels; ++c)
        y.data<T>()[i * channels + c] =
            static_cast<T>(sum[static_cast<size_t>(c)] / static_cast<double>(pixels));
    }
  });
  if (!tape.needs_gradient(x)) return tape.record(std::move(y), nullptr);
  auto node = std::make_unique<MeanPool>();
  node->x = x;
  node->shape = input.shape();
  return tape.record(std::move(y), std::move(node));
}

Var average_pool(Tape& tape, Var x, int64_t size, int64_t stride) {
  const Tensor& input = tape.value(x);
  const Windows windows = windows_of("average_pool", input, size, stride);
  if (tape.on_gpu()) return window_pool_on_gpu(tape, x, windows, false);
  const int64_t channels = input.dim(4);
  Tensor y = tape.zeros({input.dim(0), input.dim(1), windows.out_h(), windows.out_w(), channels});
  dispatch(input.dtype(), [&]<class T>() {
    const T share = T{1} / static_cast<T>(size * size);
    windows.each([&](int64_t out, int64_t in, bool) {
      for (int64_t c = 0; c < channels; ++c)
        y.data<T>()[out * channels + c] += share * input.data<T>()[in * channels + c];
    });
  });
  if (!tape.needs_gradient(x)) return tape.record(std::move(y), nullptr);
  auto node = std::make_unique<AveragePool>();
  node->x = x;
  node->shape = input.shape();
  node->windows = windows;
  return tape.record(std::move(y), std::move(node));
}

Var max_pool(Tape& tape, Var x, int64_t size, int64_t stride) {
  const Tensor& input = tape.value(x);
  const Windows windows = windows_of("max_pool", input, size, stride);
  const int64_t channels = input.dim(4);
  PG_CHECK(windows.images * windows.height * windows.width < (int64_t{1} << 31),
           "max_pool: more than 2^31 pixels");
  if (tape.on_gpu()) return window_pool_on_gpu(tape, x, windows, true);
  Tensor y = tape.empty({input.dim(0), input.dim(1), windows.out_h(), windows.out_w(), channels});
  auto node = std::make_unique<MaxPool>();
  node->winner.resize(static_cast<size_t>(y.size()));
  dispatch(input.dtype(), [&]<class T>() {
    windows.each([&](int64_t out, int64_t pixel, bool first) {
      const T* in = input.data<T>() + pixel * channels;
      T* best = y.data<T>() + out * channels;
      int32_t* winner = node->winner.data() + out * channels;
      const auto here = static_cast<int32_t>(pixel);
      if (first) {
        std::copy_n(in, channels, best);
        std::fill_n(winner, channels, here);
        return;
      }
      for (int64_t c = 0; c < channels; ++c) {
        const T v = in[c], top = best[c];
        const int32_t who = winner[c];
        const bool wins = (v > top) | std::isnan(v);  // NaN wins, and stays NaN
        best[c] = wins ? v : top;
        winner[c] = wins ? here : who;
      }
    });
  });
  if (!tape.needs_gradient(x)) return tape.record(std::move(y), nullptr);
  node->x = x;
  node->shape = input.shape();
  node->channels = channels;
  return tape.record(std::move(y), std::move(node));
}

}  // namespace pergrad
