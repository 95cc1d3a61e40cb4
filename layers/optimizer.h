// Optimizers: from a gradient [P] to new parameters; and how the learning rate changes over the steps.
//
// 1. Everything here is post-processing: a gradient comes in, no example is seen. What the state holds is as
//    private as the gradients were.
// 2. Elementwise in float, coordinate by coordinate, in the order of operations written down below: the same
//    gradients give the same bits on any machine with IEEE arithmetic, and on a GPU.
#pragma once

#include "layers/parameters.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pergrad {

struct OptimizerSettings {
  std::string name = "sgd";  // or "adam"
  double momentum = 0;       // sgd, in [0, 1)
  double beta1 = 0.9;        // adam, in [0, 1)
  double beta2 = 0.999;      // adam, in [0, 1)
  double epsilon = 1e-8;     // adam, > 0
  // adam: known variance of the noise in each coordinate of a gradient, subtracted from the second moment;
  // 0 = plain Adam. With it, epsilon is the smallest denominator.
  double noise_variance = 0;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One update of all parameters by a gradient [P] f32, on any device.
  //   THROWS: Error for another size or dtype, or if the parameters are not on the optimizer's device.
  virtual void step(Parameters& parameters, const Tensor& gradient, double learning_rate) = 0;

  // What a checkpoint keeps: tensors [P] on the device that share memory with the optimizer (restoring is
  // assigning to them), always under the same names and in the same order; and the number of steps done.
  struct State {
    std::string name;
    Tensor value;
  };
  virtual std::vector<State> state() const = 0;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 protected:
  int64_t steps_ = 0;
};

// sgd:   momentum 0: w -= lr * g.   Else b = momentum * b + g; w -= lr * b (PyTorch's convention; b starts as
//        0, so that the first b is g; no dampening).
// adam:  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr * (m / (1 - b1^t)) / d, t = 1, 2, ...
//        d = sqrt(v / (1 - b2^t)) + epsilon                                (Kingma and Ba 2015, algorithm 1)
//        d = max(sqrt(max(v / (1 - b2^t) - noise_variance, 0)), epsilon)   with a noise variance: DP-AdamBC
//        (Tang, Shpilevskiy and Lecuyer 2024), whose gamma' is epsilon^2.
// `parameters` is P, `device` where they are.   THROWS: Error naming the setting that is out of range.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, int64_t parameters,
                                          Device device = {});

// The learning rate of a step: up linearly over the warm-up, then constant or down to 0.
struct LearningRate {
  double peak = 0;                    // key "learning_rate"
  std::string schedule = "constant";  // or "linear", "cosine": reach 0 at the end of the last step
  int64_t warmup_steps = 0;           // step s < warmup_steps: peak * (s + 1) / warmup_steps
  int64_t steps = 0;                  // T

  // Of update `step` in [0, T). With x = (step - warmup_steps) / (T - warmup_steps) after the warm-up:
  // constant: peak; linear: peak (1 - x); cosine: peak (1 + cos(pi x)) / 2.
  double at(int64_t step) const;
};

}  // namespace pergrad
