// Device: where a tensor lives. A value that is passed on; there is no hidden current device.
#pragma once

#include <string>

namespace pergrad {

struct Device {
  // emulated: the GPU's kernels on this processor, for tests; planning: memory is counted, nothing runs
  // (core/gpu/gpu.h).
  enum class Kind { cpu, cuda, emulated, planning };
  Kind kind = Kind::cpu;
  int index = 0;  // which GPU; else 0

  bool is_cpu() const { return kind == Kind::cpu; }
  bool operator==(const Device&) const = default;

  // "cpu", "cuda:1", "emulated", "planning".
  std::string name() const;
  // The inverse of name(); "cuda" means "cuda:0".  THROWS: Error for any other text.
  static Device parse(const std::string& text);
};

// Number of CUDA devices that this build can use and this machine has; 0 in a build without CUDA.
int cuda_device_count();
// "CUDA 13.0, cuDNN 9.19, cuBLAS 13.1", or "none".
std::string cuda_versions();

}  // namespace pergrad
