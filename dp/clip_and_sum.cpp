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

void ClippedSum::add(ClippedSum&& other, const Plan& plan) {
  const ClippedSum owned = std::move(other);
  PG_CHECK_AS(PrivacyError,
              made_for(plan) && owned.made_for(plan) && owned.parameters() == parameters() &&
                  rows_ + owned.rows_ <= plan->max_examples,
              "clipped sum: another clip norm, grid or size, or more rows together than the plan allows");
  rows_ += owned.rows_;
  const int64_t* others = owned.values_.data<int64_t>();
  for (int64_t& value : values_.values<int64_t>()) value += *others++;
}

void clip_and_sum(PerExampleGradient&& rows, const Plan& plan, ClippedSum& sum) {
  PG_CHECK_AS(PrivacyError, sum.made_for(plan),
              "clip_and_sum: the sum was made with another clip norm or grid than the plan's");
  const int64_t N = rows.rows(), P = rows.parameters();
  PG_CHECK_AS(DeviceError, rows.slab().device() == sum.device(), "clip_and_sum: rows on ",
              rows.slab().device().name(), ", the sum on ", sum.device().name());
  PG_CHECK(P == sum.parameters(), "clip_and_sum: rows of ", P, " numbers, a sum of ", sum.parameters());
  for (int64_t n = 0; n < N; ++n) sum.rows_ += rows.is_real(n);
  PG_CHECK_AS(PrivacyError, sum.rows_ <= plan->max_examples, "clip_and_sum: ", sum.rows_,
              " rows, the plan allows ", plan->max_examples);

  const PerExampleGradient owned = std::move(rows);
  if (!sum.device().is_cpu()) return add_clipped_rows(owned, plan, sum.values_);
  const float* slab = owned.slab().data<float>();
  // scale[n]: what row n is multiplied with on its way to the grid; 0 means: leave it out.
  std::vector<double> scale(static_cast<size_t>(N));
  for (int64_t n = 0; n < N; ++n)
    if (owned.is_real(n))
      scale[n] = grid_scale(squares_of_row(slab + n * P, P), P, plan->clip_norm, plan->grid_bits);
  // By blocks of columns, so that a block of the sum stays in the cache.
  int64_t* values = sum.values_.data<int64_t>();
  for (int64_t begin = 0; begin < P; begin += kClipBlock)
    for (int64_t n = 0; n < N; ++n)
      if (scale[n] > 0)
        add_on_grid(slab + n * P + begin, scale[n], std::min(kClipBlock, P - begin), values + begin);
}

}  // namespace pergrad::dp
