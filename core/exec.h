// Where threads are known: loops over independent indices. Everything else is written as if there were one
// thread.
//
// PG_HD marks functions that run on both devices. CpuExec runs a named functor over [0, n) with OpenMP,
// static schedule. No atomics in results: runs repeat bit for bit. The CUDA twin has the same verbs.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

#if !defined(__CUDACC__)
#include <omp.h>
#endif

#if defined(__CUDACC__)
#define PG_HD __host__ __device__
#else
#define PG_HD
#endif

#if defined(__FAST_MATH__)
#error "pergrad: fast-math makes isfinite(NaN) true and disarms the non-finite guard; build without it"
#endif

namespace pergrad {

#if !defined(__CUDACC__)
struct CpuExec {
  // Threads to use; results never depend on it.
  int threads = 1;

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

  // f(i, thread) for i in [0, n), handed out one at a time (rows of unequal cost); thread in [0, threads).
  // An exception in f stops the hand-out and is thrown again here.
  template <class F>
  void for_each_row(int64_t n, const F& f) const {
    std::exception_ptr failure;
    std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        f(i, omp_get_thread_num());
      } catch (...) {
        failed = true;
#pragma omp critical(pergrad_exec_failure)
        if (!failure) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
  }
};
#endif

}  // namespace pergrad
