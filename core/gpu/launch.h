// Launching kernels: named functors, one text for both devices, handed to a Gpu by value.
//
//   launch_each(gpu, n, kernel)         kernel(i) for i in [0, n), independent of each other
//   launch_blocks(gpu, blocks, kernel)  kernel(block) for each block of Kernel::kThreads threads that share
//                                       kernel.shared_bytes() of memory (core/gpu/block.h)
//
// On cuda:i a kernel must be listed in its folder's kernels_cuda.cu: one that is missing does not link.
#pragma once

#include "core/gpu/emulated_block.h"
#include "core/gpu/gpu.h"

namespace pergrad {

#if defined(PG_CUDA)
template <class Kernel>
void launch_each_cuda(Gpu& gpu, int64_t n, const Kernel& kernel);
template <class Kernel>
void launch_blocks_cuda(Gpu& gpu, int64_t blocks, const Kernel& kernel);
#endif

template <class Kernel>
void launch_each(Gpu& gpu, int64_t n, const Kernel& kernel) {
  static_assert(std::is_trivially_copyable_v<Kernel>, "a kernel is a plain struct of numbers and pointers");
  if (n <= 0) return;
#if defined(PG_CUDA)
  if (gpu.device().kind == Device::Kind::cuda) return launch_each_cuda(gpu, n, kernel);
#endif
  gpu.submit([n, kernel] {
    for (int64_t i = 0; i < n; ++i) kernel(i);
  });
}

template <class Kernel>
void launch_blocks(Gpu& gpu, int64_t blocks, const Kernel& kernel) {
  static_assert(std::is_trivially_copyable_v<Kernel>, "a kernel is a plain struct of numbers and pointers");
  if (blocks <= 0) return;
#if defined(PG_CUDA)
  if (gpu.device().kind == Device::Kind::cuda) return launch_blocks_cuda(gpu, blocks, kernel);
#endif
  gpu.submit([blocks, kernel] {
    emulate_blocks(blocks, Kernel::kThreads, kernel.shared_bytes(),
                   [&kernel](EmulatedBlock& block) { kernel(block); });
  });
}

}  // namespace pergrad
