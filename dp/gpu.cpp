// The clip in three launches: squares, scales, sum; the noise in one.
#include "dp/gpu.h"

#include "core/gpu/chacha.h"
#include "core/gpu/device_array.h"
#include "core/gpu/launch.h"
#include "dp/gpu_kernels.h"

namespace pergrad::dp {
namespace {

// Memory for one call, kept for the next: of one thread, and of one device at a time.
struct Scratch {
  Device device;
  DeviceArray<uint8_t> is_real;
  DeviceArray<GaussianBins> bins;
  Workspace workspace;
  explicit Scratch(Device d) : device(d), is_real(d), bins(d), workspace(d) {}
};
Scratch& scratch_on(Device device) {
  static thread_local std::unique_ptr<Scratch> scratch;
  if (!scratch || !(scratch->device == device)) scratch = std::make_unique<Scratch>(device);
  return *scratch;
}

const uint8_t* upload_is_real(Scratch& scratch, const PerExampleGradient& rows) {
  std::vector<uint8_t> real;
  for (int64_t n = 0; n < rows.rows(); ++n) real.push_back(rows.is_real(n) ? 1 : 0);
  scratch.is_real.upload(real);
  return scratch.is_real.device_data();
}

}  // namespace

void add_clipped_rows(const PerExampleGradient& rows, const Plan& plan, const Tensor& sum) {
  const int64_t N = rows.rows(), P = rows.parameters();
  if (N == 0) return;
  Gpu& gpu = Gpu::of(sum.device());
  Scratch& scratch = scratch_on(sum.device());
  const float* slab = rows.slab().device_data<float>();
  SquaresOfRows squares{slab, P, nullptr};
  const int64_t count = squares.parts_of_row();
  const Tensor parts = Tensor::empty({N, count}, DType::f64, scratch.workspace);
  const Tensor scale = Tensor::empty({N}, DType::f64, scratch.workspace);
  squares.parts = parts.device_data<double>();
  launch_blocks(gpu, N * squares.blocks_of_row(), squares);
  launch_each(gpu, N,
              ScaleOfRows{squares.parts, upload_is_real(scratch, rows), count, P, plan->clip_norm,
                          plan->grid_bits, scale.device_data<double>()});
  launch_each(gpu, P, AddRowsOnGrid{slab, scale.device_data<double>(), N, P, sum.device_data<int64_t>()});
}

void release_on_gpu(const ReleaseBlock<ChaChaStream>& r, int64_t blocks, Device device) {
  Scratch& scratch = scratch_on(device);
  if (scratch.bins.device_data() == nullptr) scratch.bins.upload({r.bins, 1});
  launch_each(Gpu::of(device), blocks,
              ReleaseBlock<ChaChaBlocks>{scratch.bins.device_data(), r.start, r.noise_std, r.unit,
                                         r.parameters, r.sum, r.out});
}

void add_plain_rows(const PerExampleGradient& rows, const Tensor& sum) {
  Scratch& scratch = scratch_on(sum.device());
  if (rows.rows() == 0) return;
  launch_each(Gpu::of(sum.device()), rows.parameters(),
              AddPlainRows{rows.slab().device_data<float>(), upload_is_real(scratch, rows), rows.rows(),
                           rows.parameters(), sum.device_data<double>()});
}

Tensor mean_of_sum(const Tensor& sum, int64_t rows) {
  Tensor mean = Tensor::zeros({sum.size()}, DType::f32, sum.device());
  if (rows > 0)
    launch_each(Gpu::of(sum.device()), sum.size(),
                MeanOfSum{sum.device_data<double>(), rows, mean.device_data<float>()});
  return mean;
}

}  // namespace pergrad::dp
