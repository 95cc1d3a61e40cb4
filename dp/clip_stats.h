// NonprivateClipStats: computed from the data without noise; off unless asked for, never part of a release.
#pragma once

#include <cmath>
#include <cstdint>

namespace pergrad::dp {

struct NonprivateClipStats {
  int64_t nonprivate_rows = 0;             // real rows
  int64_t nonprivate_clipped_rows = 0;     // of them, with a norm above C
  int64_t nonprivate_non_finite_rows = 0;  // of them, counted as zero
  double nonprivate_norm_sum = 0;          // of the finite ones, before the clip

  // One more real row, with this sum of squares.
  void add(double squares, double clip_norm) {
    const bool finite = squares < HUGE_VAL;
    nonprivate_rows += 1;
    nonprivate_non_finite_rows += !finite;
    nonprivate_clipped_rows += finite && std::sqrt(squares) > clip_norm;
    nonprivate_norm_sum += finite ? std::sqrt(squares) : 0;
  }
};

}  // namespace pergrad::dp
