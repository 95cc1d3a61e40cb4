// Device: where a tensor lives. A value that is passed on; there is no hidden current device.
#pragma once

#include <string>

namespace pergrad {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;  // which GPU; 0 for the CPU

  bool is_cpu() const { return kind == Kind::cpu; }
  bool operator==(const Device&) const = default;

  // "cpu", "cuda:1".
  std::string name() const;
  // The inverse of name(); "cuda" means "cuda:0".  THROWS: Error for any other text.
  static Device parse(const std::string& text);
};

// Number of CUDA devices that this build can use and this machine has; 0 in a build without CUDA.
int cuda_device_count();

}  // namespace pergrad
