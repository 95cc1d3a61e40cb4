// Norms, scales, integers: three kernels.
#include "dp/clip_gpu.h"

#include "core/gpu/launch.h"
#include "dp/gpu_kernels.h"

namespace pergrad::dp {

Tensor is_real_on_gpu(const PerExampleGradient& rows) {
  const Tensor host = Tensor::empty({rows.rows()}, DType::i64);
  for (int64_t n = 0; n < rows.rows(); ++n) host.data<int64_t>()[n] = rows.is_real(n);
  return host.to(rows.slab().device());
}

void clip_and_sum_on_gpu(const PerExampleGradient& rows, const Plan& plan, const Tensor& sum,
                         NonprivateClipStats* nonprivate_stats) {
  const int64_t N = rows.rows(), P = rows.parameters();
  const int64_t blocks = (P + kClipBlock - 1) / kClipBlock;
  Gpu& gpu = Gpu::of(sum.device());
  const float* slab = rows.slab().device_data<float>();
  const Tensor is_real = is_real_on_gpu(rows);
  const Tensor squares = Tensor::empty({N, blocks}, DType::f64, gpu.device());
  const Tensor total = Tensor::empty({N}, DType::f64, gpu.device());
  const Tensor scale = Tensor::empty({N}, DType::f64, gpu.device());

  const RowSquares row_squares{slab, P, blocks, squares.device_data<double>()};
  launch_blocks(gpu, N * row_squares.groups(), row_squares);
  launch_each(
      gpu, N,
      RowScale{squares.device_data<double>(), is_real.device_data<int64_t>(), blocks, P, plan->clip_norm,
               plan->grid_bits, total.device_data<double>(), scale.device_data<double>()});
  launch_each(gpu, P, AddColumn{slab, scale.device_data<double>(), N, P, sum.device_data<int64_t>()});

  if (!nonprivate_stats) return;
  const Tensor host = total.to(Device{});
  for (int64_t n = 0; n < N; ++n)
    if (rows.is_real(n)) nonprivate_stats->add(host.data<double>()[n], plan->clip_norm);
}

}  // namespace pergrad::dp
