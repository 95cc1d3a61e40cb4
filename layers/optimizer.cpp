// The two optimizers and the learning rate.
#include "layers/optimizer.h"

#include "layers/coordinates.h"
#include "layers/optimizer_kernels.h"

#include <cmath>
#include <numbers>

namespace pergrad {
namespace {

// The gradient where the parameters are, after checks against the optimizer's size and device.
Tensor checked(const Parameters& parameters, const Tensor& gradient, int64_t size, Device device) {
  PG_CHECK(gradient.size() == size && parameters.size() == size, "optimizer: gradient ",
           to_string(gradient.shape()), " for ", parameters.size(), " parameters, wanted ", size, " of each");
  PG_CHECK(gradient.dtype() == DType::f32 && parameters.flat().dtype() == DType::f32,
           "optimizer: got doubles, wanted floats");
  PG_CHECK(parameters.device() == device, "optimizer: parameters are on ", parameters.device().name(),
           ", wanted on ", device.name());
  return on_device(gradient, device);
}

class Sgd final : public Optimizer {
 public:
  Sgd(double momentum, int64_t size, Device device)
      : momentum_(static_cast<float>(momentum)), size_(size), device_(device) {
    if (momentum > 0) buffer_ = Tensor::zeros({size}, DType::f32, device);
  }

  void step(Parameters& parameters, const Tensor& gradient, double learning_rate) override {
    const Tensor g = checked(parameters, gradient, size_, device_);
    float* w = parameters.flat().device_data<float>();
    const auto rate = static_cast<float>(learning_rate);
    if (buffer_.defined())
      for_each_coordinate(
          device_, size_,
          kernels::MomentumStep{g.device_data<float>(), buffer_.device_data<float>(), w, momentum_, rate});
    else
      for_each_coordinate(device_, size_, kernels::SgdStep{g.device_data<float>(), w, rate});
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
  Device device_;
  Tensor buffer_;  // [P]; undefined without momentum
};

class Adam final : public Optimizer {
 public:
  Adam(const OptimizerSettings& settings, int64_t size, Device device)
      : settings_(settings),
        size_(size),
        device_(device),
        first_(Tensor::zeros({size}, DType::f32, device)),
        second_(Tensor::zeros({size}, DType::f32, device)) {}

  void step(Parameters& parameters, const Tensor& gradient, double learning_rate) override {
    const Tensor g = checked(parameters, gradient, size_, device_);
    ++steps_;
    const auto t = static_cast<double>(steps_);
    kernels::AdamStep kernel;
    kernel.g = g.device_data<float>();
    kernel.m = first_.device_data<float>();
    kernel.v = second_.device_data<float>();
    kernel.w = parameters.flat().device_data<float>();
    kernel.beta1 = static_cast<float>(settings_.beta1);
    kernel.rest1 = static_cast<float>(1 - settings_.beta1);
    kernel.beta2 = static_cast<float>(settings_.beta2);
    kernel.rest2 = static_cast<float>(1 - settings_.beta2);
    kernel.unbias1 = static_cast<float>(1 / (1 - std::pow(settings_.beta1, t)));
    kernel.unbias2 = static_cast<float>(1 / (1 - std::pow(settings_.beta2, t)));
    kernel.epsilon = static_cast<float>(settings_.epsilon);
    kernel.noise = static_cast<float>(settings_.noise_variance);
    kernel.rate = static_cast<float>(learning_rate);
    for_each_coordinate(device_, size_, kernel);
    parameters.touch();
  }

  std::vector<State> state() const override { return {{"first_moment", first_}, {"second_moment", second_}}; }

 private:
  OptimizerSettings settings_;
  int64_t size_;
  Device device_;
  Tensor first_, second_;  // m, v [P]
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& s, int64_t parameters, Device device) {
  PG_CHECK(parameters >= 0, "optimizer: got ", parameters, " parameters");
  PG_CHECK(s.momentum >= 0 && s.momentum < 1, "optimizer: momentum is ", s.momentum, ", wanted in [0, 1)");
  if (s.name == "sgd") return std::make_unique<Sgd>(s.momentum, parameters, device);
  PG_CHECK(s.name == "adam", "optimizer: got \"", s.name, "\", wanted sgd or adam");
  PG_CHECK(s.beta1 >= 0 && s.beta1 < 1, "optimizer: beta1 is ", s.beta1, ", wanted in [0, 1)");
  PG_CHECK(s.beta2 >= 0 && s.beta2 < 1, "optimizer: beta2 is ", s.beta2, ", wanted in [0, 1)");
  // In float, like the state: what underflows to 0 would divide by 0.
  PG_CHECK(static_cast<float>(s.epsilon) > 0 && std::isfinite(s.epsilon), "optimizer: epsilon is ", s.epsilon,
           ", wanted a number > 0");
  PG_CHECK(s.noise_variance >= 0 && std::isfinite(s.noise_variance), "optimizer: noise_variance is ",
           s.noise_variance, ", wanted a number >= 0");
  return std::make_unique<Adam>(s, parameters, device);
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
