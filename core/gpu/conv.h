// GpuConv: one convolution layer on a GPU. Forward and input gradient by the library, a fixed number of
// images a call; the per-example weight gradient three ways behind one contract.
//
// 1. No result of an example depends on the others or on how many there are: our kernels own one example a
//    block, library calls have one shape and one alignment. (That a library's result for an image depends on
//    neither its place in the call nor the other images is its own doing: GpuModelGradients tries it.)
// 2. The same shape gives the same bits at every run.
#pragma once

#include "core/conv.h"
#include "core/gpu/gpu.h"

#include <memory>
#include <vector>

namespace pergrad {

// What all convolutions of a model have in common.
struct GpuConvSettings {
  Precision precision = Precision::fp32;
  int64_t images_per_call = 1;  // of the library; a batch has a multiple of it

  // How weight gradients are made.
  enum class WeightGradient {
    automatic,     // tensor_cores where it can, else products
    plain,         // one thread a weight: the reference
    products,      // batched products of the library over shifted grids (TapGrid)
    tensor_cores,  // our own kernel; bf16, and the shapes listed in conv.cpp
  };
  WeightGradient weight_gradient = WeightGradient::automatic;
};

// N rows of gradients of one weight: row n begins at first + n * stride.
struct GradientRows {
  float* first = nullptr;
  int64_t stride = 0;
  bool accumulate = false;  // add to what is there, else overwrite
};

class GpuConv {
 public:
  // weights [K,K,C,O] f32 on the GPU: laid out for the library by update(), which the constructor calls.
  //   THROWS: Error for a shape that the precision cannot have (bf16: outputs in multiples of 8).
  GpuConv(const ConvShape& shape, const Tensor& weights, const GpuConvSettings& settings);
  ~GpuConv();
  const ConvShape& shape() const { return shape_; }
  // Reads the weights again. Queued.
  void update();

  // x [N,V,H,W,C] f32 or bf16 as the other calls want it: of the activation type, with Cp channels (bf16: C
  // rounded up to 8, the new ones 0). x itself where it is so already.
  Tensor input(const Tensor& x, Workspace& workspace) const;
  // y [N,V,out_h,out_w,O] of the activation type; x from input(); bias [O] f32.
  Tensor forward(const Tensor& x, const Tensor& bias, Workspace& workspace) const;
  // dx [N,V,H,W,C] of the type asked for.
  Tensor input_gradient(const Tensor& dy, DType type, Workspace& workspace) const;
  // Row n: the sum over the views and pixels of example n.   x from input().
  void weight_gradient(const Tensor& x, const Tensor& dy, const GradientRows& dw, Workspace& workspace) const;
  void bias_gradient(const Tensor& dy, const GradientRows& db) const;
  // The way that weight_gradient takes for V views.
  GpuConvSettings::WeightGradient way() const;

 private:
  bool has_tensor_core_kernel() const;
  // f(from, to, scratch) for each call of the library.
  template <class F>
  void each_call(const Tensor& from, const Tensor& to, Workspace& workspace, const F& f) const;
  template <class A>
  void products(const Tensor& x, const Tensor& dy, const GradientRows& dw, Workspace& workspace) const;
  void tensor_cores(const Tensor& x, const Tensor& dy, const GradientRows& dw, Workspace& workspace) const;

  ConvShape shape_;
  Tensor weights_;
  GpuConvSettings settings_;
  Gpu& gpu_;
  DType type_;
  int64_t padded_;  // Cp
  std::unique_ptr<LibraryConv> library_;
  Tensor packed_;  // [O,K,K,Cp]
};

}  // namespace pergrad
