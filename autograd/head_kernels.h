// The end of a network: pooling, the linear layer and the loss. A: type of activations.
//
// The loss is one text for both devices. Pooling and linear have loops of their own on the processor (lines
// of memory there, one thread a number here).
#pragma once

#include "core/bf16.h"
#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::kernels {

// ---------------------------------------------------------------- pooling

// y [images, C] f32: mean over the pixels of x [images, pixels, C]; number i.
template <class A>
struct MeanPoolForward {
  const A* x;
  float* y;
  int64_t pixels, channels;
  PG_HD void operator()(int64_t i) const {
    const A* from = x + i / channels * pixels * channels + i % channels;
    float sum = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += to_float(from[p * channels]);
    y[i] = sum / static_cast<float>(pixels);
  }
};
template <class A>
struct MeanPoolBackward {
  const float* dy;
  A* dx;
  int64_t pixels, channels;
  PG_HD void operator()(int64_t i) const {
    const int64_t image = i / (pixels * channels);
    dx[i] = from_float<A>(dy[image * channels + i % channels] / static_cast<float>(pixels));
  }
};

// Windows of `size` pixels, `stride` apart, without padding.
struct PoolShape {
  int64_t height, width, channels, size, stride, out_h, out_w;
};

// Number i of y [images, out_h, out_w, C]; with `winner` the maximum and which pixel of the image it was (the
// first of equals; NaN wins and stays NaN), else the mean.
template <class A>
struct WindowPoolForward {
  PoolShape s;
  const A* x;
  A* y;
  int32_t* winner;
  PG_HD void operator()(int64_t i) const {
    const int64_t c = i % s.channels, ox = i / s.channels % s.out_w,
                  oy = i / (s.channels * s.out_w) % s.out_h;
    const A* in = x + i / (s.channels * s.out_w * s.out_h) * s.height * s.width * s.channels + c;
    float sum = 0, best = 0;
    int64_t who = -1;
    for (int64_t r = 0; r < s.size; ++r)
      for (int64_t q = 0; q < s.size; ++q) {
        const int64_t pixel = (oy * s.stride + r) * s.width + ox * s.stride + q;
        const float v = to_float(in[pixel * s.channels]);
        sum += v;
        if (who < 0 || v > best || v != v) best = v, who = pixel;
      }
    if (winner) winner[i] = static_cast<int32_t>(who);
    y[i] = from_float<A>(winner ? best : sum / static_cast<float>(s.size * s.size));
  }
};
// Number i of dx: from the windows that hold this pixel.
template <class A>
struct WindowPoolBackward {
  PoolShape s;
  const A* dy;
  const int32_t* winner;
  A* dx;
  PG_HD void operator()(int64_t i) const {
    const int64_t c = i % s.channels, x = i / s.channels % s.width, y = i / (s.channels * s.width) % s.height;
    const int64_t first = i / (s.channels * s.width * s.height) * s.out_h * s.out_w;
    const float share = winner ? 1.0f : 1.0f / static_cast<float>(s.size * s.size);
    float sum = 0;
    const int64_t oy0 = y < s.size ? 0 : (y - s.size) / s.stride + 1;
    const int64_t ox0 = x < s.size ? 0 : (x - s.size) / s.stride + 1;
    for (int64_t oy = oy0; oy < s.out_h && oy * s.stride <= y; ++oy)
      for (int64_t ox = ox0; ox < s.out_w && ox * s.stride <= x; ++ox) {
        const int64_t at = (first + oy * s.out_w + ox) * s.channels + c;
        if (!winner || winner[at] == y * s.width + x) sum += share * to_float(dy[at]);
      }
    dx[i] = from_float<A>(sum);
  }
};

// ---------------------------------------------------------------- linear

// y [images, L] f32 = x [images, C] w [C, L] + bias; number i.
template <class A>
struct LinearForward {
  const A* x;
  const float* w;
  const float* bias;
  float* y;
  int64_t features, labels;
  PG_HD void operator()(int64_t i) const {
    const A* row = x + i / labels * features;
    float sum = bias[i % labels];
    for (int64_t c = 0; c < features; ++c) sum += to_float(row[c]) * w[c * labels + i % labels];
    y[i] = sum;
  }
};
template <class A>
struct LinearInputGradient {
  const float* dy;
  const float* w;
  A* dx;
  int64_t features, labels;
  PG_HD void operator()(int64_t i) const {
    const float* g = dy + i / features * labels;
    const float* weights = w + i % features * labels;
    float sum = 0;
    for (int64_t l = 0; l < labels; ++l) sum += g[l] * weights[l];
    dx[i] = from_float<A>(sum);
  }
};
// Number i of all rows of dw [C, L], then of db [L]: sums over the V views of one example.
template <class A>
struct LinearWeightGradient {
  const A* x;       // [N, V, C]
  const float* dy;  // [N, V, L]
  int64_t views, features, labels;
  float* dw;
  float* db;
  int64_t dw_stride, db_stride;
  bool add_dw, add_db;
  PG_HD void operator()(int64_t i) const {
    const int64_t all = (features + 1) * labels, n = i / all, at = i % all, c = at / labels, l = at % labels;
    float sum = 0;
    for (int64_t v = n * views; v < (n + 1) * views; ++v)
      sum += c < features ? to_float(x[v * features + c]) * dy[v * labels + l] : dy[v * labels + l];
    float& out = c < features ? dw[n * dw_stride + at] : db[n * db_stride + l];
    const bool add = c < features ? add_dw : add_db;
    out = add ? out + sum : sum;
  }
};

// ---------------------------------------------------------------- soft cross-entropy

// View i = (n, v): residual[l] = weight (p[l] - target[l]), and what the view adds to the loss, in double.
template <class T>
struct CrossEntropyView {
  const T* logits;   // [N, V, L]
  const T* targets;  // [N, V, L]
  const T* weights;  // [N, V]
  T* residual;       // [N, V, L]
  double* losses;    // [N, V]
  int64_t labels;
  PG_HD void operator()(int64_t i) const {
    const T* logit = logits + i * labels;
    const T* target = targets + i * labels;
    const double weight = weights[i];
    double top = logit[0];
    for (int64_t l = 1; l < labels; ++l) top = logit[l] > top ? static_cast<double>(logit[l]) : top;
    double sum = 0;
    for (int64_t l = 0; l < labels; ++l) sum += std::exp(logit[l] - top);
    const double log_sum = top + std::log(sum);
    double loss = 0;
    for (int64_t l = 0; l < labels; ++l) {
      loss -= weight * target[l] * (logit[l] - log_sum);
      residual[i * labels + l] = static_cast<T>(weight * (std::exp(logit[l] - log_sum) - target[l]));
    }
    losses[i] = loss;
  }
};
// losses[n] = sum over the views of example n.
template <class T>
struct SumOfViewLosses {
  const double* views_losses;
  T* losses;
  int64_t views;
  PG_HD void operator()(int64_t n) const {
    double sum = 0;
    for (int64_t v = 0; v < views; ++v) sum += views_losses[n * views + v];
    losses[n] = static_cast<T>(sum);
  }
};
// residual[i] *= dy[row of i].
template <class T>
struct ScaleRows {
  T* residual;
  const T* dy;
  int64_t row;
  PG_HD void operator()(int64_t i) const { residual[i] *= dy[i / row]; }
};

}  // namespace pergrad::kernels
