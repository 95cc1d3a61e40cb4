// The two optimizers and the learning rate.
#include "layers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace pergrad {
namespace {

// The values of parameters and gradient, after checks.
struct Operands {
  float* w;
  const float* g;
  int64_t size;
};
Operands operands(Parameters& parameters, const Tensor& gradient, int64_t size) {
  PG_CHECK(gradient.size() == size && parameters.size() == size, "optimizer: gradient ",
           to_string(gradient.shape()), " for ", parameters.size(), " parameters, wanted ", size, " of each");
  PG_CHECK(gradient.dtype() == DType::f32 && parameters.flat().dtype() == DType::f32,
           "optimizer: got doubles, wanted floats");
  return {parameters.flat().data<float>(), gradient.data<float>(), size};
}

class Sgd final : public Optimizer {
 public:
  Sgd(double momentum, int64_t size) : momentum_(static_cast<float>(momentum)), size_(size) {
    if (momentum > 0) buffer_ = Tensor::zeros({size}, DType::f32);
  }

  void step(Parameters& parameters, const Tensor& gradient, double learning_rate) override {
    const auto [w, g, size] = operands(parameters, gradient, size_);
    const auto lr = static_cast<float>(learning_rate);
    if (buffer_.defined()) {
      float* b = buffer_.data<float>();
      for (int64_t i = 0; i < size; ++i) {
        b[i] = momentum_ * b[i] + g[i];
        w[i] -= lr * b[i];
      }
    } else {
      for (int64_t i = 0; i < size; ++i) w[i] -= lr * g[i];
    }
    ++steps_;
    parameters.touch();
  }

  std::vector<State> state() const override {
    if (!buffer_.defined()) return {};
    return {{"momentum", buffer_}};
  }

 private:
  float momentum_;
  int64_t size_;
  Tensor buffer_;  // [P]; undefined without momentum
};

class Adam final : public Optimizer {
 public:
  Adam(const OptimizerSettings& settings, int64_t size)
      : settings_(settings),
        size_(size),
        first_(Tensor::zeros({size}, DType::f32)),
        second_(Tensor::zeros({size}, DType::f32)) {}

  void step(Parameters& parameters, const Tensor& gradient, double learning_rate) override {
    const auto [w, g, size] = operands(parameters, gradient, size_);
    ++steps_;
    const auto t = static_cast<double>(steps_);
    const auto beta1 = static_cast<float>(settings_.beta1), rest1 = static_cast<float>(1 - settings_.beta1);
    const auto beta2 = static_cast<float>(settings_.beta2), rest2 = static_cast<float>(1 - settings_.beta2);
    const auto unbias1 = static_cast<float>(1 / (1 - std::pow(settings_.beta1, t)));
    const auto unbias2 = static_cast<float>(1 / (1 - std::pow(settings_.beta2, t)));
    const auto epsilon = static_cast<float>(settings_.epsilon);
    const auto noise = static_cast<float>(settings_.noise_variance);
    const auto lr = static_cast<float>(learning_rate);
    float* m = first_.data<float>();
    float* v = second_.data<float>();
    for (int64_t i = 0; i < size; ++i) {
      m[i] = beta1 * m[i] + rest1 * g[i];
      v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);
      const float moment = v[i] * unbias2;
      const float denominator = noise > 0 ? std::max(std::sqrt(std::max(moment - noise, 0.0f)), epsilon)
                                          : std::sqrt(moment) + epsilon;
      w[i] -= lr * ((m[i] * unbias1) / denominator);
    }
    parameters.touch();
  }

  std::vector<State> state() const override { return {{"first_moment", first_}, {"second_moment", second_}}; }

 private:
  OptimizerSettings settings_;
  int64_t size_;
  Tensor first_, second_;  // m, v [P]
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& s, int64_t parameters) {
  PG_CHECK(parameters >= 0, "optimizer: got ", parameters, " parameters");
  PG_CHECK(s.momentum >= 0 && s.momentum < 1, "optimizer: momentum is ", s.momentum, ", wanted in [0, 1)");
  if (s.name == "sgd") return std::make_unique<Sgd>(s.momentum, parameters);
  PG_CHECK(s.name == "adam", "optimizer: got \"", s.name, "\", wanted sgd or adam");
  PG_CHECK(s.beta1 >= 0 && s.beta1 < 1, "optimizer: beta1 is ", s.beta1, ", wanted in [0, 1)");
  PG_CHECK(s.beta2 >= 0 && s.beta2 < 1, "optimizer: beta2 is ", s.beta2, ", wanted in [0, 1)");
  // In float, like the state: what underflows to 0 would divide by 0.
  PG_CHECK(static_cast<float>(s.epsilon) > 0 && std::isfinite(s.epsilon), "optimizer: epsilon is ", s.epsilon,
           ", wanted a number > 0");
  PG_CHECK(s.noise_variance >= 0 && std::isfinite(s.noise_variance), "optimizer: noise_variance is ",
           s.noise_variance, ", wanted a number >= 0");
  return std::make_unique<Adam>(s, parameters);
}

double LearningRate::at(int64_t step) const {
  PG_CHECK(step >= 0 && step < steps, "learning rate: step is ", step, ", wanted in [0, ", steps, ")");
  if (step < warmup_steps) return peak * (static_cast<double>(step + 1) / static_cast<double>(warmup_steps));
  const double x = static_cast<double>(step - warmup_steps) / static_cast<double>(steps - warmup_steps);
  if (schedule == "constant") return peak;
  if (schedule == "linear") return peak * (1 - x);
  PG_CHECK(schedule == "cosine", "learning rate: schedule is \"", schedule,
           "\", wanted constant, linear or cosine");
  return peak * (0.5 * (1 + std::cos(std::numbers::pi * x)));
}

}  // namespace pergrad
