// NonprivateClipStats.
#include "dp/clip_stats.h"

#include <algorithm>
#include <cmath>

namespace pergrad::dp {

void NonprivateClipStats::add(const PerExampleGradient& rows, std::span<const double> squares,
                              double clip_norm) {
  for (int64_t n = 0; n < rows.rows(); ++n) {
    if (!rows.is_real(n)) continue;
    const double norm = std::sqrt(squares[static_cast<size_t>(n)]);
    const bool finite = norm < HUGE_VAL;  // false for NaN
    nonprivate_rows += 1;
    nonprivate_non_finite_rows += !finite;
    nonprivate_clipped_rows += finite && norm > clip_norm;
    nonprivate_norm_sum += finite ? norm : 0;
    if (finite) {
      const double bin = std::floor(2 * std::log2(norm / clip_norm)) + 13;  // log2(0) is -infinity
      ++nonprivate_norm_counts[static_cast<size_t>(std::clamp(bin, 0.0, 23.0))];
    }
  }
}

}  // namespace pergrad::dp
