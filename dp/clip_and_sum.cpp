// clip_and_sum: norms by blocks of columns, then integers by blocks of columns.
#include "dp/clip_and_sum.h"

#include "dp/clip_kernels.h"
#include "dp/gpu.h"

#include <algorithm>
#include <vector>

namespace pergrad::dp {

ClippedSum::ClippedSum(const Plan& plan, int64_t parameters, Device device)
    : clip_norm_(plan->clip_norm), grid_bits_(plan->grid_bits) {
  PG_CHECK(parameters >= 1, "clipped sum: ", parameters, " parameters, wanted >= 1");
  values_ = Tensor::zeros({parameters}, DType::i64, device);
  on_host_ = device.is_cpu() ? values_ : Tensor::empty({parameters}, DType::i64);
}

std::span<const int64_t> ClippedSum::nonprivate_values() const {
  if (values_.defined() && !device().is_cpu()) on_host_.assign(values_);
  return on_host_.values<int64_t>();
}

void clip_and_sum(PerExampleGradient&& rows, const Plan& plan, ClippedSum& sum, const CpuExec& exec,
                  NonprivateClipStats* nonprivate_stats) {
  PG_CHECK_AS(PrivacyError, sum.clip_norm_ == plan->clip_norm && sum.grid_bits_ == plan->grid_bits,
              "clip_and_sum: the sum was made with another clip norm or grid than the plan's");
  const int64_t N = rows.rows(), P = rows.parameters();
  PG_CHECK_AS(DeviceError, rows.slab().device() == sum.device(), "clip_and_sum: rows on ",
              rows.slab().device().name(), ", the sum on ", sum.device().name());
  PG_CHECK(P == sum.parameters(), "clip_and_sum: rows of ", P, " numbers, a sum of ", sum.parameters());
  for (int64_t n = 0; n < N; ++n) sum.rows_ += rows.is_real(n);
  PG_CHECK_AS(PrivacyError, sum.rows_ <= plan->max_examples, "clip_and_sum: ", sum.rows_,
              " rows, the plan allows ", plan->max_examples);

  const PerExampleGradient owned = std::move(rows);
  if (!sum.device().is_cpu()) return add_clipped_rows(owned, plan, sum.values_, nonprivate_stats);
  const float* slab = owned.slab().data<float>();
  const int64_t blocks = (P + kClipBlock - 1) / kClipBlock;
  const auto columns = [P](int64_t block) { return std::min(kClipBlock, P - block * kClipBlock); };

  // scale[n]: what row n is multiplied with on its way to the grid; 0 means: leave it out.
  std::vector<double> squares(static_cast<size_t>(N * blocks)), total(static_cast<size_t>(N)), scale(total);
  exec.for_each(N * blocks, [&](int64_t i) {
    const int64_t n = i / blocks, block = i % blocks;
    if (owned.is_real(n)) squares[i] = sum_of_squares(slab + n * P + block * kClipBlock, columns(block));
  });
  for (int64_t n = 0; n < N; ++n) {
    if (!owned.is_real(n)) continue;
    for (int64_t block = 0; block < blocks; ++block) total[n] += squares[n * blocks + block];
    scale[n] = grid_scale(total[n], P, plan->clip_norm, plan->grid_bits);
  }
  if (nonprivate_stats) nonprivate_stats->add(owned, total, plan->clip_norm);
  // A block of columns belongs to one thread.
  int64_t* values = sum.values_.data<int64_t>();
  exec.for_each(blocks, [&](int64_t block) {
    const int64_t begin = block * kClipBlock;
    for (int64_t n = 0; n < N; ++n)
      if (scale[n] > 0) add_on_grid(slab + n * P + begin, scale[n], columns(block), values + begin);
  });
}

}  // namespace pergrad::dp
