// What a build without CUDA has in place of core/gpu/cuda.cpp.
#include "core/gpu/gpu.h"

namespace pergrad {

int cuda_device_count() { return 0; }
std::string cuda_versions() { return "none"; }

std::unique_ptr<Gpu> make_cuda_gpu(Device device) {
  throw DeviceError(concat("device: ", device.name(),
                           " is not available: this build has no CUDA (build preset cuda, see docs/gpu.md)"));
}

}  // namespace pergrad
