// What a log may say about the clip, if it was asked to: computed from private data, without noise.
#pragma once

#include "core/example_batch.h"

#include <array>
#include <cstdint>
#include <vector>

namespace pergrad::dp {

// The squared norm of each real row, before the clip; computed from the data without noise. One pass more
// over the rows, which are not consumed.
std::vector<double> nonprivate_squares(const PerExampleGradient& rows);

// Off unless asked for, never part of a release.
struct NonprivateClipStats {
  int64_t nonprivate_rows = 0;             // real rows
  int64_t nonprivate_clipped_rows = 0;     // of them, with a norm above C
  int64_t nonprivate_non_finite_rows = 0;  // of them, counted as zero
  double nonprivate_norm_sum = 0;          // of the finite ones, before the clip
  // Of them: how many norms / C lie in [2^((b - 13) / 2), 2^((b - 12) / 2)); the ends hold the rest.
  std::array<int64_t, 24> nonprivate_norm_counts{};

  // squares: the squared norm of each real row, in any order, which changes no bit.
  NonprivateClipStats(std::vector<double> squares, double clip_norm);
};

}  // namespace pergrad::dp
