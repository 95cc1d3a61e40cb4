// Launching on cuda:i. Included by kernels_cuda.cu files only, which list the kernels of their folder:
//
//   PG_LAUNCH_EACH(kernels::ReluForward<float>)
//   PG_LAUNCH_BLOCKS(GroupNormForwardBlock<bf16>)
#pragma once

#include "core/gpu/block.h"
#include "core/gpu/cuda_stream.h"

#include <cuda_runtime.h>

namespace pergrad {

constexpr int kMaxDevices = 64;

template <class Kernel>
__global__ void __launch_bounds__(256) run_each(int64_t n, Kernel kernel) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) kernel(i);
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) run_blocks(Kernel kernel) {
  CudaBlock block;
  kernel(block);
}

template <class Kernel>
void launch_each_cuda(Gpu& gpu, int64_t n, const Kernel& kernel) {
  const auto stream = static_cast<cudaStream_t>(cuda_stream(gpu));
  const int threads = n < 200000 ? 64 : 256;  // few indices: spread over the whole GPU
  const int64_t blocks = (n + threads - 1) / threads;
  run_each<<<static_cast<unsigned>(blocks < (1 << 20) ? blocks : 1 << 20), threads, 0, stream>>>(n, kernel);
  check_cuda(cudaGetLastError(), "launch");
}

template <class Kernel>
void launch_blocks_cuda(Gpu& gpu, int64_t blocks, const Kernel& kernel) {
  const auto stream = static_cast<cudaStream_t>(cuda_stream(gpu));
  const auto bytes = static_cast<int>(kernel.shared_bytes());
  // Beyond 48 kB a kernel must be allowed to; never less than what captured work may still ask for.
  static int allowed[kMaxDevices] = {};
  int& most = allowed[gpu.device().index % kMaxDevices];
  if (bytes > 48 * 1024 && bytes > most) {
    check_cuda(cudaFuncSetAttribute(run_blocks<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
               "shared memory of a kernel");
    most = bytes;
  }
  run_blocks<<<static_cast<unsigned>(blocks), Kernel::kThreads, bytes, stream>>>(kernel);
  check_cuda(cudaGetLastError(), "launch");
}

}  // namespace pergrad

#define PG_LAUNCH_EACH(...) \
  template void pergrad::launch_each_cuda(pergrad::Gpu&, int64_t, const __VA_ARGS__&);
#define PG_LAUNCH_BLOCKS(...) \
  template void pergrad::launch_blocks_cuda(pergrad::Gpu&, int64_t, const __VA_ARGS__&);
