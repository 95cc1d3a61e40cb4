// Convolution of one image, channels last: the contract, its naive reference and its fast kernels.
//
// 1. Every function works on one image and one thread: a result depends on that image and the weights
//    alone.
// 2. The order of additions in each output is fixed by the shape, so results depend on neither threads nor
//    the batch.
// 3. The reference (namespace conv_reference) is five nested loops in any type. The fast kernels exist for
//    float where the channel count that is written is a multiple of 16, in three builds of one source
//    (core/isa/), chosen at run time; elsewhere the reference runs. Two ways: direct (any kernel and stride),
//    and Winograd's F(2x2, 3x3) for 3x3 kernels at stride 1 between multiples of 16 channels, which takes 16
//    products where the direct way takes 36.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

namespace pergrad {

// Images [H, W, C], kernel [K, K, C, O], output [out_h, out_w, O]; `pad` zero pixels on all four sides.
struct ConvShape {
  int64_t height = 0;    // H
  int64_t width = 0;     // W
  int64_t channels = 0;  // C, input
  int64_t outputs = 0;   // O
  int64_t kernel = 1;    // K
  int64_t stride = 1;
  int64_t pad = 0;

  int64_t out_h() const { return (height + 2 * pad - kernel) / stride + 1; }
  int64_t out_w() const { return (width + 2 * pad - kernel) / stride + 1; }
  int64_t input_size() const { return height * width * channels; }
  int64_t output_size() const { return out_h() * out_w() * outputs; }
  int64_t weight_size() const { return kernel * kernel * channels * outputs; }
  // Multiply-adds of the forward pass, taps in the padding included.
  int64_t multiply_adds() const { return out_h() * out_w() * weight_size(); }
  bool operator==(const ConvShape&) const = default;
  // THROWS: Error naming `op` if an extent is not positive or the kernel does not fit.
  void check(const std::string& op) const;
};

// The plain loops: what the fast kernels are tested against.
namespace conv_reference {
// y = conv(x, w).
template <class T>
void forward(const ConvShape& s, const T* x, const T* w, T* y);
// dx = gradient of <y, dy> by x (overwrites).
template <class T>
void input_gradient(const ConvShape& s, const T* dy, const T* w, T* dx);
// dw += gradient of <y, dy> by w (accumulates: views of one example share dw).
template <class T>
void weight_gradient(const ConvShape& s, const T* x, const T* dy, T* dw);
}  // namespace conv_reference

// How a convolution runs; `automatic` is Winograd's way where it exists.
enum class ConvAlgorithm { automatic, direct };

// The weights of one convolution, laid out for the kernels once per step; read by all threads.
class ConvWeights {
 public:
  // w [K, K, C, O].  `wants_input_gradient`: also lay out what input_gradient() needs.
  ConvWeights(const ConvShape& shape, const Tensor& w, bool wants_input_gradient,
              ConvAlgorithm algorithm = ConvAlgorithm::automatic);
  ~ConvWeights();
  const ConvShape& shape() const;
  // w has new values: lays them out again. No other thread may read meanwhile.
  void update();

  // Images as forward() and weight_gradient() read them: x itself, or where the direct kernels want a border
  // of zeros a copy with one.   x [..., H, W, C]; result [..., H', W', C], in_size() numbers an image.
  Tensor input(const Tensor& x, Workspace& workspace) const;
  int64_t in_size() const;

  // As in conv_reference, of one image; `in` is an image of input(), y, dy, dx, dw have the dtype of w;
  // scratch memory from the workspace. bias [O] is added to every pixel of y; null: nothing is. accumulate:
  // dw += rather than dw =.
  template <class T>
  void forward(const T* in, const std::type_identity_t<T>* bias, T* y, Workspace& workspace) const;
  template <class T>
  void input_gradient(const T* dy, T* dx, Workspace& workspace) const;
  template <class T>
  void weight_gradient(const T* in, const T* dy, T* dw, bool accumulate, Workspace& workspace) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pergrad
