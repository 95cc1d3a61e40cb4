// The models: wide residual networks, a small convolutional net, a linear model.
#pragma once

#include "layers/module.h"

#include <memory>
#include <mutex>
#include <string>

namespace pergrad {

// The [model] table of a config.
struct ModelSettings {
  std::string name = "wide_resnet";    // or "small_cnn", "linear", "sequential"
  int64_t depth = 16;                  // wide_resnet: 6 n + 4
  int64_t width = 4;                   // wide_resnet: widening factor
  std::string norm = "group";          // wide_resnet: or "none"
  int64_t groups = 16;                 // wide_resnet: of every group norm
  bool weight_standardization = true;  // of every convolution
  std::vector<std::string> layers;     // sequential: one line a layer (layers/sequential_net.h)
};

// A model with its parameters and the weights derived from them.
class Model {
 public:
  // Builds it for images of this shape and L labels; parameters must be allocated on `device`. conv: how
  // convolutions run there, if it is a GPU.   THROWS: Error naming the setting that does not fit.
  Model(const ModelSettings& settings, ImageShape image, int64_t labels, Device device = {},
        const GpuConvSettings& conv = {});

  const ModelSettings& settings() const { return settings_; }
  ImageShape image() const { return image_; }
  int64_t labels() const { return labels_; }
  Device device() const { return weights_.device(); }
  const GpuConvSettings& conv_settings() const { return weights_.conv_settings(); }
  // "wide_resnet-16-4".
  std::string title() const;
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

  // The weight tape for the present values; what is derived from the parameters is computed again, in place,
  // when they changed. Any thread, while no other uses what it returned before; exec: how many work.
  const WeightTape& prepared(const CpuExec& exec = {});
  // Logits [N, V, L] of images [N, V, H, W, C]; after prepared(). Any thread.
  Var forward(Tape& tape, Var images) const { return root_->forward(tape, images); }

 private:
  ModelSettings settings_;
  ImageShape image_;
  int64_t labels_;
  Parameters parameters_;
  ModulePtr root_;
  WeightTape weights_;
  Tensor prepared_for_;  // the array of parameters that weights_ reads
  uint64_t prepared_version_ = 0;
  std::mutex preparing_;
};

}  // namespace pergrad
