// Coordinates: what works on arrays [P] of a model, coordinate by coordinate, on the device where they are.
#pragma once

#include "core/gpu/launch.h"

namespace pergrad {

// Not inline: in a function of its own the loop keeps the kernel's numbers in registers.
template <class Kernel>
[[gnu::noinline]] void loop_over_coordinates(int64_t n, const Kernel kernel) {
  for (int64_t i = 0; i < n; ++i) kernel(i);
}
// kernel(i) for i in [0, n), independent of each other: a loop on the processor, a launch on a GPU.
template <class Kernel>
void for_each_coordinate(Device device, int64_t n, const Kernel& kernel) {
  if (device.is_cpu())
    loop_over_coordinates(n, kernel);
  else
    launch_each(Gpu::of(device), n, kernel);
}

// The tensor itself if it is on this device, else a copy of it there.
inline Tensor on_device(const Tensor& t, Device device) { return t.device() == device ? t : t.to(device); }

// Whether every number of a tensor is finite. On a GPU floats only, and one number comes back from it.
bool all_finite(const Tensor& t);

}  // namespace pergrad
