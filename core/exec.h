// Where threads are known: loops over independent indices. What several of them share has a lock of its own.
// PG_HD marks functions that run on both devices. CpuExec runs a named functor over [0, n) with OpenMP,
// static schedule. No atomics in results: runs repeat bit for bit. The CUDA twin has the same verbs.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define PG_HD __host__ __device__
#else
#define PG_HD
#endif

// The same code for wider registers, chosen when the program starts; same operations, same bits (g++ only).
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(PG_SANITIZED) && !defined(__CUDACC__) && \
    !defined(__clang__)
#define PG_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PG_CLONES
#endif

#if defined(__FAST_MATH__)
#error "pergrad: fast-math makes isfinite(NaN) true and disarms the non-finite guard; build without it"
#endif

namespace pergrad {

#if !defined(__CUDACC__)
struct CpuExec {
  int threads = 1;  // to use; results never depend on it

  // f(i) for i in [0, n), in any order; f must not throw and writes only what belongs to i.
  template <class F>
  void for_each(int64_t n, const F& f) const {
    if (threads == 1) {
      for (int64_t i = 0; i < n; ++i) f(i);
      return;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; ++i) f(i);
  }
};
#endif

}  // namespace pergrad
