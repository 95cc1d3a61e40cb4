// The kernels of the non-private twin on a GPU, one column each.
#pragma once

#include "core/exec.h"

#include <cstdint>

namespace pergrad::dp {

// values[i] += column i of the real rows, one after the other.
struct AddRows {
  const float* slab;       // [rows, parameters]
  const int64_t* is_real;  // [rows]
  int64_t rows;
  int64_t parameters;
  double* values;

  PG_HD void operator()(int64_t i) const {
    double sum = values[i];
    for (int64_t n = 0; n < rows; ++n)
      if (is_real[n]) sum += slab[n * parameters + i];
    values[i] = sum;
  }
};

struct MeanOfRows {
  const double* values;
  double rows;
  float* mean;
  PG_HD void operator()(int64_t i) const { mean[i] = static_cast<float>(values[i] / rows); }
};

}  // namespace pergrad::dp
