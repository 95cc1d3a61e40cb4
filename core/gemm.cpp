// gemm on OpenBLAS, held to one thread: rows are shared out above, and a threaded BLAS inside a parallel
// loop costs more than it gives.
#include "core/gemm.h"

#include <cblas.h>

namespace pergrad {

template <class T>
void gemm(Transpose ta, Transpose tb, int64_t m, int64_t n, int64_t k, T alpha, const T* a, const T* b,
          T beta, T* c) {
  static const bool one_thread = (openblas_set_num_threads(1), true);
  (void)one_thread;
  const auto op = [](Transpose t) { return t == Transpose::yes ? CblasTrans : CblasNoTrans; };
  const auto i = [](int64_t v) { return static_cast<blasint>(v); };
  const blasint lda = i(ta == Transpose::yes ? m : k);
  const blasint ldb = i(tb == Transpose::yes ? k : n);
  if constexpr (sizeof(T) == sizeof(float))
    cblas_sgemm(CblasRowMajor, op(ta), op(tb), i(m), i(n), i(k), alpha, a, lda, b, ldb, beta, c, i(n));
  else
    cblas_dgemm(CblasRowMajor, op(ta), op(tb), i(m), i(n), i(k), alpha, a, lda, b, ldb, beta, c, i(n));
}

template void gemm(Transpose, Transpose, int64_t, int64_t, int64_t, float, const float*, const float*, float,
                   float*);
template void gemm(Transpose, Transpose, int64_t, int64_t, int64_t, double, const double*, const double*,
                   double, double*);

}  // namespace pergrad
