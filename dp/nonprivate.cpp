// The non-private twin: plain sums.
#include "dp/nonprivate.h"

#include "core/gpu/launch.h"
#include "dp/clip_gpu.h"
#include "dp/nonprivate_kernels.h"

#include <algorithm>

namespace pergrad::dp {

void add_rows(PerExampleGradient&& rows, NonPrivateSum& sum, const CpuExec& exec) {
  constexpr int64_t kBlock = 4096;
  const PerExampleGradient owned = std::move(rows);
  const int64_t N = owned.rows(), P = owned.parameters();
  const Device device = sum.values.device();
  PG_CHECK(P == sum.values.size(), "add_rows: rows of ", P, " numbers, a sum of ", sum.values.size());
  PG_CHECK_AS(DeviceError, owned.slab().device() == device, "add_rows: rows on ",
              owned.slab().device().name(), ", a sum on ", device.name());
  const float* slab = owned.slab().device_data<float>();
  double* values = sum.values.device_data<double>();
  if (device.is_cpu()) {
    exec.for_each((P + kBlock - 1) / kBlock, [&](int64_t block) {
      const int64_t begin = block * kBlock, end = std::min(P, begin + kBlock);
      for (int64_t n = 0; n < N; ++n) {
        if (!owned.is_real(n)) continue;
        for (int64_t i = begin; i < end; ++i) values[i] += slab[n * P + i];
      }
    });
  } else {
    const Tensor is_real = is_real_on_gpu(owned);
    launch_each(Gpu::of(device), P, AddRows{slab, is_real.device_data<int64_t>(), N, P, values});
  }
  for (int64_t n = 0; n < N; ++n) sum.rows += owned.is_real(n);
}

NonPrivateGradient mean_of_rows(NonPrivateSum&& sum) {
  const NonPrivateSum owned = std::move(sum);
  const Device device = owned.values.device();
  Tensor mean = Tensor::zeros(owned.values.shape(), DType::f32, device);
  if (owned.rows > 0) {
    const MeanOfRows kernel{owned.values.device_data<double>(), static_cast<double>(owned.rows),
                            mean.device_data<float>()};
    if (device.is_cpu())
      CpuExec{}.for_each(mean.size(), kernel);
    else
      launch_each(Gpu::of(device), mean.size(), kernel);
  }
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
