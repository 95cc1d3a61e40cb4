// group_norm, and the same with a ReLU before or after it.
#include "autograd/group_norm_blocks.h"
#include "autograd/group_norm_kernels.h"
#include "autograd/isa_kernels.h"
#include "autograd/ops.h"

#include <algorithm>

namespace pergrad {
namespace {

using kernels::SlabPlan;

// On the processor. Float images of 16 channels or a multiple go through the vector kernels, others through
// the plain ones that they are tested against.
struct GroupNorm : Node {
  Var x;
  WeightVar gamma, beta;
  int64_t groups;
  NormRelu relu;
  Tensor input, mean, rstd;

  const char* name() const override {
    return relu == NormRelu::before  ? "relu_group_norm"
           : relu == NormRelu::after ? "group_norm_relu"
                                     : "group_norm";
  }
  size_t saved_bytes() const override { return input.byte_size() + mean.byte_size() + rstd.byte_size(); }
  int64_t images() const { return input.dim(0) * input.dim(1); }
  NormImage image() const {
    return {input.dim(2) * input.dim(3), input.dim(4), groups, relu, kernels::kGroupNormEpsilon};
  }
  bool by_vectors() const { return input.dtype() == DType::f32 && input.dim(4) % kIsaChannels == 0; }

  void forward(Tape& tape, const Tensor& y) const {
    const NormImage shape = image();
    const int64_t size = shape.pixels * shape.channels;
    dispatch(input.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < images(); ++i) {
        const T* in = input.data<T>() + i * size;
        double *m = mean.data<double>() + i * groups, *r = rstd.data<double>() + i * groups;
        const T *scale = tape.value(gamma).data<T>(), *shift = tape.value(beta).data<T>();
        if constexpr (std::is_same_v<T, float>)
          if (by_vectors()) {
            isa_kernels().group_norm(shape, in, scale, shift, y.data<float>() + i * size, m, r);
            continue;
          }
        kernels::group_norm(shape, in, scale, shift, y.data<T>() + i * size, m, r);
      }
    });
  }

  // Adds what x got from elsewhere (the other branch of a residual block) in the same pass.
  void backward(Tape& tape, const Tensor& dy) override {
    const bool wants_dx = tape.needs_gradient(x);
    const Tensor more = wants_dx ? tape.take_gradient(x) : Tensor();
    Tensor dx = wants_dx ? tape.empty(input.shape()) : Tensor();
    const NormImage shape = image();
    const int64_t size = shape.pixels * shape.channels, views = input.dim(1);
    dispatch(input.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < images(); ++i) {
        const auto at = [&](const Tensor& t) { return t.defined() ? t.data<T>() + i * size : nullptr; };
        const double *m = mean.data<double>() + i * groups, *r = rstd.data<double>() + i * groups;
        const T *scale = tape.value(gamma).data<T>(), *shift = tape.value(beta).data<T>();
        T *dgamma = tape.weight_gradient<T>(gamma, i / views),
          *dbeta = tape.weight_gradient<T>(beta, i / views);
        if constexpr (std::is_same_v<T, float>)
          if (by_vectors()) {
            isa_kernels().group_norm_backward(shape, at(input), at(dy), at(more), scale, shift, m, r, at(dx),
                                              dgamma, dbeta);
            continue;
          }
        kernels::group_norm_backward(shape, at(input), at(dy), at(more), scale, shift, m, r, at(dx), dgamma,
                                     dbeta);
      }
    });
    if (wants_dx) tape.accumulate(x, std::move(dx));
  }
};

Var group_norm_on_processor(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups,
                            NormRelu relu) {
  const Tensor& input = tape.value(x);
  auto node = std::make_unique<GroupNorm>();
  node->x = x;
  node->gamma = gamma;
  node->beta = beta;
  node->groups = groups;
  node->relu = relu;
  node->input = input;
  node->mean = tape.empty({input.dim(0), input.dim(1), groups}, DType::f64);
  node->rstd = tape.empty({input.dim(0), input.dim(1), groups}, DType::f64);
  Tensor y = tape.empty(input.shape());
  node->forward(tape, y);
  return tape.record(std::move(y), std::move(node));
}

// ---------------------------------------------------------------- on a GPU

// Deals the channels of an image to blocks. `tensors`: how many slabs a block stages.
SlabPlan plan_slabs(int64_t pixels, int64_t channels, int64_t groups, int64_t vector, size_t element,
                    int tensors) {
  constexpr size_t kStage = size_t{64} << 10;  // three blocks a multiprocessor
  constexpr size_t kWide = 64;                 // bytes of a pixel that a block should read together
  const int64_t width = channels / groups;
  SlabPlan best{static_cast<int>(pixels), static_cast<int>(channels), static_cast<int>(groups), 0, false};
  for (int64_t slab = width; slab <= channels; slab += width) {
    if (channels % slab != 0 || slab % vector != 0 || slab / vector > kernels::kNormThreads) continue;
    const bool fits = static_cast<size_t>(pixels * slab) * element * static_cast<size_t>(tensors) <= kStage;
    const bool narrow = static_cast<size_t>(best.slab) * element < kWide;
    if (best.slab == 0 || (narrow && (fits || !best.staged)))
      best.slab = static_cast<int>(slab), best.staged = fits;
  }
  return best;
}

// f.operator()<kVector>(plan): vectors of 16 bytes where groups and slabs allow them, else single numbers.
template <class A, class F>
void with_slabs(int64_t pixels, int64_t channels, int64_t groups, int tensors, const F& f) {
  constexpr int kWide = 16 / sizeof(A);
  SlabPlan plan = plan_slabs(pixels, channels, groups, kWide, sizeof(A), tensors);
  if (plan.slab > 0) return f.template operator()<kWide>(plan);
  plan = plan_slabs(pixels, channels, groups, 1, sizeof(A), tensors);
  PG_CHECK(plan.slab > 0, "group_norm: a group of ", channels / groups, " channels is too wide for a GPU");
  f.template operator()<1>(plan);
}

// Row n of the gradient of a weight: the sum over the images of example n.   images [N,V,C].
void sum_over_views(Tape& tape, const Tensor& images, WeightVar weight) {
  const GradientRows rows = tape.weight_rows(weight);
  tape.for_each(images.dim(0) * images.dim(2),
                kernels::SumOverViews{images.device_data<float>(), rows.first, images.dim(1), images.dim(2),
                                      rows.stride, rows.accumulate});
}

template <bool kRelu>
struct GpuGroupNorm : Node {
  Var x;
  WeightVar gamma, beta;
  int64_t groups;
  Tensor input, mean, rstd;

  const char* name() const override { return kRelu ? "relu_group_norm" : "group_norm"; }
  size_t saved_bytes() const override { return input.byte_size() + mean.byte_size() + rstd.byte_size(); }

  void backward(Tape& tape, const Tensor& dy) override {
    const int64_t examples = input.dim(0), views = input.dim(1), channels = input.dim(4);
    const bool wants_dx = tape.needs_gradient(x);
    const Tensor more = wants_dx ? tape.take_gradient(x) : Tensor();
    Tensor dx = wants_dx ? tape.empty(input.shape(), input.dtype()) : Tensor();
    const Tensor dgamma = tape.empty({examples, views, channels}, DType::f32),
                 dbeta = tape.empty({examples, views, channels}, DType::f32);
    dispatch_gpu(input.dtype(), [&]<class A>() {
      with_slabs<A>(input.dim(2) * input.dim(3), channels, groups, 2, [&]<int kVector>(const SlabPlan& plan) {
        launch_blocks(tape.gpu(), examples * views * plan.slabs(),
                      kernels::GroupNormBackwardBlock<A, kVector, kRelu>{
                          plan, input.device_data<A>(), dy.device_data<A>(),
                          more.defined() ? more.device_data<A>() : nullptr,
                          tape.value(gamma).device_data<float>(), mean.device_data<float>(),
                          rstd.device_data<float>(), wants_dx ? dx.device_data<A>() : nullptr,
                          dgamma.device_data<float>(), dbeta.device_data<float>()});
      });
    });
    sum_over_views(tape, dgamma, gamma);
    sum_over_views(tape, dbeta, beta);
    if (wants_dx) tape.accumulate(x, std::move(dx));
  }
};

template <bool kRelu>
Var group_norm_on_gpu(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  const Tensor& input = tape.value(x);
  auto node = std::make_unique<GpuGroupNorm<kRelu>>();
  node->x = x;
  node->gamma = gamma;
  node->beta = beta;
  node->groups = groups;
  node->input = input;
  const int64_t examples = input.dim(0), views = input.dim(1);
  node->mean = tape.empty({examples, views, groups}, DType::f32);
  node->rstd = tape.empty({examples, views, groups}, DType::f32);
  Tensor y = tape.empty(input.shape(), input.dtype());
  dispatch_gpu(input.dtype(), [&]<class A>() {
    with_slabs<A>(
        input.dim(2) * input.dim(3), input.dim(4), groups, 1, [&]<int kVector>(const SlabPlan& plan) {
          launch_blocks(
              tape.gpu(), examples * views * plan.slabs(),
              kernels::GroupNormForwardBlock<A, kVector, kRelu>{
                  plan, input.device_data<A>(), tape.value(gamma).device_data<float>(),
                  tape.value(beta).device_data<float>(), y.device_data<A>(),
                  node->mean.template device_data<float>(), node->rstd.template device_data<float>()});
        });
  });
  return tape.record(std::move(y), std::move(node));
}

void check_group_norm(const Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  const Tensor& input = tape.value(x);
  PG_CHECK(input.rank() == 5, "group_norm: x ", to_string(input.shape()), ", wanted [N,V,H,W,C]");
  const int64_t channels = input.dim(4);
  PG_CHECK(groups > 0 && channels % groups == 0, "group_norm: groups: ", groups, " do not divide ", channels,
           " channels");
  PG_CHECK(channels <= kernels::kMaxChannels, "group_norm: channels: ", channels, ", at most ",
           kernels::kMaxChannels);
  PG_CHECK(tape.value(gamma).size() == channels && tape.value(beta).size() == channels, "group_norm: gamma ",
           to_string(tape.value(gamma).shape()), ", wanted [", channels, "]");
}

}  // namespace

Var relu_group_norm(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  check_group_norm(tape, x, gamma, beta, groups);
  if (tape.on_gpu()) return group_norm_on_gpu<true>(tape, x, gamma, beta, groups);
  return group_norm_on_processor(tape, x, gamma, beta, groups, NormRelu::before);
}

Var group_norm(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  check_group_norm(tape, x, gamma, beta, groups);
  if (tape.on_gpu()) return group_norm_on_gpu<false>(tape, x, gamma, beta, groups);
  return group_norm_on_processor(tape, x, gamma, beta, groups, NormRelu::none);
}

Var group_norm_relu(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  check_group_norm(tape, x, gamma, beta, groups);
  if (tape.on_gpu()) return relu(tape, group_norm_on_gpu<false>(tape, x, gamma, beta, groups));
  return group_norm_on_processor(tape, x, gamma, beta, groups, NormRelu::after);
}

}  // namespace pergrad
