// Models written as a list of layers, one short line each; the small net of the demo is one.
#pragma once

#include "layers/models.h"

namespace pergrad {

// Layers, in order, ending in "classifier":
//   "conv O kK sS pP"          convolution to O channels, kernel K, stride S (1), zero padding P (0)
//   "group_norm G"             G groups
//   "relu" | "tanh"
//   "max_pool K sS" | "average_pool K sS"   windows K x K, stride S (K)
//   "mean_pool"                mean over the image
//   "linear O"                 fully connected to O numbers
//   "classifier"               fully connected to the labels, weights 0 at the start
//   THROWS: Error naming the line that is not one of these or does not fit.
ModulePtr sequential_net(Parameters& parameters, const ModelSettings& settings, ImageShape image,
                         int64_t labels);

// The layers of "small_cnn": chosen for Fashion-MNIST at epsilon 3 (configs/fashion_mnist_dpmix.toml says
// why).
std::vector<std::string> small_cnn_layers();

}  // namespace pergrad
