// Elementwise functors: element i of each array, nothing else. One text for both devices.
#pragma once

#include "core/bf16.h"
#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::kernels {

template <class T>
struct ReluForward {
  const T* x;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = value_of(x[i]) < 0 ? stored<T>(0) : x[i]; }
};

template <class T>
struct ReluBackward {
  const T* y;
  const T* dy;
  T* dx;
  PG_HD void operator()(int64_t i) const {
    const T g = dy[i];  // read in any case: a selection instead of a branch
    dx[i] = value_of(y[i]) > 0 ? g : stored<T>(0);
  }
};

template <class T>
struct TanhForward {
  const T* x;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = stored<T>(std::tanh(value_of(x[i]))); }
};

template <class T>
struct TanhBackward {
  const T* y;
  const T* dy;
  T* dx;
  PG_HD void operator()(int64_t i) const {
    dx[i] = stored<T>(value_of(dy[i]) * (1 - value_of(y[i]) * value_of(y[i])));
  }
};

template <class T>
struct Add {
  const T* a;
  const T* b;
  T* y;
  PG_HD void operator()(int64_t i) const { y[i] = stored<T>(value_of(a[i]) + value_of(b[i])); }
};

// The same, 16 bytes at a time: pack i.
template <class T>
struct AddPacks {
  const Pack<T, kPackSize<T>>* a;
  const Pack<T, kPackSize<T>>* b;
  Pack<T, kPackSize<T>>* y;
  PG_HD void operator()(int64_t i) const {
    const auto u = a[i], v = b[i];
    Pack<T, kPackSize<T>> sum;
    for (int j = 0; j < kPackSize<T>; ++j) sum.v[j] = stored<T>(value_of(u.v[j]) + value_of(v.v[j]));
    y[i] = sum;
  }
};

template <class T>
struct Fill {
  T* y;
  typename ValueOf<T>::type value;
  PG_HD void operator()(int64_t i) const { y[i] = stored<T>(value); }
};

}  // namespace pergrad::kernels
