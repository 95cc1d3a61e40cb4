// DeviceArray: numbers of any plain type on a GPU, uploaded from the processor; keeps its memory between
// uploads.
#pragma once

#include "core/gpu/gpu.h"

#include <memory>
#include <span>
#include <type_traits>

namespace pergrad {

template <class T>
class DeviceArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceArray(Device device) : gpu_(Gpu::of(device)) {}
  DeviceArray(Device device, std::span<const T> values) : DeviceArray(device) { upload(values); }

  void upload(std::span<const T> values) {
    if (values.size() > capacity_) {
      memory_.reset();
      memory_ = {gpu_.allocate(values.size_bytes()), [gpu = &gpu_](std::byte* p) { gpu->release(p); }};
      capacity_ = values.size();
    }
    if (!values.empty()) gpu_.upload(memory_.get(), values.data(), values.size_bytes());
  }
  // Where the numbers are, for kernels; null before the first upload.
  T* device_data() const { return reinterpret_cast<T*>(memory_.get()); }

 private:
  Gpu& gpu_;
  std::shared_ptr<std::byte> memory_;
  size_t capacity_ = 0;
};

}  // namespace pergrad
