// The ops: each computes its value, records its node, and documents what it reads. Forward and backward of
// one op stand in one file. Activations are [N, V, ...]; weights have no example axis, their gradients do.
//
// On a GPU activations are of Tape::activations() (float or bf16) after a convolution, and float after
// mean_pool and linear; weights, statistics, weight gradients and losses are float.
#pragma once

#include "autograd/tape.h"
#include "core/conv.h"

#include <memory>

namespace pergrad {

// weight_standardize(w, gain): w' = gain * (w - mean) / sqrt(max(var * F, 1e-4)), per output channel.
//   w [..., O] weight with fan-in F = size / O; gain [O] weight; returns a weight like w.
//   Saves: w', 1 / sqrt(...) and whether the floor was hit.
//   Rows: touches no example; its backward maps row n of the slot of w' to row n of those of w and gain.
//   Cost: 2 passes over w per step, 2 over its gradient per example.
//   Source: De et al. 2022, appendix; Qiao et al. 2019. The floor 1e-4 is a maximum, not a summand.
WeightVar weight_standardize(WeightTape& tape, WeightVar w, WeightVar gain);

// What conv2d needs of its weights, laid out once per step.
struct ConvKernel {
  WeightVar w;  // [K, K, C, O]
  ConvShape shape;
  std::shared_ptr<const ConvWeights> prepared;  // the values of w in the layout of the kernels
  std::shared_ptr<const GpuConv> on_gpu;        // or on a GPU
};
// conv_kernel(w, shape, wants_input_gradient): lays out the weights w [K,K,C,O] for images of this shape.
ConvKernel conv_kernel(WeightTape& tape, WeightVar w, const ConvShape& shape, bool wants_input_gradient);

// conv2d(x, kernel, bias): convolution with zero padding.
//   x [N,V,H,W,C]; kernel [K,K,C,O]; bias [O]; returns [N,V,out_h,out_w,O].
//   Saves: x as the kernels read it (the direct ones on the processor: a copy with its border of zeros).
//   Rows: each image alone; the weight gradient of row n adds over its V views and their pixels.
//   THROWS: Error on shapes.   Cost: K*K*C*O multiply-adds a pixel, three times.
Var conv2d(Tape& tape, Var x, const ConvKernel& kernel, WeightVar bias);

// The weights [C, L] of linear: as they are, or with what its kernels want of them laid out once per step.
struct LinearKernel {
  WeightVar w;
  Tensor transposed;  // [L, C]; undefined where it would not be used
  LinearKernel() = default;
  LinearKernel(WeightVar as_they_are) : w(as_they_are) {}
};
LinearKernel linear_kernel(WeightTape& tape, WeightVar w);

// linear(x, kernel, bias): y = x w + bias.
//   x [N,V,...] with C numbers a view; w [C,L]; bias [L]; returns [N,V,L].   Saves: x.   Rows: view by view.
Var linear(Tape& tape, Var x, const LinearKernel& kernel, WeightVar bias);

// group_norm(x, gamma, beta, groups): normalises each image over (H, W, C/groups), then scales and shifts.
//   x [N,V,H,W,C]; gamma, beta [C]; returns the same shape.   Saves: x, and mean, rstd [N,V,groups] in
//   double. REQUIRES: C % groups == 0.   Rows: reads image (n,v) only.   Cost: 3 passes forward, 2 back.
//   Source: Wu and He 2018, eq. 1; biased variance, eps 1e-5 inside the root.
Var group_norm(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups);

// relu_group_norm(x, ...) = group_norm(relu(x), ...) in one pass; its way back also adds the gradient that x
// has from elsewhere (the other branch of a residual block).   Saves: x, not relu(x).
Var relu_group_norm(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups);

// group_norm_relu(x, ...) = relu(group_norm(x, ...)); on the processor in one pass, whose way back finds anew
// where the ReLU was positive.   Saves: as group_norm; on a GPU also y.   Rows, cost: as group_norm.
Var group_norm_relu(Tape& tape, Var x, WeightVar gamma, WeightVar beta, int64_t groups);
using GroupNormOp = Var(Tape&, Var, WeightVar, WeightVar, int64_t);  // one of the three

// relu(x) = max(x, 0); NaN stays NaN.   Saves: y.   Domain: the derivative at 0 is taken as 0.
Var relu(Tape& tape, Var x);
// tanh(x).   Saves: y.
Var tanh(Tape& tape, Var x);
// add(a, b): shapes equal.   Saves: nothing.
Var add(Tape& tape, Var a, Var b);

// mean_pool(x): mean over (H, W), in double.   x [N,V,H,W,C]; returns [N,V,C].   Saves: the shape.
Var mean_pool(Tape& tape, Var x);
// average_pool(x, size, stride) and max_pool: windows of size x size without padding.
//   x [N,V,H,W,C]; returns [N,V,(H-size)/stride+1,...,C].   max_pool saves which pixel won (the first of
//   equals). Domain: max_pool is differentiable where the maximum of each window is unique.
Var average_pool(Tape& tape, Var x, int64_t size, int64_t stride);
Var max_pool(Tape& tape, Var x, int64_t size, int64_t stride);

// soft_cross_entropy(logits, targets, weights): loss[n] = -sum_v weights[n,v] sum_l targets[n,v,l] log
// p[n,v,l].
//   logits [N,V,L]; targets [N,V,L], rows of which sum to 1; weights [N,V]; returns [N].
//   Saves: p - targets.   Rows: the views of row n, whose mean this is, so that their gradient is the mean
//   too. Source: De et al. 2022, section 3.2 (augmentation multiplicity: average inside the example, then
//   clip).
Var soft_cross_entropy(Tape& tape, Var logits, const Tensor& targets, const Tensor& weights);

}  // namespace pergrad
