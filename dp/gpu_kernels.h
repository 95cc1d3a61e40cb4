// The clip on a GPU: the arithmetic of clip_kernels.h, called or in the same order, so that its proof holds
// as it stands and the sum has the processor's bits.
//
// 1. No atomics: every number has one writer, and the order of every sum is fixed by P alone. Neither the
//    number of rows in a slab nor their place in it can change a bit of what a row adds.
// 2. It rests, beside what it rests on anywhere, on IEEE arithmetic of the device: double +, *, / and square
//    root rounded to nearest, conversion to integer truncated (tests/gpu/clip_test.cpp asks the device).
#pragma once

#include "core/gpu/block.h"
#include "dp/clip_kernels.h"

#include <cstddef>

namespace pergrad::dp {

// parts[n][b]: sum_of_squares of block b of the columns of row n: its 16 partial sums by a thread each, then
// those 16 in their order.
struct SquaresOfRows {
  static constexpr int kLanes = 16;        // of sum_of_squares
  static constexpr int kColumnBlocks = 8;  // that a block of threads does
  static constexpr int kThreads = kLanes * kColumnBlocks;
  size_t shared_bytes() const { return kThreads * sizeof(double); }
  PG_HD int64_t parts_of_row() const { return (parameters + kClipBlock - 1) / kClipBlock; }
  PG_HD int64_t blocks_of_row() const { return (parts_of_row() + kColumnBlocks - 1) / kColumnBlocks; }
  const float* slab;  // [N, P]
  int64_t parameters;
  double* parts;

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    double* shared = block.template shared<double>();
    const int t = block.thread(), lane = t % kLanes;
    const int64_t n = block.index() / blocks_of_row();
    const int64_t b = block.index() % blocks_of_row() * kColumnBlocks + t / kLanes;
    const int64_t end = (b + 1) * kClipBlock < parameters ? (b + 1) * kClipBlock : parameters;
    const float* g = slab + n * parameters;
    double partial = 0;
    for (int64_t i = b * kClipBlock + lane; i < end; i += kLanes) {
      const double v = g[i];
      partial += v * v;
    }
    shared[t] = partial;
    block.sync();
    if (lane != 0 || b >= parts_of_row()) return;
    double sum = 0;
    for (int l = 0; l < kLanes; ++l) sum += shared[t + l];
    parts[n * parts_of_row() + b] = sum;
  }
};

// What row n is multiplied with on its way to the grid; 0 means: leave it out.
struct ScaleOfRows {
  const double* parts;
  const uint8_t* is_real;
  int64_t parts_of_row, parameters;
  double clip_norm;
  int grid_bits;
  double* scale;
  PG_HD void operator()(int64_t n) const {
    double total = 0;
    for (int64_t b = 0; b < parts_of_row; ++b) total += parts[n * parts_of_row + b];
    scale[n] = is_real[n] ? grid_scale(total, parameters, clip_norm, grid_bits) : 0;
  }
};

// Column i of the sum: all rows in turn. Integers: no order could change it. Eight numbers are read ahead,
// also of rows that are then left out.
struct AddRowsOnGrid {
  const float* slab;
  const double* scale;
  int64_t rows, parameters;
  int64_t* sum;
  PG_HD void operator()(int64_t i) const {
    constexpr int kAhead = 8;
    int64_t total = sum[i];
    for (int64_t n = 0; n < rows; n += kAhead) {
      float g[kAhead];
      for (int j = 0; j < kAhead; ++j) g[j] = slab[(n + j < rows ? n + j : n) * parameters + i];
      for (int j = 0; j < kAhead && n + j < rows; ++j)
        if (scale[n + j] > 0) total += on_grid(g[j], scale[n + j]);
    }
    sum[i] = total;
  }
};

// The non-private twins.
struct AddPlainRows {
  const float* slab;
  const uint8_t* is_real;
  int64_t rows, parameters;
  double* sum;
  PG_HD void operator()(int64_t i) const {
    double total = sum[i];
    for (int64_t n = 0; n < rows; ++n)
      if (is_real[n]) total += static_cast<double>(slab[n * parameters + i]);
    sum[i] = total;
  }
};
struct MeanOfSum {
  const double* sum;
  int64_t rows;
  float* mean;
  PG_HD void operator()(int64_t i) const { mean[i] = static_cast<float>(sum[i] / static_cast<double>(rows)); }
};

}  // namespace pergrad::dp
