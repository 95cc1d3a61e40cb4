// group_norm.
#include "autograd/group_norm_kernels.h"
#include "autograd/ops.h"

namespace pergrad {
namespace {

struct GroupNorm : Node {
  Var x;
  WeightVar gamma, beta;
  int64_t groups;
  Tensor input, mean, rstd;

  const char* name() const override { return "group_norm"; }
  size_t saved_bytes() const override {
    return static_cast<size_t>(input.size()) * size_of(input.dtype()) + static_cast<size_t>(mean.size()) * 16;
  }

  void backward(Tape& tape, const Tensor& dy) override {
    const bool wants_dx = tape.needs_gradient(x);
    Tensor dx = wants_dx ? tape.empty(input.shape()) : Tensor();
    const int64_t views = input.dim(1);
    dispatch(input.dtype(), [&]<class T>() {
      const kernels::GroupNormBackward<T> kernel{input.dim(2) * input.dim(3),
                                                 input.dim(3),
                                                 input.dim(4),
                                                 groups,
                                                 input.data<T>(),
                                                 dy.data<T>(),
                                                 tape.value(gamma).data<T>(),
                                                 mean.data<double>(),
                                                 rstd.data<double>(),
                                                 wants_dx ? dx.data<T>() : nullptr};
      for (int64_t n = 0; n < input.dim(0); ++n)
        for (int64_t v = 0; v < views; ++v)
          kernel(n * views + v, tape.weight_gradient<T>(gamma, n), tape.weight_gradient<T>(beta, n));
    });
    if (wants_dx) tape.accumulate(x, std::move(dx));
  }
};

}  // namespace

Var group_norm(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups) {
  const Tensor& input = tape.value(x);
  PG_CHECK(input.rank() == 5, "group_norm: x ", to_string(input.shape()), ", wanted [N,V,H,W,C]");
  const int64_t channels = input.dim(4);
  PG_CHECK(groups > 0 && channels % groups == 0, "group_norm: groups: ", groups, " do not divide ", channels,
           " channels");
  PG_CHECK(channels <= kernels::kMaxChannels, "group_norm: channels: ", channels, ", at most ",
           kernels::kMaxChannels);
  PG_CHECK(tape.value(gamma).size() == channels && tape.value(beta).size() == channels, "group_norm: gamma ",
           to_string(tape.value(gamma).shape()), ", wanted [", channels, "]");
  auto node = std::make_unique<GroupNorm>();
  node->x = x;
  node->gamma = gamma;
  node->beta = beta;
  node->groups = groups;
  node->input = input;
  node->mean = Tensor::empty({input.dim(0), input.dim(1), groups}, DType::f64, tape.workspace());
  node->rstd = Tensor::empty({input.dim(0), input.dim(1), groups}, DType::f64, tape.workspace());
  Tensor y = tape.empty(input.shape());
  dispatch(input.dtype(), [&]<class T>() {
    tape.exec().for_each(
        input.dim(0) * input.dim(1),
        kernels::GroupNormForward<T>{input.dim(2) * input.dim(3), input.dim(3), channels, groups,
                                     input.data<T>(), tape.value(gamma).data<T>(), tape.value(beta).data<T>(),
                                     y.data<T>(), node->mean.data<double>(), node->rstd.data<double>()});
  });
  return tape.record(std::move(y), std::move(node));
}

}  // namespace pergrad
