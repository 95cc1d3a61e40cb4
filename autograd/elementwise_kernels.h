// Elementwise functors: element i of each array, nothing else. One text for both devices.
#pragma once

#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::kernels {

template <class T>
struct ReluForward {
  const T* x;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = x[i] < T{0} ? T{0} : x[i]; }
};

template <class T>
struct ReluBackward {
  const T* y;
  const T* dy;
  T* dx;
  PG_HD void operator()(int64_t i) const {
    const T g = dy[i];  // read in any case: a selection instead of a branch
    dx[i] = y[i] > T{0} ? g : T{0};
  }
};

template <class T>
struct TanhForward {
  const T* x;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = std::tanh(x[i]); }
};

template <class T>
struct TanhBackward {
  const T* y;
  const T* dy;
  T* dx;
  PG_HD void operator()(int64_t i) const { dx[i] = dy[i] * (T{1} - y[i] * y[i]); }
};

template <class T>
struct Add {
  const T* a;
  const T* b;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = a[i] + b[i]; }
};

}  // namespace pergrad::kernels
