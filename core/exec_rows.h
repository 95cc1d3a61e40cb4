// for_each_row: loops over rows of unequal cost, for the floors that make rows.
#pragma once

#include "core/exec.h"

#include <omp.h>

#include <atomic>
#include <exception>

namespace pergrad {

// f(i) for i in [0, n), handed out one at a time; on the calling thread alone where others are at work
// already. An exception in f stops the hand-out and is thrown again here.
template <class F>
void for_each_row(const CpuExec& exec, int64_t n, const F& f) {
  if (exec.threads == 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  std::exception_ptr failure;
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(exec.threads)
  for (int64_t i = 0; i < n; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      f(i);
    } catch (...) {
      failed = true;
#pragma omp critical(pergrad_exec_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace pergrad
