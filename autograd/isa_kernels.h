// What the ops and the three builds of autograd/isa say to each other: group norm, weight standardization
// and the weights of a classifier in float, vectors at a time. Plain pointers and numbers only: code compiled
// for a newer processor must not leak inline functions into the rest. What they are tested against:
// group_norm_kernels.h, and double.
#pragma once

#include <cstdint>

namespace pergrad {

constexpr int64_t kIsaChannels = 16;                // these kernels take multiples of it,
constexpr int64_t kIsaMaxChannels = 1024;           // up to this
constexpr int64_t kNormRun = 64;                    // pixels whose sum is in float
constexpr int64_t kIsaLabels = 16, kIsaViews = 16;  // of a classifier, at most

// Where a ReLU stands that group norm does in passing: nowhere, before it (on x) or after it (on y).
enum class NormRelu { none, before, after };

// One image [pixels, channels]; sums are in float along a run of kNormRun pixels, in double over runs.
struct NormImage {
  int64_t pixels, channels, groups;
  NormRelu relu;
  double epsilon;
};

struct IsaKernels {
  // As kernels::group_norm.   mean, rstd [groups].
  void (*group_norm)(const NormImage& image, const float* x, const float* gamma, const float* beta, float* y,
                     double* mean, double* rstd);
  // As kernels::group_norm_backward: dx = the gradient by x + more; dgamma, dbeta +=.
  //   more: may be null, or dx itself. dx: may be null.
  void (*group_norm_backward)(const NormImage& image, const float* x, const float* dy, const float* more,
                              const float* gamma, const float* beta, const double* mean, const double* rstd,
                              float* dx, float* dgamma, float* dbeta);
  // g [F, O] and u [F, O]: sum[o] = sum over F of g, dot[o] = of g u.
  void (*column_sums)(const float* g, const float* u, int64_t fan_in, int64_t outputs, double* sum,
                      double* dot);
  // sum [columns] += the rows of g [rows, columns].
  void (*add_columns)(const float* g, int64_t rows, int64_t columns, float* sum);
  // y [views, labels] = x w + bias;  x [views, features], transposed_w [labels, features].
  void (*classify)(const float* x, const float* transposed_w, const float* bias, int64_t views,
                   int64_t features, int64_t labels, float* y);
  // dw [features, labels] = sum over views of x[v]^T g[v];  x [views, features], g [views, labels].
  //   REQUIRES: labels <= kIsaLabels, views <= kIsaViews.
  void (*outer_products)(const float* x, const float* g, int64_t views, int64_t features, int64_t labels,
                         float* dw);
  // dx [views, features] = g transposed_w;  g [views, labels], transposed_w [labels, features].
  void (*classify_backward)(const float* g, const float* transposed_w, int64_t views, int64_t features,
                            int64_t labels, float* dx);
  // g = factor[o] (g - mean[o] - u along[o]), in place.
  void (*project)(float* g, const float* u, int64_t fan_in, int64_t outputs, const float* factor,
                  const float* mean, const float* along);
};

// The build for this processor.
const IsaKernels& isa_kernels();

const IsaKernels& isa_kernels_baseline();
const IsaKernels& isa_kernels_x86_64_v3();
const IsaKernels& isa_kernels_x86_64_v4();

}  // namespace pergrad
