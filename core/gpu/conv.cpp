// GpuConv: shapes, scratch memory and the choice of kernels.
#include "core/gpu/conv.h"

#include "core/gpu/conv_kernels.h"
#include "core/gpu/launch.h"
#include "core/gpu/tensor_core_kernels.h"

#include <algorithm>
#include <tuple>

namespace pergrad {

using namespace kernels;
using Way = GpuConvSettings::WeightGradient;

namespace {

int64_t padded_channels(int64_t channels, Precision precision) {
  return precision == Precision::bf16 ? (channels + 7) / 8 * 8 : channels;
}

// The shapes of Wide-ResNets on 32x32 images: output width, stride, kernel, input and output channels of a
// block.
using TensorCoreKernels =
    std::tuple<TensorCoreWeightGradient<32, 1, 3, 8, 16>, TensorCoreWeightGradient<32, 1, 3, 16, 64>,
               TensorCoreWeightGradient<32, 1, 1, 16, 64>, TensorCoreWeightGradient<32, 1, 3, 64, 64>,
               TensorCoreWeightGradient<16, 2, 3, 64, 64>, TensorCoreWeightGradient<16, 2, 1, 64, 64>,
               TensorCoreWeightGradient<16, 1, 3, 64, 64>, TensorCoreWeightGradient<8, 2, 3, 64, 64>,
               TensorCoreWeightGradient<8, 2, 1, 64, 64>, TensorCoreWeightGradient<8, 1, 3, 64, 64>>;

template <int kWidth, int kStride, int kKernel, int kCi, int kCo>
bool fits(const TensorCoreWeightGradient<kWidth, kStride, kKernel, kCi, kCo>&, const ConvShape& s,
          int64_t padded) {
  using Kernel = TensorCoreWeightGradient<kWidth, kStride, kKernel, kCi, kCo>;
  return s.out_w() == kWidth && s.stride == kStride && s.kernel == kKernel && padded % kCi == 0 &&
         s.outputs % kCo == 0 && s.out_h() % Kernel::kRows == 0;
}

// f(kernel) for the first kernel that fits; whether there is one.
template <class F>
bool with_tensor_core_kernel(const ConvShape& s, int64_t padded, const F& f) {
  bool found = false;
  std::apply(
      [&](const auto&... kernel) {
        const auto attempt = [&](const auto& one) {
          if (found || !fits(one, s, padded)) return;
          found = true;
          f(one);
        };
        (attempt(kernel), ...);
      },
      TensorCoreKernels{});
  return found;
}

// f.operator()<A, kVector>(): packs of 16 bytes where the channels allow it, else single numbers.
template <class F>
void with_packs(DType type, int64_t channels, const F& f) {
  dispatch_gpu(type, [&]<class A>() {
    if (channels % kPackSize<A> == 0) return f.template operator()<A, kPackSize<A>>();
    f.template operator()<A, 1>();
  });
}

// Blocks that one example should have, so that some tens of examples fill a large GPU.
constexpr int64_t kBlocksPerExample = 4;

}  // namespace

GpuConv::GpuConv(const ConvShape& shape, const Tensor& weights, const GpuConvSettings& settings)
    : shape_(shape),
      weights_(weights),
      settings_(settings),
      gpu_(Gpu::of(weights.device())),
      type_(activation_type(settings.precision)),
      padded_(padded_channels(shape.channels, settings.precision)) {
  shape.check("conv2d");
  PG_CHECK(weights.size() == shape.weight_size(), "conv2d: weights ", to_string(weights.shape()), ", wanted ",
           shape.weight_size(), " numbers");
  PG_CHECK(settings.precision != Precision::bf16 || shape.outputs % 8 == 0,
           "conv2d: outputs: ", shape.outputs,
           "; speed.precision = \"bf16\" wants a multiple of 8 (use tf32 or fp32)");
  ConvShape library = shape;
  library.channels = padded_;
  library_ = gpu_.conv(library, settings.images_per_call, settings.precision);
  packed_ = Tensor::empty({shape.outputs, shape.kernel, shape.kernel, padded_}, type_, weights.device());
  PG_CHECK(settings.weight_gradient != Way::tensor_cores || has_tensor_core_kernel(),
           "conv2d: no tensor-core kernel for this shape");
  update();
}

GpuConv::~GpuConv() = default;

void GpuConv::update() {
  dispatch_gpu(type_, [&]<class A>() {
    launch_each(gpu_, packed_.size(),
                PackConvWeights<A>{weights_.device_data<float>(), packed_.device_data<A>(),
                                   shape_.kernel * shape_.kernel, shape_.channels, padded_, shape_.outputs});
  });
}

namespace {

// Pixels of x with `to` channels, in `type`.
Tensor convert(Gpu& gpu, const Tensor& x, int64_t to, DType type, Workspace& workspace) {
  const int64_t from = x.dim(4);
  if (from == to && x.dtype() == type) return x;
  Shape shape = x.shape();
  shape.back() = to;
  Tensor out = Tensor::empty(shape, type, workspace);
  dispatch_gpu(x.dtype(), [&]<class In>() {
    dispatch_gpu(type, [&]<class Out>() {
      launch_each(gpu, out.size(),
                  ConvertChannels<In, Out>{x.device_data<In>(), out.device_data<Out>(), from, to});
    });
  });
  return out;
}

}  // namespace

Tensor GpuConv::input(const Tensor& x, Workspace& workspace) const {
  return convert(gpu_, x, padded_, type_, workspace);
}

template <class F>
void GpuConv::each_call(const Tensor& from, const Tensor& to, Workspace& workspace, const F& f) const {
  const int64_t images = from.dim(0) * from.dim(1), call = settings_.images_per_call;
  PG_CHECK(images % call == 0, "conv2d: ", images, " images, wanted a multiple of ", call);
  const auto bytes_of = [&](const Tensor& t) { return static_cast<int64_t>(t.byte_size()) / images * call; };
  const int64_t from_bytes = bytes_of(from), to_bytes = bytes_of(to);
  const Tensor scratch =
      Tensor::empty({static_cast<int64_t>(library_->scratch_bytes() / 4 + 1)}, DType::f32, workspace);
  // Every call finds its operands aligned alike, else the library might choose another kernel for some.
  constexpr int64_t kAlignment = 256;
  const auto staged = [&](int64_t bytes) {
    return bytes % kAlignment == 0 ? nullptr : workspace.take(static_cast<size_t>(bytes));
  };
  const std::shared_ptr<std::byte> in = staged(from_bytes), out = staged(to_bytes);
  for (int64_t i = 0; i < images / call; ++i) {
    const std::byte* x = from.device_bytes() + i * from_bytes;
    std::byte* y = to.device_bytes() + i * to_bytes;
    if (in) gpu_.copy(in.get(), x, static_cast<size_t>(from_bytes));
    f(in ? in.get() : x, out ? out.get() : y, scratch.device_bytes());
    if (out) gpu_.copy(y, out.get(), static_cast<size_t>(to_bytes));
  }
}

Tensor GpuConv::forward(const Tensor& x, const Tensor& bias, Workspace& workspace) const {
  Tensor y =
      Tensor::empty({x.dim(0), x.dim(1), shape_.out_h(), shape_.out_w(), shape_.outputs}, type_, workspace);
  each_call(x, y, workspace, [&](const std::byte* in, std::byte* out, std::byte* scratch) {
    library_->forward(in, packed_.device_bytes(), out, scratch);
  });
  with_packs(type_, shape_.outputs, [&]<class A, int kVector>() {
    launch_each(gpu_, y.size() / kVector,
                AddBias<A, kVector>{reinterpret_cast<Pack<A, kVector>*>(y.device_data<A>()),
                                    bias.device_data<float>(), shape_.outputs});
  });
  return y;
}

Tensor GpuConv::input_gradient(const Tensor& dy, DType type, Workspace& workspace) const {
  Tensor dx = Tensor::empty({dy.dim(0), dy.dim(1), shape_.height, shape_.width, padded_}, type_, workspace);
  each_call(dy, dx, workspace, [&](const std::byte* in, std::byte* out, std::byte* scratch) {
    library_->input_gradient(in, packed_.device_bytes(), out, scratch);
  });
  return convert(gpu_, dx, shape_.channels, type, workspace);
}

bool GpuConv::has_tensor_core_kernel() const {
  return settings_.precision == Precision::bf16 && shape_.pad == shape_.kernel / 2 &&
         with_tensor_core_kernel(shape_, padded_, [](const auto&) {});
}

Way GpuConv::way() const {
  if (settings_.weight_gradient != Way::automatic) return settings_.weight_gradient;
  return has_tensor_core_kernel() ? Way::tensor_cores : Way::products;
}

void GpuConv::weight_gradient(const Tensor& x, const Tensor& dy, const GradientRows& dw,
                              Workspace& workspace) const {
  if (way() == Way::tensor_cores) return tensor_cores(x, dy, dw, workspace);
  dispatch_gpu(type_, [&]<class A>() {
    if (way() == Way::products) return products<A>(x, dy, dw, workspace);
    const ConvShape& s = shape_;
    launch_each(gpu_, x.dim(0) * s.weight_size(),
                PlainWeightGradient<A>{x.device_data<A>(), dy.device_data<A>(), x.dim(1), s.height, s.width,
                                       s.channels, padded_, s.outputs, s.kernel, s.stride, s.pad, s.out_h(),
                                       s.out_w(), dw.first, dw.stride, dw.accumulate});
  });
}

template <class A>
void GpuConv::products(const Tensor& x, const Tensor& dy, const GradientRows& dw,
                       Workspace& workspace) const {
  const ConvShape& s = shape_;
  const int64_t views = x.dim(1);
  TapGrid grid{};
  grid.stride = s.stride;
  grid.first = TapGrid::floor_div(-s.pad, s.stride);
  grid.span = TapGrid::floor_div(s.kernel - 1 - s.pad, s.stride) - grid.first;
  grid.rows = s.out_h() + grid.span;
  grid.columns = s.out_w() + grid.span;
  grid.length = views * grid.rows * grid.columns;
  grid.tail = grid.span * grid.columns + grid.span;

  // As many examples a call as make up the images of one library call: always the same shape.
  const int64_t some = std::max<int64_t>(1, settings_.images_per_call / views);
  const int64_t planes = s.stride * s.stride, whole = grid.length + grid.tail;
  const Tensor in = Tensor::empty({planes, some, whole, padded_}, type_, workspace);
  const Tensor out = Tensor::empty({some, grid.length, s.outputs}, type_, workspace);
  // The library writes here, not into the rows: their alignment differs from call to call, and with it might
  // the kernel that it chooses.
  const Tensor part = Tensor::empty({some, s.weight_size()}, DType::f32, workspace);
  PG_CHECK(x.dim(0) % some == 0, "conv2d: ", x.dim(0), " examples, wanted a multiple of ", some);
  for (int64_t n = 0; n < x.dim(0); n += some) {
    launch_each(gpu_, in.size(),
                FillPlanes<A>{x.rows(n, n + some).device_data<A>(), in.device_data<A>(), grid, some, views,
                              s.height, s.width, padded_});
    launch_each(gpu_, out.size(),
                FillOutputGrid<A>{dy.rows(n, n + some).device_data<A>(), out.device_data<A>(), grid, views,
                                  s.out_h(), s.out_w(), s.outputs});
    for (int64_t r = 0; r < s.kernel; ++r)
      for (int64_t q = 0; q < s.kernel; ++q) {
        const int64_t plane = grid.phase(r, s.pad) * s.stride + grid.phase(q, s.pad);
        const int64_t shift = grid.offset(r, s.pad) * grid.columns + grid.offset(q, s.pad);
        TransposedGemms g;
        g.type = type_;
        g.precision = settings_.precision;
        g.batch = some, g.m = s.channels, g.n = s.outputs, g.k = grid.length, g.a_row = padded_;
        g.a = in.device_bytes() + (plane * some * whole + shift) * padded_ * static_cast<int64_t>(sizeof(A));
        g.b = out.device_bytes();
        g.c = part.device_data<float>() + (r * s.kernel + q) * s.channels * s.outputs;
        g.a_stride = whole * padded_, g.b_stride = grid.length * s.outputs, g.c_stride = s.weight_size();
        gpu_.gemms(g);
      }
    launch_each(gpu_, part.size(),
                SumOfParts{part.device_data<float>(), dw.first + n * dw.stride, 1, some, s.weight_size(),
                           dw.stride, dw.accumulate});
  }
}

void GpuConv::tensor_cores(const Tensor& x, const Tensor& dy, const GradientRows& dw,
                           Workspace& workspace) const {
  with_tensor_core_kernel(shape_, padded_, [&]<class Kernel>(const Kernel&) {
    const ConvShape& s = shape_;
    const int64_t rows = x.dim(0), size = s.weight_size();
    Kernel kernel{};
    kernel.x = x.device_data<bf16>();
    kernel.dy = dy.device_data<bf16>();
    kernel.rows = rows;
    kernel.views = static_cast<int>(x.dim(1));
    kernel.splits = 1;
    kernel.height = static_cast<int>(s.height);
    kernel.width = static_cast<int>(s.width);
    kernel.channels = static_cast<int>(s.channels);
    kernel.padded = static_cast<int>(padded_);
    kernel.outputs = static_cast<int>(s.outputs);
    kernel.out_h = static_cast<int>(s.out_h());
    kernel.pad = static_cast<int>(s.pad);
    kernel.accumulate = dw.accumulate;
    const int64_t blocks = kernel.blocks() / rows;  // of one example, unsplit
    kernel.splits =
        static_cast<int>(std::clamp<int64_t>(kBlocksPerExample / std::max<int64_t>(1, blocks), 1, x.dim(1)));
    kernel.out = dw.first;
    kernel.out_stride = dw.stride;
    if (kernel.splits == 1) return launch_blocks(gpu_, kernel.blocks(), kernel);
    const Tensor parts = Tensor::empty({kernel.splits, rows, size}, DType::f32, workspace);
    kernel.out = parts.device_data<float>();
    kernel.out_stride = size;
    launch_blocks(gpu_, kernel.blocks(), kernel);
    launch_each(gpu_, rows * size,
                SumOfParts{parts.device_data<float>(), dw.first, kernel.splits, rows, size, dw.stride,
                           dw.accumulate});
  });
}

void GpuConv::bias_gradient(const Tensor& dy, const GradientRows& db) const {
  with_packs(type_, shape_.outputs, [&]<class A, int kVector>() {
    const BiasGradientBlock<A, kVector> kernel{dy.device_data<A>(), dy.size() / (dy.dim(0) * shape_.outputs),
                                               shape_.outputs,      db.first,
                                               db.stride,           db.accumulate};
    launch_blocks(gpu_, dy.dim(0) * kernel.slabs(), kernel);
  });
}

}  // namespace pergrad
