// Model: from settings to modules, and the weights that a step derives.
#include "layers/models.h"

#include "layers/sequential_net.h"
#include "layers/wide_resnet.h"

namespace pergrad {

Model::Model(const ModelSettings& settings, ImageShape image, int64_t labels, Device device,
             const GpuConvSettings& conv)
    : settings_(settings), image_(image), labels_(labels), weights_(device, conv) {
  PG_CHECK(image.height > 0 && image.width > 0 && image.channels > 0 && labels >= 2, "model: images ",
           image.height, "x", image.width, "x", image.channels, " with ", labels, " labels");
  if (settings.name == "wide_resnet") {
    root_ = wide_resnet(parameters_, settings, image, labels);
  } else {
    ModelSettings list = settings;
    if (settings.name == "small_cnn") {
      list.layers = small_cnn_layers();
    } else if (settings.name == "linear") {
      list.layers = {"classifier"};
    } else {
      PG_CHECK(settings.name == "sequential", "model.name: got \"", settings.name,
               "\", wanted wide_resnet, small_cnn, linear or sequential");
    }
    root_ = sequential_net(parameters_, list, image, labels);
  }
}

std::string Model::title() const {
  if (settings_.name == "wide_resnet") return concat("wide_resnet-", settings_.depth, '-', settings_.width);
  return settings_.name;
}

const WeightTape& Model::prepared(const CpuExec& exec) {
  const std::lock_guard alone(preparing_);
  if (prepared_version_ == parameters_.version()) return weights_;
  if (prepared_for_.defined() && prepared_for_.device_bytes() == parameters_.flat().device_bytes()) {
    weights_.refresh(exec);
  } else {
    weights_.clear();
    root_->prepare(weights_);
    prepared_for_ = parameters_.flat();
  }
  prepared_version_ = parameters_.version();
  return weights_;
}

}  // namespace pergrad
