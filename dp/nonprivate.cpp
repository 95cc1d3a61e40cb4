// The non-private twin: plain sums.
#include "dp/nonprivate.h"

#include "dp/gpu.h"

#include <algorithm>

namespace pergrad::dp {

void add_rows(PerExampleGradient&& rows, NonPrivateSum& sum, const CpuExec& exec) {
  constexpr int64_t kBlock = 4096;
  const PerExampleGradient owned = std::move(rows);
  const int64_t N = owned.rows(), P = owned.parameters();
  PG_CHECK(P == sum.values.size(), "add_rows: rows of ", P, " numbers, a sum of ", sum.values.size());
  PG_CHECK_AS(DeviceError, owned.slab().device() == sum.values.device(), "add_rows: rows on ",
              owned.slab().device().name(), ", the sum on ", sum.values.device().name());
  for (int64_t n = 0; n < N; ++n) sum.rows += owned.is_real(n);
  if (!sum.values.device().is_cpu()) return add_plain_rows(owned, sum.values);
  const float* slab = owned.slab().data<float>();
  double* total = sum.values.data<double>();
  exec.for_each((P + kBlock - 1) / kBlock, [&](int64_t block) {
    const int64_t begin = block * kBlock, end = std::min(P, begin + kBlock);
    for (int64_t n = 0; n < N; ++n) {
      if (!owned.is_real(n)) continue;
      for (int64_t i = begin; i < end; ++i) total[i] += slab[n * P + i];
    }
  });
}

NonPrivateGradient mean_of_rows(NonPrivateSum&& sum) {
  const NonPrivateSum owned = std::move(sum);
  const Tensor& total = owned.values;
  if (!total.device().is_cpu()) return NonPrivateGradient(mean_of_sum(total, owned.rows));
  Tensor mean = Tensor::zeros({total.size()}, DType::f32);
  if (owned.rows > 0)
    std::ranges::transform(total.values<double>(), mean.data<float>(), [&](double value) {
      return static_cast<float>(value / static_cast<double>(owned.rows));
    });
  return NonPrivateGradient(std::move(mean));
}

NonPrivateGradient nonprivate_step(std::span<const Unit> units, ExampleSource& examples,
                                   GradientSource& gradients, int64_t step, int64_t chunk_rows,
                                   const CpuExec& exec) {
  PG_CHECK(chunk_rows >= 1, "nonprivate_step: chunk_rows is ", chunk_rows, ", wanted >= 1");
  NonPrivateSum sum(gradients.parameter_count(), gradients.device());
  for (size_t begin = 0; begin < units.size(); begin += static_cast<size_t>(chunk_rows)) {
    const auto chunk = units.subspan(begin, std::min(units.size() - begin, static_cast<size_t>(chunk_rows)));
    add_rows(gradients.rows(examples.views(chunk, step)), sum, exec);
  }
  return mean_of_rows(std::move(sum));
}

}  // namespace pergrad::dp
