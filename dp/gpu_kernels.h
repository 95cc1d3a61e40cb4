// The kernels of clip_and_sum on a GPU: the arithmetic of clip_kernels.h, number by number in the same order,
// so that the proof there holds here, and the sum has the processor's bits.
//
// No atomics: every number has one writer. The order of every sum is fixed by P alone: neither the number of
// rows in a slab nor their place in it can change a bit of what a row adds.
#pragma once

#include "core/gpu/block.h"
#include "dp/clip_kernels.h"

#include <cstddef>
#include <cstdint>

namespace pergrad::dp {

// squares[n, b] = sum_of_squares of block b of row n: its 16 partial sums by a thread each, which 16
// neighbouring columns keep busy; then those 16 in their order.
struct RowSquares {
  static constexpr int kLanes = 16;        // of sum_of_squares
  static constexpr int kColumnBlocks = 8;  // that a block of threads does
  static constexpr int kThreads = kLanes * kColumnBlocks;
  size_t shared_bytes() const { return kThreads * sizeof(double); }
  const float* slab;  // [N, parameters]
  int64_t parameters;
  int64_t blocks;   // of columns: ceil(parameters / kClipBlock)
  double* squares;  // [N, blocks]

  PG_HD int64_t groups() const { return (blocks + kColumnBlocks - 1) / kColumnBlocks; }  // for each row
  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread(), lane = t % kLanes;
    const int64_t n = block.index() / groups();
    const int64_t b = block.index() % groups() * kColumnBlocks + t / kLanes;
    const int64_t end = (b + 1) * kClipBlock < parameters ? (b + 1) * kClipBlock : parameters;
    double partial = 0;
    for (int64_t i = b * kClipBlock + lane; i < end; i += kLanes) {
      const double g = slab[n * parameters + i];
      partial += g * g;
    }
    double* shared = block.template shared<double>();
    shared[t] = partial;
    block.sync();
    if (lane != 0 || b >= blocks) return;
    double sum = 0;
    for (int l = 0; l < kLanes; ++l) sum += shared[t + l];
    squares[n * blocks + b] = sum;
  }
};

// What row n is multiplied with on its way to the grid; 0 means: leave it out.
struct RowScale {
  const double* squares;   // [N, blocks]
  const int64_t* is_real;  // [N]
  int64_t blocks;
  int64_t parameters;
  double clip_norm;
  int grid_bits;
  double* total;  // [N]: sums of squares, for statistics
  double* scale;  // [N]

  PG_HD void operator()(int64_t n) const {
    double sum = 0;
    for (int64_t b = 0; b < blocks; ++b) sum += squares[n * blocks + b];
    total[n] = sum;
    scale[n] = is_real[n] ? grid_scale(sum, parameters, clip_norm, grid_bits) : 0;
  }
};

// sum[i] += column i of all rows on the grid.
struct AddColumn {
  const float* slab;    // [rows, parameters]
  const double* scale;  // [rows]
  int64_t rows;
  int64_t parameters;
  int64_t* sum;

  PG_HD void operator()(int64_t i) const {
    int64_t added = 0;
    for (int64_t n = 0; n < rows; ++n)
      if (scale[n] > 0) added += on_grid(slab[n * parameters + i], scale[n]);
    sum[i] += added;
  }
};

}  // namespace pergrad::dp
