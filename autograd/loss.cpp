// soft_cross_entropy: the weighted mean over the views of one example, and nothing else.
#include "autograd/ops.h"

#include <algorithm>
#include <cmath>

namespace pergrad {
namespace {

struct SoftCrossEntropy : Node {
  Var logits;
  Tensor residual;  // weights[n,v] * (p - targets), like logits

  const char* name() const override { return "soft_cross_entropy"; }
  size_t saved_bytes() const override {
    return static_cast<size_t>(residual.size()) * size_of(residual.dtype());
  }
  void backward(Tape& tape, const Tensor& dy) override {
    const int64_t row = residual.dim(1) * residual.dim(2);
    dispatch(residual.dtype(), [&]<class T>() {
      for (int64_t n = 0; n < residual.dim(0); ++n)
        for (int64_t i = 0; i < row; ++i) residual.data<T>()[n * row + i] *= dy.data<T>()[n];
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
  Tensor losses = tape.zeros({z.dim(0)});
  auto node = std::make_unique<SoftCrossEntropy>();
  node->logits = logits;
  node->residual = tape.empty(z.shape());
  dispatch(z.dtype(), [&]<class T>() {
    for (int64_t n = 0; n < z.dim(0); ++n) {
      double loss = 0;
      for (int64_t v = 0; v < views; ++v) {
        const int64_t at = (n * views + v) * labels;
        const T* logit = z.data<T>() + at;
        const T* target = targets.data<T>() + at;
        const double weight = weights.data<T>()[n * views + v];
        const double top = *std::max_element(logit, logit + labels);
        double sum = 0;
        for (int64_t l = 0; l < labels; ++l) sum += std::exp(logit[l] - top);
        const double log_sum = top + std::log(sum);
        for (int64_t l = 0; l < labels; ++l) {
          loss -= weight * target[l] * (logit[l] - log_sum);
          node->residual.data<T>()[at + l] =
              static_cast<T>(weight * (std::exp(logit[l] - log_sum) - target[l]));
        }
      }
      losses.data<T>()[n] = static_cast<T>(loss);
    }
  });
  return tape.record(std::move(losses), std::move(node));
}

}  // namespace pergrad
