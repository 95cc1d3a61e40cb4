// Wide residual networks as De et al. 2022 train them.
#pragma once

#include "layers/models.h"
#include "layers/modules.h"

namespace pergrad {

// WRN-depth-width: a 16-channel stem, three stages of (depth - 4) / 6 blocks with 16, 32, 64 times `width`
// channels and strides 1, 2, 2, then ReLU, group norm, mean over the image, linear.
//   A block is (ReLU, group norm, 3x3 convolution) twice; the first of each stage has a shortcut of its own
//   ReLU, group norm and 1x1 convolution. Activation comes before the norm: the published order. Parameters:
//   2,753,818 for WRN-16-4 and 8,961,306 for WRN-40-4 (10 labels, 3 channels, standardized weights). Stride-2
//   3x3 convolutions pad one pixel on every side (PyTorch, TAN), not 0 and 1 as JAX's SAME. Source: De et al.
//   2022, appendix C; jax_privacy v1.0 models/cifar.py.
ModulePtr wide_resnet(Parameters& parameters, const ModelSettings& settings, ImageShape image,
                      int64_t labels);

}  // namespace pergrad
