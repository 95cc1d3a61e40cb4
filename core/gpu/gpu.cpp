// Gpu: which object serves a device.
#include "core/gpu/gpu.h"

#include <map>
#include <mutex>

namespace pergrad {

Precision parse_precision(const std::string& text) {
  if (text == "fp32") return Precision::fp32;
  if (text == "tf32") return Precision::tf32;
  if (text == "bf16") return Precision::bf16;
  throw Error(concat("precision: got \"", text, "\", wanted fp32, tf32 or bf16"));
}

std::string text_of(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : precision == Precision::tf32 ? "tf32" : "bf16";
}

Gpu& Gpu::of(Device device) {
  static std::mutex mutex;
  // Never destroyed: tensors may outlive main().
  static auto& all = *new std::map<std::string, std::unique_ptr<Gpu>>;
  PG_CHECK_AS(DeviceError, !device.is_cpu(), "gpu: the processor is none");
  const std::lock_guard lock(mutex);
  std::unique_ptr<Gpu>& gpu = all[device.name()];
  if (!gpu) gpu = device.kind == Device::Kind::cuda ? make_cuda_gpu(device) : make_emulated_gpu(device);
  return *gpu;
}

void Gpu::submit(std::function<void()>) {  // NOLINT(performance-unnecessary-value-param): as it is overridden
  throw DeviceError(concat("gpu: ", device_.name(), " runs no work of the processor"));
}

}  // namespace pergrad
