// bf16: the upper half of a float. Activations and their gradients on a GPU; nothing is computed in it.
#pragma once

#include "core/exec.h"

#include <cstdint>
#include <cstring>

namespace pergrad {

struct bf16 {
  uint16_t bits;
};

PG_HD inline float to_float(float v) { return v; }
PG_HD inline float to_float(bf16 v) {
  const uint32_t word = static_cast<uint32_t>(v.bits) << 16;
  float out;
  memcpy(&out, &word, sizeof out);
  return out;
}

// Rounded to nearest, ties to even; a NaN stays one.
PG_HD inline bf16 to_bf16(float v) {
  uint32_t word;
  memcpy(&word, &v, sizeof word);
  if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((word >> 16) | 0x40u)};
  return {static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16)};
}

// from_float<T>(v): v as a T.
template <class T>
PG_HD inline T from_float(float v);
template <>
PG_HD inline float from_float<float>(float v) {
  return v;
}
template <>
PG_HD inline bf16 from_float<bf16>(float v) {
  return to_bf16(v);
}

// What a T is computed in: value_of(x), and back by stored<T>(v). Doubles stay doubles.
PG_HD inline double value_of(double v) { return v; }
PG_HD inline float value_of(float v) { return v; }
PG_HD inline float value_of(bf16 v) { return to_float(v); }
template <class T>
struct ValueOf {
  using type = T;
};
template <>
struct ValueOf<bf16> {
  using type = float;
};
template <class T>
PG_HD inline T stored(typename ValueOf<T>::type v) {
  if constexpr (sizeof(T) == 2)
    return to_bf16(v);
  else
    return v;
}

// So many numbers that a thread reads or writes at once: 16 bytes of activations.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T v[kCount];
};
template <class T>
constexpr int kPackSize = 16 / static_cast<int>(sizeof(T));

}  // namespace pergrad
