// The layers that models are made of.
#pragma once

#include "layers/module.h"

namespace pergrad {

// Options of a convolution beside its channels.
struct ConvOptions {
  int64_t kernel = 3;
  int64_t stride = 1;
  int64_t pad = 1;
  bool weight_standardization = false;
  // Whether the input of the layer needs a gradient: false for the first layer, which reads images.
  bool input_gradient = true;
};

// Convolution with bias; with weight standardization also a gain per output channel (De et al. 2022).
//   Parameters: NAME.weight [K,K,C,O] (std 1/sqrt(fan_in)), NAME.bias [O] (0), NAME.gain [O] (1).
class Conv : public Module {
 public:
  // `shape`: of the input; replaced by that of the output.
  Conv(Parameters& parameters, const std::string& name, ImageShape& shape, int64_t outputs,
       ConvOptions options);
  void prepare(WeightTape& weights) override;
  Var forward(Tape& tape, Var x) const override { return conv2d(tape, x, kernel_, bias_var_); }

 private:
  const Parameters& parameters_;
  ConvShape shape_;
  ConvOptions options_;
  ParameterId weight_, bias_, gain_;
  ConvKernel kernel_;
  WeightVar bias_var_;
};

// Group norm with scale and shift; `op`: with a ReLU before or behind it.   Parameters: NAME.weight [C] (1),
// NAME.bias [C] (0).
class GroupNormLayer : public Module {
 public:
  GroupNormLayer(Parameters& parameters, const std::string& name, int64_t channels, int64_t groups,
                 GroupNormOp* op = group_norm);
  void prepare(WeightTape& weights) override;
  Var forward(Tape& tape, Var x) const override { return op_(tape, x, scale_var_, shift_var_, groups_); }

 private:
  const Parameters& parameters_;
  int64_t groups_;
  GroupNormOp* op_;
  ParameterId scale_, shift_;
  WeightVar scale_var_, shift_var_;
};

// Fully connected.   Parameters: NAME.weight [C,L], NAME.bias [L] (0).
class LinearLayer : public Module {
 public:
  LinearLayer(Parameters& parameters, const std::string& name, int64_t inputs, int64_t outputs, Init init);
  void prepare(WeightTape& weights) override;
  Var forward(Tape& tape, Var x) const override { return linear(tape, x, kernel_, bias_var_); }

 private:
  const Parameters& parameters_;
  ParameterId weight_, bias_;
  LinearKernel kernel_;
  WeightVar bias_var_;
};

// A layer without parameters: any function Var(Tape&, Var).
template <class F>
class Plain : public Module {
 public:
  explicit Plain(F f) : f_(std::move(f)) {}
  void prepare(WeightTape&) override {}
  Var forward(Tape& tape, Var x) const override { return f_(tape, x); }

 private:
  F f_;
};
template <class F>
ModulePtr plain(F f) {
  return std::make_unique<Plain<F>>(std::move(f));
}

}  // namespace pergrad
