// soft_cross_entropy: the weighted mean over the views of one example, and nothing else.
#include "autograd/head_kernels.h"
#include "autograd/ops.h"

namespace pergrad {
namespace {

// Losses are float or double, never bf16.
template <class F>
void with_loss_type(const Tape& tape, DType type, const F& f) {
  PG_CHECK(type == DType::f32 || (type == DType::f64 && !tape.on_gpu()),
           "soft_cross_entropy: wanted logits in float");
  dispatch(type, f);
}

struct SoftCrossEntropy : Node {
  Var logits;
  Tensor residual;  // weights[n,v] * (p - targets), like logits

  const char* name() const override { return "soft_cross_entropy"; }
  size_t saved_bytes() const override { return residual.byte_size(); }
  void backward(Tape& tape, const Tensor& dy) override {
    const int64_t row = residual.dim(1) * residual.dim(2);
    with_loss_type(tape, residual.dtype(), [&]<class T>() {
      tape.for_each(residual.size(),
                    kernels::ScaleRows<T>{residual.device_data<T>(), dy.device_data<T>(), row});
    });
    tape.accumulate(logits, std::move(residual));
  }
};

}  // namespace

Var soft_cross_entropy(Tape& tape, Var logits, const Tensor& targets, const Tensor& weights) {
  const Tensor& z = tape.value(logits);
  PG_CHECK(z.rank() == 3 && targets.shape() == z.shape(), "soft_cross_entropy: logits ", to_string(z.shape()),
           ", targets ", to_string(targets.shape()), ", wanted both [N,V,L]");
  PG_CHECK(weights.rank() == 2 && weights.dim(0) == z.dim(0) && weights.dim(1) == z.dim(1),
           "soft_cross_entropy: weights ", to_string(weights.shape()), " for logits ", to_string(z.shape()));
  const int64_t views = z.dim(1), labels = z.dim(2);
  Tensor losses = tape.empty({z.dim(0)}, z.dtype());
  const Tensor view_losses = tape.empty({z.dim(0), views}, DType::f64);
  auto node = std::make_unique<SoftCrossEntropy>();
  node->logits = logits;
  node->residual = tape.empty(z.shape(), z.dtype());
  with_loss_type(tape, z.dtype(), [&]<class T>() {
    tape.for_each(z.dim(0) * views,
                  kernels::CrossEntropyView<T>{z.device_data<T>(), targets.device_data<T>(),
                                               weights.device_data<T>(), node->residual.device_data<T>(),
                                               view_losses.device_data<double>(), labels});
    tape.for_each(z.dim(0), kernels::SumOfViewLosses<T>{view_losses.device_data<double>(),
                                                        losses.device_data<T>(), views});
  });
  return tape.record(std::move(losses), std::move(node));
}

}  // namespace pergrad
