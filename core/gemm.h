// Matrix product of one thread (OpenBLAS), row major.
#pragma once

#include <cstdint>

namespace pergrad {

enum class Transpose { no, yes };

// That so many threads may call gemm at once: each takes a work space that OpenBLAS keeps, and where there is
// no room for it OpenBLAS (0.3.21, blas_memory_alloc) tries again for ever.   THROWS: Error if there is none.
void require_room_for_gemm(int threads);

// c [m,n] = alpha * op(a) [m,k] * op(b) [k,n] + beta * c; all matrices dense, row major.
template <class T>
void gemm(Transpose ta, Transpose tb, int64_t m, int64_t n, int64_t k, T alpha, const T* a, const T* b,
          T beta, T* c);

}  // namespace pergrad
