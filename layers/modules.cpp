// Conv, GroupNormLayer, LinearLayer.
#include "layers/modules.h"

#include <cmath>

namespace pergrad {

Conv::Conv(Parameters& parameters, const std::string& name, ImageShape& shape, int64_t outputs,
           ConvOptions options)
    : parameters_(parameters),
      shape_{shape.height, shape.width, shape.channels, outputs, options.kernel, options.stride, options.pad},
      options_(options) {
  shape_.check(name);
  const int64_t fan_in = options.kernel * options.kernel * shape.channels;
  weight_ = parameters.declare(name + ".weight", {options.kernel, options.kernel, shape.channels, outputs},
                               Init::normal(1.0 / std::sqrt(static_cast<double>(fan_in))), Kind::conv);
  bias_ = parameters.declare(name + ".bias", {outputs}, Init::constant(0));
  if (options.weight_standardization)
    gain_ = parameters.declare(name + ".gain", {outputs}, Init::constant(1));
  shape = {shape_.out_h(), shape_.out_w(), outputs};
}

void Conv::prepare(WeightTape& weights) {
  WeightVar w = weights.leaf(parameters_.value(weight_), parameters_.column(weight_));
  bias_var_ = weights.leaf(parameters_.value(bias_), parameters_.column(bias_));
  if (options_.weight_standardization)
    w = weight_standardize(weights, w, weights.leaf(parameters_.value(gain_), parameters_.column(gain_)));
  kernel_ = conv_kernel(weights, w, shape_, options_.input_gradient);
}

GroupNormLayer::GroupNormLayer(Parameters& parameters, const std::string& name, int64_t channels,
                               int64_t groups, GroupNormOp* op)
    : parameters_(parameters), groups_(groups), op_(op) {
  PG_CHECK(groups > 0 && channels % groups == 0, name, ": groups: ", groups, " do not divide ", channels,
           " channels");
  scale_ = parameters.declare(name + ".weight", {channels}, Init::constant(1));
  shift_ = parameters.declare(name + ".bias", {channels}, Init::constant(0));
}

void GroupNormLayer::prepare(WeightTape& weights) {
  scale_var_ = weights.leaf(parameters_.value(scale_), parameters_.column(scale_));
  shift_var_ = weights.leaf(parameters_.value(shift_), parameters_.column(shift_));
}

LinearLayer::LinearLayer(Parameters& parameters, const std::string& name, int64_t inputs, int64_t outputs,
                         Init init)
    : parameters_(parameters) {
  weight_ = parameters.declare(name + ".weight", {inputs, outputs}, init, Kind::linear);
  bias_ = parameters.declare(name + ".bias", {outputs}, Init::constant(0));
}

void LinearLayer::prepare(WeightTape& weights) {
  kernel_ = linear_kernel(weights, weights.leaf(parameters_.value(weight_), parameters_.column(weight_)));
  bias_var_ = weights.leaf(parameters_.value(bias_), parameters_.column(bias_));
}

}  // namespace pergrad
