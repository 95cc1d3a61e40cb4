// wide_resnet.
#include "layers/wide_resnet.h"

#include <cmath>
#include <optional>

namespace pergrad {
namespace {

// ReLU, group norm (unless settings.norm is "none").
class ReluNorm : public Module {
 public:
  ReluNorm(Parameters& parameters, const std::string& name, int64_t channels, const ModelSettings& settings) {
    if (settings.norm != "none") norm_.emplace(parameters, name, channels, settings.groups, relu_group_norm);
  }
  void prepare(WeightTape& weights) override {
    if (norm_) norm_->prepare(weights);
  }
  Var forward(Tape& tape, Var x) const override { return norm_ ? norm_->forward(tape, x) : relu(tape, x); }

 private:
  std::optional<GroupNormLayer> norm_;
};

// ReLU, group norm, convolution.
class Unit3 : public Module {
 public:
  Unit3(Parameters& parameters, const std::string& norm, const std::string& conv, ImageShape& shape,
        int64_t outputs, const ModelSettings& settings, ConvOptions options)
      : norm_(parameters, norm, shape.channels, settings), conv_(parameters, conv, shape, outputs, options) {}
  void prepare(WeightTape& weights) override {
    norm_.prepare(weights);
    conv_.prepare(weights);
  }
  Var forward(Tape& tape, Var x) const override { return conv_.forward(tape, norm_.forward(tape, x)); }

 private:
  ReluNorm norm_;
  Conv conv_;
};

class Block : public Module {
 public:
  Block(Parameters& parameters, const std::string& name, ImageShape& shape, int64_t outputs, int64_t stride,
        bool shortcut, const ModelSettings& settings) {
    const bool standardize = settings.weight_standardization;
    ImageShape side = shape;
    first_ = std::make_unique<Unit3>(parameters, name + ".norm1", name + ".conv1", shape, outputs, settings,
                                     ConvOptions{3, stride, 1, standardize});
    second_ = std::make_unique<Unit3>(parameters, name + ".norm2", name + ".conv2", shape, outputs, settings,
                                      ConvOptions{3, 1, 1, standardize});
    if (shortcut)
      shortcut_ = std::make_unique<Unit3>(parameters, name + ".shortcut_norm", name + ".shortcut_conv", side,
                                          outputs, settings, ConvOptions{1, stride, 0, standardize});
  }
  void prepare(WeightTape& weights) override {
    first_->prepare(weights);
    second_->prepare(weights);
    if (shortcut_) shortcut_->prepare(weights);
  }
  Var forward(Tape& tape, Var x) const override {
    const Var residual = second_->forward(tape, first_->forward(tape, x));
    return add(tape, residual, shortcut_ ? shortcut_->forward(tape, x) : x);
  }

 private:
  ModulePtr first_, second_, shortcut_;
};

}  // namespace

ModulePtr wide_resnet(Parameters& parameters, const ModelSettings& settings, ImageShape image,
                      int64_t labels) {
  PG_CHECK(settings.depth >= 10 && (settings.depth - 4) % 6 == 0, "model.depth: got ", settings.depth,
           ", wanted 6 n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)");
  PG_CHECK(settings.norm == "group" || settings.norm == "none", "model.norm: got \"", settings.norm,
           "\", wanted group or none");
  PG_CHECK(settings.width >= 1, "model.width: got ", settings.width, ", wanted at least 1");
  const int64_t blocks = (settings.depth - 4) / 6;
  auto net = std::make_unique<Sequential>();
  ImageShape shape = image;
  net->push(std::make_unique<Conv>(parameters, "stem", shape, 16,
                                   ConvOptions{3, 1, 1, settings.weight_standardization, false}));
  for (int64_t stage = 0; stage < 3; ++stage)
    for (int64_t block = 0; block < blocks; ++block)
      net->push(std::make_unique<Block>(parameters, concat("stage", stage + 1, ".block", block + 1), shape,
                                        (int64_t{16} << stage) * settings.width,
                                        stage > 0 && block == 0 ? 2 : 1, block == 0, settings));
  net->push(std::make_unique<ReluNorm>(parameters, "norm", shape.channels, settings));
  net->push(plain(mean_pool));
  net->push(std::make_unique<LinearLayer>(
      parameters, "classifier", shape.channels, labels,
      Init::truncated_normal(1.0 / std::sqrt(static_cast<double>(shape.channels)))));
  return net;
}

}  // namespace pergrad
