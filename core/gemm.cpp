// gemm on OpenBLAS, held to one thread: rows are shared out above, and a threaded BLAS inside a parallel
// loop costs more than it gives.
#include "core/gemm.h"

#include "core/error.h"

#include <cblas.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <vector>

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

void require_room_for_gemm(int threads) {
  constexpr size_t kWorkSpace =
      (size_t{128} << 20) + (size_t{1} << 16);  // of one thread (measured: 134225920)
  constexpr int kEnough = 64;                   // so many find room elsewhere, too
  const size_t bytes = kWorkSpace * static_cast<size_t>(std::clamp(threads, 1, kEnough));
  void* room =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PG_CHECK(room != MAP_FAILED, "out of memory: matrix products of ", threads, " threads need ", bytes >> 20,
           " MiB of address space; speed.threads = 1 needs least");
  ::munmap(room, bytes);
  // This thread takes its own at once, before memory is used up by others; products too small need none.
  constexpr int64_t kSide = 256;
  std::vector<float> a(kSide * kSide), b(kSide * kSide);
  gemm(Transpose::no, Transpose::no, kSide, kSide, kSide, 1.0f, a.data(), a.data(), 0.0f, b.data());
}

template void gemm(Transpose, Transpose, int64_t, int64_t, int64_t, float, const float*, const float*, float,
                   float*);
template void gemm(Transpose, Transpose, int64_t, int64_t, int64_t, double, const double*, const double*,
                   double, double*);

}  // namespace pergrad
