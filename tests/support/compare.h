// Comparing tensors: bit for bit, by normalised error, by relative error.
#pragma once

#include "core/philox.h"
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

namespace pergrad::test {

inline size_t byte_size(const Tensor& t) { return static_cast<size_t>(t.size()) * size_of(t.dtype()); }
inline const void* bytes_of(const Tensor& t) {
  return dispatch(t.dtype(), [&]<class T>() { return static_cast<const void*>(t.data<T>()); });
}
// Same shape, type and bits (NaN equals the same NaN).
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(bytes_of(a), bytes_of(b), byte_size(a)) == 0;
}
// Row n of one and row m of the other.
inline bool same_row(const Tensor& a, int64_t n, const Tensor& b, int64_t m) {
  return same_bits(a.rows(n, n + 1), b.rows(m, m + 1));
}

// ||a - reference|| / ||reference||; of two zeros: 0.
inline double normalised_error(const Tensor& a, const Tensor& reference) {
  const Tensor x = a.to(DType::f64), y = reference.to(DType::f64);
  double error = 0, norm = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const double d = x.data<double>()[i] - y.data<double>()[i];
    error += d * d;
    norm += y.data<double>()[i] * y.data<double>()[i];
  }
  return error == 0 ? 0 : std::sqrt(error / norm);
}

// Largest |a - reference| / max(|reference|, rms of reference) over n numbers.
inline double worst_error(const double* a, const double* reference, int64_t n) {
  double squares = 0, worst = 0;
  for (int64_t i = 0; i < n; ++i) squares += reference[i] * reference[i];
  const double rms = std::sqrt(squares / static_cast<double>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double d = std::abs(a[i] - reference[i]) / std::max({std::abs(reference[i]), rms, 1e-300});
    worst = d <= worst ? worst : d;  // NaN stays
  }
  return worst;
}

// Normal numbers of this deviation, each exactly a float, so that both types can hold the same values.
inline Tensor random_tensor(Shape shape, DType type, uint64_t seed, double deviation = 1.0) {
  Tensor t = Tensor::empty(std::move(shape), type);
  PhiloxStream random(seed, 0);
  dispatch(type, [&]<class T>() {
    for (T& v : t.values<T>()) v = static_cast<T>(static_cast<float>(deviation * random.normal()));
  });
  return t;
}

// These rows of a tensor, in this order, in memory of their own.
inline Tensor pick_rows(const Tensor& all, const std::vector<int64_t>& rows) {
  Shape shape = all.shape();
  shape[0] = static_cast<int64_t>(rows.size());
  Tensor some = Tensor::empty(shape, all.dtype());
  for (size_t i = 0; i < rows.size(); ++i)
    some.rows(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1).assign(all.rows(rows[i], rows[i] + 1));
  return some;
}

// The message of the exception that f throws; fails the test if it throws none.
template <class Exception = Error, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Exception& e) {
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace pergrad::test
