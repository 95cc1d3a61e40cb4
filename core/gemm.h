// Matrix product of one thread (OpenBLAS), row major.
#pragma once

#include <cstdint>

namespace pergrad {

enum class Transpose { no, yes };

// c [m,n] = alpha * op(a) [m,k] * op(b) [k,n] + beta * c; all matrices dense, row major.
template <class T>
void gemm(Transpose ta, Transpose tb, int64_t m, int64_t n, int64_t k, T alpha, const T* a, const T* b,
          T beta, T* c);

}  // namespace pergrad
