// RowMemory: memory for batches of rows whose number changes, for several threads at once.
#pragma once

#include "core/tensor.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace pergrad {

// Every buffer has room for as many rows as were ever asked for: whatever was given back serves the next.
class RowMemory {
 public:
  // [rows, row...], contents undefined; goes back with its last owner. Any thread.
  Tensor take(int64_t rows, Shape row, DType type) {
    int64_t most = most_rows_;
    while (most < rows && !most_rows_.compare_exchange_weak(most, rows)) {
    }
    row.insert(row.begin(), std::max(most, rows));
    return Tensor::empty(std::move(row), type, workspace_).rows(0, rows);
  }

 private:
  Workspace workspace_{{}, Workspace::Users::several_threads};
  std::atomic<int64_t> most_rows_ = 0;
};

}  // namespace pergrad
