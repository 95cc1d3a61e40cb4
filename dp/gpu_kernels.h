// The clip on a GPU. The proof of clip_kernels.h holds as it stands: its arithmetic is called, not repeated,
// and it allows any order of summation in step 2.
//
// It rests, beside what it rests on anywhere, on IEEE arithmetic of the device: double +, *, / and square
// root rounded to nearest, conversion to integer truncated. nvcc gives these unless told otherwise; no file
// here is compiled with fast-math (tests/gpu/clip_test.cpp looks at the device itself).
#pragma once

#include "core/gpu/block.h"
#include "dp/clip_kernels.h"

#include <cstddef>

namespace pergrad::dp {

constexpr int64_t kSquaresBlock = 16384;  // columns of a row that one block adds up

// parts[n][b]: sum of squares of block b of the columns of row n. Threads take every 256th number, then a
// tree.
struct SquaresOfRows {
  static constexpr int kThreads = 256;
  size_t shared_bytes() const { return kThreads * sizeof(double); }
  PG_HD int64_t parts_of_row() const { return (parameters + kSquaresBlock - 1) / kSquaresBlock; }
  const float* slab;  // [N, P]
  int64_t parameters;
  double* parts;

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    double* shared = block.template shared<double>();
    const int t = block.thread();
    const int64_t n = block.index() / parts_of_row(), begin = block.index() % parts_of_row() * kSquaresBlock;
    const int64_t end = begin + kSquaresBlock < parameters ? begin + kSquaresBlock : parameters;
    const float* g = slab + n * parameters;
    double sum = 0;
    for (int64_t i = begin + t; i < end; i += kThreads) {
      const double v = g[i];
      sum += v * v;
    }
    shared[t] = sum;
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.sync();
      if (t < half) shared[t] += shared[t + half];
    }
    if (t == 0) parts[block.index()] = shared[0];
  }
};

// Row n: its sum of squares, and what it is multiplied with on its way to the grid; 0 means: leave it out.
struct ScaleOfRows {
  const double* parts;
  const uint8_t* is_real;
  int64_t parts_of_row, parameters;
  double clip_norm;
  int grid_bits;
  double* squares;
  double* scale;
  PG_HD void operator()(int64_t n) const {
    double total = 0;
    for (int64_t b = 0; b < parts_of_row; ++b) total += parts[n * parts_of_row + b];
    squares[n] = is_real[n] ? total : 0;
    scale[n] = is_real[n] ? grid_scale(total, parameters, clip_norm, grid_bits) : 0;
  }
};

// Column i of the sum: all rows in turn. Integers: no order could change it.
struct AddRowsOnGrid {
  const float* slab;
  const double* scale;
  int64_t rows, parameters;
  int64_t* sum;
  PG_HD void operator()(int64_t i) const {
    int64_t total = sum[i];
    for (int64_t n = 0; n < rows; ++n)
      if (scale[n] > 0) total += on_grid(slab[n * parameters + i], scale[n]);
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
