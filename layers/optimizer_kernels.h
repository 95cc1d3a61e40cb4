// One coordinate of each update rule (layers/optimizer.h), of the average (layers/ema.h), and of the search
// for numbers that are not finite. One text for both devices.
//
// IEEE +, -, *, / and sqrt, each rounded on its own: no contraction and nothing of libm but sqrt, so that a
// GPU and the processor give the same bits.
#pragma once

#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::kernels {

// std::max, NaN included (the first one is kept), which device code cannot call.
PG_HD inline float larger(float a, float b) { return a < b ? b : a; }

struct SgdStep {
  const float* g;
  float* w;
  float rate;
  PG_HD void operator()(int64_t i) const { w[i] -= rate * g[i]; }
};

struct MomentumStep {
  const float* g;
  float* b;
  float* w;
  float momentum, rate;
  PG_HD void operator()(int64_t i) const {
    b[i] = momentum * b[i] + g[i];
    w[i] -= rate * b[i];
  }
};

struct AdamStep {
  const float* g;
  float* m;
  float* v;
  float* w;
  float beta1, rest1;  // beta, 1 - beta
  float beta2, rest2;
  float unbias1, unbias2;  // 1 / (1 - beta^t)
  float epsilon, noise;    // noise: its variance, 0 for plain Adam
  float rate;
  PG_HD void operator()(int64_t i) const {
    m[i] = beta1 * m[i] + rest1 * g[i];
    v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);
    const float moment = v[i] * unbias2;
    const float denominator =
        noise > 0 ? larger(std::sqrt(larger(moment - noise, 0.0f)), epsilon) : std::sqrt(moment) + epsilon;
    w[i] -= rate * ((m[i] * unbias1) / denominator);
  }
};

struct EmaStep {
  const float* w;
  float* ema;
  double mu, rest;  // mu, 1 - mu
  PG_HD void operator()(int64_t i) const {
    ema[i] = static_cast<float>(mu * static_cast<double>(ema[i]) + rest * static_cast<double>(w[i]));
  }
};

// y[j] = 0 * (x[j] + x[j + sums] + ...), term by term: NaN exactly if one of them is not finite, else 0.
struct SumOfZeros {
  const float* x;
  int64_t n;
  float* y;
  int64_t sums;
  PG_HD void operator()(int64_t j) const {
    float sum = 0;
    for (int64_t i = j; i < n; i += sums) sum += 0.0f * x[i];
    y[j] = sum;
  }
};

}  // namespace pergrad::kernels
