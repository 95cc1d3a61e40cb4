// Gpu: memory, queue, graphs, launches; and that the emulator sees the bugs that it is there for.
#include "core/gpu/launch.h"
#include "core/philox.h"
#include "tests/gpu/device_test.h"
#include "tests/gpu/kernels.h"
#include "tests/support/compare.h"

#include <cmath>

namespace pergrad::test {
namespace {

class GpuSmall : public GpuTest {};

Tensor ramp(int64_t n) {
  Tensor t = Tensor::empty({n}, DType::f32);
  for (int64_t i = 0; i < n; ++i) t.data<float>()[i] = static_cast<float>(i) - 3.5f;
  return t;
}

TEST_P(GpuSmall, TensorsGoThereAndComeBack) {
  const Tensor host = ramp(1000);
  const Tensor there = host.to(device());
  EXPECT_EQ(there.device(), device());
  EXPECT_TRUE(same_bits(there.to(Device{}), host));
  EXPECT_TRUE(same_bits(there.clone().to(Device{}), host));
  EXPECT_TRUE(same_bits(there.rows(10, 20).to(Device{}), host.rows(10, 20).clone()));
  there.rows(0, 500).fill(0);
  EXPECT_EQ(there.to(Device{}).data<float>()[499], 0.0f);
  EXPECT_EQ(there.to(Device{}).data<float>()[500], host.data<float>()[500]);
  there.fill(2.5);
  EXPECT_EQ(there.to(Device{}).data<float>()[999], 2.5f);
}

TEST_P(GpuSmall, HostCodeCannotReachDeviceMemory) {
  const Tensor there = ramp(4).to(device());
  EXPECT_THROW(there.data<float>(), Error);
  EXPECT_THROW(there.values<float>(), Error);
  EXPECT_THROW(there.to(DType::f64), Error);
}

TEST_P(GpuSmall, WorkspaceGivesTheSameMemoryAgain) {
  Workspace workspace(device());
  { const Tensor t = Tensor::zeros({1000}, DType::f32, workspace); }
  const size_t reserved = workspace.bytes_reserved();
  EXPECT_GE(reserved, 4000u);
  { const Tensor t = Tensor::zeros({1000}, DType::f32, workspace); }
  EXPECT_EQ(workspace.bytes_reserved(), reserved);
}

TEST_P(GpuSmall, LaunchEachVisitsEveryIndexOnce) {
  for (int64_t n : {1, 255, 256, 257, 100000}) {
    const Tensor x = ramp(n).to(device()), y = Tensor::zeros({n}, DType::f32, device());
    launch_each(gpu(), n, Square{x.device_data<float>(), y.device_data<float>()});
    const Tensor back = y.to(Device{}), host = ramp(n);
    for (int64_t i = 0; i < n; ++i)
      ASSERT_EQ(back.data<float>()[i], host.data<float>()[i] * host.data<float>()[i]);
  }
}

TEST_P(GpuSmall, BlocksShareMemoryAndWarpsTheirRegisters) {
  constexpr int64_t kBlocks = 5;
  const Tensor host = ramp(kBlocks * 64), x = host.to(device());
  const Tensor reversed = Tensor::zeros({kBlocks * 64}, DType::f32, device());
  const Tensor sums = Tensor::zeros({kBlocks * 2}, DType::f32, device());
  launch_blocks(
      gpu(), kBlocks,
      ReverseBlock{x.device_data<float>(), reversed.device_data<float>(), sums.device_data<float>()});
  const Tensor back = reversed.to(Device{}), total = sums.to(Device{});
  for (int64_t b = 0; b < kBlocks; ++b) {
    for (int64_t i = 0; i < 64; ++i)
      ASSERT_EQ(back.data<float>()[b * 64 + i], host.data<float>()[b * 64 + 63 - i]);
    for (int64_t w = 0; w < 2; ++w) {
      float sum = 0;
      for (int64_t i = 0; i < 32; ++i) sum += back.data<float>()[b * 64 + w * 32 + i];
      EXPECT_EQ(total.data<float>()[b * 2 + w], sum);  // small integers and halves: exact in any order
    }
  }
}

TEST_P(GpuSmall, TensorCoreProductAgreesWithLoops) {
  PhiloxStream random(1, 0);
  std::vector<bf16> a(16 * 16), b(16 * 16);
  for (auto* v : {&a, &b})
    for (bf16& e : *v) e = to_bf16(static_cast<float>(random.normal()));
  const Tensor ta = Tensor::of<bf16>({16, 16}, a).to(device()),
               tb = Tensor::of<bf16>({16, 16}, b).to(device());
  const Tensor c = Tensor::zeros({16, 8}, DType::f32, device());
  launch_blocks(
      gpu(), 1,
      MatrixProduct{reinterpret_cast<const uint16_t*>(ta.device_data<bf16>()),
                    reinterpret_cast<const uint16_t*>(tb.device_data<bf16>()), c.device_data<float>()});
  const Tensor got = c.to(Device{});
  for (size_t m = 0; m < 16; ++m)
    for (size_t n = 0; n < 8; ++n) {
      double sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += double{to_float(a[k * 16 + m])} * to_float(b[k * 16 + n]);
      EXPECT_NEAR(got.data<float>()[m * 8 + n], sum, 1e-5);
    }
}

TEST_P(GpuSmall, AGraphDoesItsWorkAtEveryReplayAndNotBefore) {
  const Tensor x = ramp(100).to(device()), y = Tensor::zeros({100}, DType::f32, device());
  const auto work = [&] {
    launch_each(gpu(), 100, Square{x.device_data<float>(), y.device_data<float>()});
    launch_each(gpu(), 100, Square{y.device_data<float>(), y.device_data<float>()});
  };
  const auto graph = gpu().capture(work);
  EXPECT_EQ(y.to(Device{}).data<float>()[7], 0.0f);
  graph->replay();
  EXPECT_EQ(y.to(Device{}).data<float>()[7], std::pow(3.5f, 4.0f));
  x.fill(2);
  graph->replay();
  EXPECT_EQ(y.to(Device{}).data<float>()[7], 16.0f);
}

TEST_P(GpuSmall, GemmsAgreeWithLoops) {
  for (const DType type : {DType::f32, DType::bf16}) {
    constexpr int64_t kBatch = 3, kM = 5, kN = 4, kK = 7;
    PhiloxStream random(2, 0);
    const Tensor a32 = random_tensor({kBatch, kK, kM}, DType::f32, 1),
                 b32 = random_tensor({kBatch, kK, kN}, DType::f32, 2);
    const auto as = [&](const Tensor& t) {
      if (type == DType::f32) return t.clone();
      Tensor out = Tensor::empty(t.shape(), DType::bf16);
      for (int64_t i = 0; i < t.size(); ++i) out.data<bf16>()[i] = to_bf16(t.data<float>()[i]);
      return out;
    };
    const Tensor a = as(a32).to(device()), b = as(b32).to(device());
    Tensor c = Tensor::empty({kBatch, 50}, DType::f32);
    c.fill(1);
    c = c.to(device());
    TransposedGemms g;
    g.type = type;
    g.precision = type == DType::f32 ? Precision::fp32 : Precision::bf16;
    g.batch = kBatch, g.m = kM, g.n = kN, g.k = kK, g.a_row = kM;
    g.a = a.device_bytes(), g.b = b.device_bytes(), g.c = c.device_data<float>();
    g.a_stride = kK * kM, g.b_stride = kK * kN, g.c_stride = 50;
    g.accumulate = true;
    gpu().gemms(g);
    const Tensor got = c.to(Device{});
    for (int64_t i = 0; i < kBatch; ++i) {
      for (int64_t m = 0; m < kM; ++m)
        for (int64_t n = 0; n < kN; ++n) {
          double sum = 1;
          for (int64_t k = 0; k < kK; ++k)
            sum +=
                double{a32.data<float>()[(i * kK + k) * kM + m]} * b32.data<float>()[(i * kK + k) * kN + n];
          EXPECT_NEAR(got.data<float>()[i * 50 + m * kN + n], sum, type == DType::f32 ? 1e-5 : 0.1);
        }
      EXPECT_EQ(got.data<float>()[i * 50 + kM * kN], 1.0f);
    }
  }
}

PG_ON_GPUS(GpuSmall);

TEST(Emulator, NoticesABarrierThatNotAllThreadsReach) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(launch_blocks(Gpu::of(Device::parse("emulated")), 1, LostThreads{}), "barrier");
}

TEST(Emulator, AMissingBarrierReadsNaN) {
  Gpu& gpu = Gpu::of(Device::parse("emulated"));
  const Tensor y = Tensor::zeros({64}, DType::f32, gpu.device());
  launch_blocks(gpu, 1, MissingBarrier{y.device_data<float>()});
  EXPECT_TRUE(std::isnan(y.to(Device{}).data<float>()[0]));
}

TEST(Devices, OneThatIsNotThereIsRefusedInOneLine) {
  if (cuda_versions() == "none") {
    const std::string none = message_of<DeviceError>([] { Gpu::of(Device::parse("cuda:0")); });
    EXPECT_NE(none.find("no CUDA"), std::string::npos);
  }
  const std::string message = message_of<DeviceError>([] { Gpu::of(Device::parse("cuda:77")); });
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_NE(message.find("cuda:77"), std::string::npos);
}

TEST(Devices, PlanningCountsWithoutMemory) {
  Gpu& gpu = Gpu::of(Device::parse("planning"));
  const size_t before = gpu.memory().free;
  Workspace workspace(gpu.device());
  const Tensor t = Tensor::zeros({int64_t{1} << 38}, DType::f32, workspace);  // a terabyte
  launch_each(gpu, t.size(), Square{t.device_data<float>(), t.device_data<float>()});
  EXPECT_GE(before - gpu.memory().free, size_t{1} << 40);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, 0x3f80);             // a tie, to even
  EXPECT_EQ(to_bf16(1.0f + 0x1p-7f + 0x1p-8f).bits, 0x3f82);   // a tie, to even
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3f81);  // above a tie
  EXPECT_EQ(to_bf16(3.4e38f).bits, 0x7f80);                    // to infinity
  EXPECT_EQ(to_bf16(-INFINITY).bits, 0xff80);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  uint32_t worst = 0x7f800001;  // a NaN whose payload is only in the lower half
  float nan;
  memcpy(&nan, &worst, 4);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(nan))));
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const bf16 v{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(v))) continue;
    ASSERT_EQ(to_bf16(to_float(v)).bits, bits);
  }
}

}  // namespace
}  // namespace pergrad::test
