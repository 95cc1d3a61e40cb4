// Tests that run on every device with GPU code: the emulated one on any machine, and cuda:0 where there is
// one (else the case is reported as skipped, with the reason).
#pragma once

#include "core/gpu/gpu.h"

#include <gtest/gtest.h>

#include <string>

namespace pergrad::test {

class GpuTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda:0" && cuda_device_count() == 0)
      GTEST_SKIP() << (cuda_versions() == "none" ? "this build has no CUDA"
                                                 : "this machine has no NVIDIA GPU");
  }
  Device device() const { return Device::parse(GetParam()); }
  Gpu& gpu() const { return Gpu::of(device()); }
};

inline auto gpu_devices() { return testing::Values("emulated", "cuda:0"); }
inline std::string device_label(const testing::TestParamInfo<std::string>& info) {
  return info.param == "emulated" ? "Emulated" : "Cuda";
}

}  // namespace pergrad::test

// Instantiates a suite derived from GpuTest for all devices.
#define PG_ON_GPUS(suite) \
  INSTANTIATE_TEST_SUITE_P(On, suite, pergrad::test::gpu_devices(), pergrad::test::device_label)
