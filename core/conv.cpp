// Convolution: the reference loops; the index tables that turn forward and input gradient into one gather;
// the choice of kernels.
#include "core/conv.h"

#include "core/conv_builds.h"
#include "core/cpu.h"
#include "core/error.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace pergrad {

void ConvShape::check(const std::string& op) const {
  PG_CHECK(height > 0 && width > 0 && channels > 0 && outputs > 0 && kernel > 0 && stride > 0 && pad >= 0, op,
           ": extents must be positive: image ", height, "x", width, "x", channels, ", outputs ", outputs,
           ", kernel ", kernel, ", stride ", stride, ", pad ", pad);
  PG_CHECK(height + 2 * pad >= kernel && width + 2 * pad >= kernel, op, ": kernel ", kernel,
           " is larger than the padded image ", height + 2 * pad, "x", width + 2 * pad);
  // Tables of offsets are 32-bit.
  PG_CHECK((height + 2 * pad) * (width + 2 * pad) * std::max(channels, outputs) < (int64_t{1} << 30), op,
           ": image of more than 2^30 numbers");
}

namespace conv_reference {

// Calls f(output pixel, input pixel, tap) for every tap that falls inside the image.
template <class F>
static void for_each_tap(const ConvShape& s, const F& f) {
  for (int64_t y = 0; y < s.out_h(); ++y)
    for (int64_t x = 0; x < s.out_w(); ++x)
      for (int64_t r = 0; r < s.kernel; ++r)
        for (int64_t q = 0; q < s.kernel; ++q) {
          const int64_t in_y = y * s.stride + r - s.pad;
          const int64_t in_x = x * s.stride + q - s.pad;
          if (in_y < 0 || in_y >= s.height || in_x < 0 || in_x >= s.width) continue;
          f(y * s.out_w() + x, in_y * s.width + in_x, r * s.kernel + q);
        }
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, T* y) {
  std::fill_n(y, s.output_size(), T{0});
  for_each_tap(s, [&](int64_t out, int64_t in, int64_t tap) {
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t o = 0; o < s.outputs; ++o)
        y[out * s.outputs + o] += x[in * s.channels + c] * w[(tap * s.channels + c) * s.outputs + o];
  });
}

template <class T>
void input_gradient(const ConvShape& s, const T* dy, const T* w, T* dx) {
  std::fill_n(dx, s.input_size(), T{0});
  for_each_tap(s, [&](int64_t out, int64_t in, int64_t tap) {
    for (int64_t c = 0; c < s.channels; ++c) {
      T sum = 0;
      for (int64_t o = 0; o < s.outputs; ++o)
        sum += dy[out * s.outputs + o] * w[(tap * s.channels + c) * s.outputs + o];
      dx[in * s.channels + c] += sum;
    }
  });
}

template <class T>
void weight_gradient(const ConvShape& s, const T* x, const T* dy, T* dw) {
  for_each_tap(s, [&](int64_t out, int64_t in, int64_t tap) {
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t o = 0; o < s.outputs; ++o)
        dw[(tap * s.channels + c) * s.outputs + o] += x[in * s.channels + c] * dy[out * s.outputs + o];
  });
}

template void forward(const ConvShape&, const float*, const float*, float*);
template void forward(const ConvShape&, const double*, const double*, double*);
template void input_gradient(const ConvShape&, const float*, const float*, float*);
template void input_gradient(const ConvShape&, const double*, const double*, double*);
template void weight_gradient(const ConvShape&, const float*, const float*, float*);
template void weight_gradient(const ConvShape&, const double*, const double*, double*);

}  // namespace conv_reference

namespace {

const DirectKernels& direct() {
  static const DirectKernels& kKernels =
      of_this_processor(direct_kernels_baseline(), direct_kernels_x86_64_v3(), direct_kernels_x86_64_v4());
  return kKernels;
}
const WinogradKernels& winograd_kernels() {
  static const WinogradKernels& kKernels = of_this_processor(
      winograd_kernels_baseline(), winograd_kernels_x86_64_v3(), winograd_kernels_x86_64_v4());
  return kKernels;
}

constexpr int64_t kChannelMultiple = 16;  // what the widest build writes at once

int32_t narrow(int64_t offset) { return static_cast<int32_t>(offset); }
int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// The tables behind one GatherConv.
struct GatherTables {
  std::vector<int32_t> in_offset, out_offset, tap_offset, tap_index;
  GatherConv view(int64_t all_taps, int64_t in_channels, int64_t out_channels) const {
    return {static_cast<int64_t>(in_offset.size()),
            in_offset.data(),
            out_offset.data(),
            static_cast<int64_t>(tap_offset.size()),
            tap_offset.data(),
            tap_index.data(),
            all_taps,
            in_channels,
            out_channels};
  }
};

// Image [h, w, c] into the middle of zeros [h + before + after, w + before + after, c].
void pad_image(const float* x, int64_t h, int64_t w, int64_t c, int64_t before, int64_t after, float* out) {
  const int64_t line = (w + before + after) * c;
  float* const end = out + (h + before + after) * line;
  const auto zero = [](float* from, float* to) {
    std::memset(from, 0, static_cast<size_t>(to - from) * sizeof(float));
  };
  float* at = out + before * line;
  zero(out, at);
  for (int64_t y = 0; y < h; ++y, at += line) {
    zero(at, at + before * c);
    std::memcpy(at + before * c, x + y * w * c, static_cast<size_t>(w * c) * sizeof(float));
    zero(at + (before + w) * c, at + line);
  }
  zero(at, end);
}

}  // namespace

struct ConvWeights::Impl {
  ConvShape shape;
  Tensor w;
  bool fast_forward = false;  // forward and weight gradient by the kernels
  bool fast_backward = false;
  bool winograd = false;  // both of them
  Tensor forward_panels, backward_panels;
  Tensor taps_of_panels;  // on the way to Winograd's
  GatherTables forward;
  std::vector<GatherTables> backward;  // one per residue class of the stride
  int64_t before = 0, after = 0;       // zeros around dy for the input gradient
  std::vector<int32_t> row_offset;

  int64_t padded_w() const { return shape.width + 2 * shape.pad; }
  int64_t padded_h() const { return shape.height + 2 * shape.pad; }
  bool has_border() const { return fast_forward && !winograd && shape.pad > 0; }
  int64_t taps() const { return shape.kernel * shape.kernel; }

  void plan_forward() {
    const ConvShape& s = shape;
    for (int64_t y = 0; y < s.out_h(); ++y)
      for (int64_t x = 0; x < s.out_w(); ++x) {
        forward.in_offset.push_back(narrow((y * padded_w() + x) * s.stride * s.channels));
        forward.out_offset.push_back(narrow((y * s.out_w() + x) * s.outputs));
      }
    // A kernel row reads K * C numbers that follow each other: one tap of K * C channels.
    for (int64_t r = 0; r < s.kernel; ++r) {
      forward.tap_offset.push_back(narrow(r * padded_w() * s.channels));
      forward.tap_index.push_back(narrow(r));
      for (int64_t c = 0; c < s.kernel * s.channels; ++c)
        row_offset.push_back(narrow(r * padded_w() * s.channels + c));
    }
  }

  // dx[y, x] = sum over taps (r, q) with (y + pad - r) and (x + pad - q) divisible by the stride of
  // dy[(y + pad - r) / stride, (x + pad - q) / stride] * w[r, q]: which taps these are depends on y and x
  // modulo the stride only.
  void plan_backward() {
    const ConvShape& s = shape;
    before = std::max<int64_t>(0, -floor_div(s.pad - (s.kernel - 1), s.stride));
    after = std::max({int64_t{0}, floor_div(s.height - 1 + s.pad, s.stride) - (s.out_h() - 1),
                      floor_div(s.width - 1 + s.pad, s.stride) - (s.out_w() - 1)});
    const int64_t line = s.out_w() + before + after;
    for (int64_t class_y = 0; class_y < std::min(s.stride, s.height); ++class_y)
      for (int64_t class_x = 0; class_x < std::min(s.stride, s.width); ++class_x) {
        GatherTables tables;
        for (int64_t t = 0; t < taps(); ++t) {
          const int64_t from_y = class_y + s.pad - t / s.kernel;
          const int64_t from_x = class_x + s.pad - t % s.kernel;
          if (floor_div(from_y, s.stride) * s.stride != from_y) continue;
          if (floor_div(from_x, s.stride) * s.stride != from_x) continue;
          const int64_t at_y = floor_div(from_y, s.stride) + before;
          const int64_t at_x = floor_div(from_x, s.stride) + before;
          tables.tap_offset.push_back(narrow((at_y * line + at_x) * s.outputs));
          tables.tap_index.push_back(narrow(t));
        }
        for (int64_t y = class_y; y < s.height; y += s.stride)
          for (int64_t x = class_x; x < s.width; x += s.stride) {
            tables.in_offset.push_back(narrow((y / s.stride * line + x / s.stride) * s.outputs));
            tables.out_offset.push_back(narrow((y * s.width + x) * s.channels));
          }
        backward.push_back(std::move(tables));
      }
  }

  // Panels of the weights for `to` outputs of `from` inputs each.
  void pack(int64_t from, int64_t to, int64_t in_stride, int64_t out_stride, bool rotated, Tensor& panels) {
    const int64_t places = winograd ? 16 : taps();
    if (!panels.defined()) panels = Tensor::empty({places * from * to}, DType::f32);
    if (winograd && !taps_of_panels.defined())
      taps_of_panels = Tensor::empty({shape.weight_size()}, DType::f32);
    const Tensor& packed = winograd ? taps_of_panels : panels;
    direct().pack(w.data<float>(), taps(), from, to, shape.channels * shape.outputs, in_stride, out_stride,
                  packed.data<float>());
    if (winograd) winograd_kernels().panels(packed.data<float>(), from, to, rotated, panels.data<float>());
  }

  void lay_out() {
    const ConvShape& s = shape;
    if (fast_forward) pack(s.channels, s.outputs, s.outputs, 1, false, forward_panels);
    if (fast_backward) pack(s.outputs, s.channels, 1, s.outputs, true, backward_panels);
  }

  static WinogradConv winograd_conv(int64_t height, int64_t width, int64_t pad, int64_t in, int64_t out) {
    const int64_t out_h = height + 2 * pad - 2, out_w = width + 2 * pad - 2, tiles_w = (out_w + 1) / 2;
    return {height, width, out_h, out_w, pad, in, out, tiles_w, (out_h + 1) / 2 * tiles_w};
  }
  WinogradConv winograd_forward() const {
    return winograd_conv(shape.height, shape.width, shape.pad, shape.channels, shape.outputs);
  }
  WinogradConv winograd_backward() const {
    return winograd_conv(shape.out_h(), shape.out_w(), 2 - shape.pad, shape.outputs, shape.channels);
  }
  static Tensor winograd_scratch(const WinogradConv& conv, int64_t strip, Workspace& workspace) {
    const int64_t tiles = std::min(strip, conv.tiles);
    return Tensor::empty({16 * (tiles * (conv.in_channels + conv.out_channels) + 2 * kWinogradGap)},
                         DType::f32, workspace);
  }
};

ConvWeights::ConvWeights(const ConvShape& shape, const Tensor& w, bool wants_input_gradient,
                         ConvAlgorithm algorithm)
    : impl_(std::make_unique<Impl>()) {
  shape.check("conv2d");
  PG_CHECK(w.size() == shape.weight_size(), "conv2d: weights ", to_string(w.shape()), ", wanted ",
           shape.weight_size(), " numbers");
  impl_->shape = shape;
  impl_->w = w;
  const bool wide_in = shape.channels % kChannelMultiple == 0,
             wide_out = shape.outputs % kChannelMultiple == 0;
  impl_->fast_forward = w.dtype() == DType::f32 && wide_out;
  impl_->fast_backward = wants_input_gradient && w.dtype() == DType::f32 && wide_in;
  impl_->winograd = algorithm == ConvAlgorithm::automatic && shape.kernel == 3 && shape.stride == 1 &&
                    shape.pad <= 2 && w.dtype() == DType::f32 && wide_in && wide_out;
  if (impl_->fast_forward && !impl_->winograd) impl_->plan_forward();
  if (impl_->fast_backward && !impl_->winograd) impl_->plan_backward();
  impl_->lay_out();
}

ConvWeights::~ConvWeights() = default;
const ConvShape& ConvWeights::shape() const { return impl_->shape; }
void ConvWeights::update() { impl_->lay_out(); }

Tensor ConvWeights::input(const Tensor& x, Workspace& workspace) const {
  if (!impl_->has_border()) return x;
  const ConvShape& s = impl_->shape;
  Shape bordered = x.shape();
  bordered[bordered.size() - 3] = impl_->padded_h();
  bordered[bordered.size() - 2] = impl_->padded_w();
  Tensor in = Tensor::empty(bordered, DType::f32, workspace);
  for (int64_t i = 0; i < x.size() / s.input_size(); ++i)
    pad_image(x.data<float>() + i * s.input_size(), s.height, s.width, s.channels, s.pad, s.pad,
              in.data<float>() + i * in_size());
  return in;
}
int64_t ConvWeights::in_size() const {
  return impl_->has_border() ? impl_->padded_h() * impl_->padded_w() * impl_->shape.channels
                             : impl_->shape.input_size();
}

template <class T>
void ConvWeights::forward(const T* in, const std::type_identity_t<T>* bias, T* y,
                          Workspace& workspace) const {
  const ConvShape& s = impl_->shape;
  if constexpr (std::is_same_v<T, float>) {
    if (impl_->winograd) {
      const WinogradConv conv = impl_->winograd_forward();
      const Tensor scratch = Impl::winograd_scratch(conv, kWinogradStrip, workspace);
      winograd_kernels().convolve(conv, in, impl_->forward_panels.data<float>(), bias, y,
                                  scratch.data<float>());
      return;
    }
    if (impl_->fast_forward) {
      direct().gather(impl_->forward.view(s.kernel, s.kernel * s.channels, s.outputs), in,
                      impl_->forward_panels.data<float>(), bias, y);
      return;
    }
  }
  conv_reference::forward(s, in, impl_->w.data<T>(), y);
  for (int64_t i = 0; bias && i < s.output_size(); ++i) y[i] += bias[i % s.outputs];
}

template <class T>
void ConvWeights::input_gradient(const T* dy, T* dx, Workspace& workspace) const {
  if constexpr (std::is_same_v<T, float>) {
    if (impl_->fast_backward && impl_->winograd) {
      const WinogradConv conv = impl_->winograd_backward();
      const Tensor scratch = Impl::winograd_scratch(conv, kWinogradStrip, workspace);
      winograd_kernels().convolve(conv, dy, impl_->backward_panels.data<float>(), nullptr, dx,
                                  scratch.data<float>());
      return;
    }
    if (impl_->fast_backward) {
      const ConvShape& s = impl_->shape;
      const int64_t border = impl_->before + impl_->after;
      const Tensor padded =
          Tensor::empty({s.out_h() + border, s.out_w() + border, s.outputs}, DType::f32, workspace);
      pad_image(dy, s.out_h(), s.out_w(), s.outputs, impl_->before, impl_->after, padded.data<float>());
      for (const GatherTables& tables : impl_->backward)
        direct().gather(tables.view(impl_->taps(), s.outputs, s.channels), padded.data<float>(),
                        impl_->backward_panels.data<float>(), nullptr, dx);
      return;
    }
  }
  conv_reference::input_gradient(impl_->shape, dy, impl_->w.data<T>(), dx);
}

template <class T>
void ConvWeights::weight_gradient(const T* in, const T* dy, T* dw, bool accumulate,
                                  Workspace& workspace) const {
  const ConvShape& s = impl_->shape;
  if constexpr (std::is_same_v<T, float>) {
    if (impl_->winograd) {
      const WinogradConv conv = impl_->winograd_forward();
      const Tensor scratch = Impl::winograd_scratch(conv, kWinogradGradientStrip, workspace);
      winograd_kernels().weight_gradient(conv, in, dy, dw, accumulate, scratch.data<float>());
      return;
    }
    if (impl_->fast_forward) {
      const WeightGradient conv{static_cast<int64_t>(impl_->row_offset.size()),
                                impl_->row_offset.data(),
                                s.out_h(),
                                s.out_w(),
                                s.stride * s.channels,
                                s.stride * impl_->padded_w() * s.channels,
                                s.outputs};
      direct().weight_gradient(conv, in, dy, dw, accumulate);
      return;
    }
  }
  if (!accumulate) std::fill_n(dw, s.weight_size(), T{0});
  conv_reference::weight_gradient(s, in, dy, dw);
}

template void ConvWeights::forward(const float*, const float*, float*, Workspace&) const;
template void ConvWeights::forward(const double*, const double*, double*, Workspace&) const;
template void ConvWeights::input_gradient(const float*, float*, Workspace&) const;
template void ConvWeights::input_gradient(const double*, double*, Workspace&) const;
template void ConvWeights::weight_gradient(const float*, const float*, float*, bool, Workspace&) const;
template void ConvWeights::weight_gradient(const double*, const double*, double*, bool, Workspace&) const;

}  // namespace pergrad
