// NonprivateClipStats.
#include "dp/clip_stats.h"

#include "core/gpu/launch.h"
#include "dp/clip_kernels.h"
#include "dp/gpu_kernels.h"

#include <algorithm>
#include <cmath>
#include <compare>

namespace pergrad::dp {

namespace {

// Of each row, padding too. The processor waits for it.
std::vector<double> squares_on_gpu(const PerExampleGradient& rows) {
  const Tensor& slab = rows.slab();
  SquaresOfRows squares{slab.device_data<float>(), rows.parameters(), nullptr};
  const Tensor parts = Tensor::empty({rows.rows(), squares.parts_of_row()}, DType::f64, slab.device());
  squares.parts = parts.device_data<double>();
  launch_blocks(Gpu::of(slab.device()), rows.rows() * squares.blocks_of_row(), squares);
  const Tensor here = parts.to(Device{});
  std::vector<double> all(static_cast<size_t>(rows.rows()));
  for (int64_t i = 0; i < here.size(); ++i)
    all[static_cast<size_t>(i / here.dim(1))] += here.data<double>()[i];
  return all;
}

std::vector<double> squares_on_processor(const PerExampleGradient& rows) {
  std::vector<double> all;
  for (int64_t n = 0; n < rows.rows(); ++n)
    all.push_back(squares_of_row(rows.slab().data<float>() + n * rows.parameters(), rows.parameters()));
  return all;
}

}  // namespace

std::vector<double> nonprivate_squares(const PerExampleGradient& rows) {
  if (rows.rows() == 0) return {};
  const std::vector<double> all =
      rows.slab().device().is_cpu() ? squares_on_processor(rows) : squares_on_gpu(rows);
  std::vector<double> real;
  for (int64_t n = 0; n < rows.rows(); ++n)
    if (rows.is_real(n)) real.push_back(all[static_cast<size_t>(n)]);
  return real;
}

NonprivateClipStats::NonprivateClipStats(std::vector<double> squares, double clip_norm) {
  std::ranges::sort(squares, [](double a, double b) { return std::is_lt(std::strong_order(a, b)); });
  for (const double square : squares) {
    const double norm = std::sqrt(square);
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
