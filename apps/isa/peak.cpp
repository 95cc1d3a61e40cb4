// Multiply-adds that stay in registers. One source, built for three instruction sets (PG_ISA).
#include "apps/peak.h"
#include "core/cpu.h"
#include "core/isa/tiles.h"

namespace pergrad::apps {
namespace {

constexpr int kChains = 12;  // more than the latency of one needs, fewer than there are registers

float run(int64_t rounds) {
  Vec sum[kChains], a = Vec{} + 0.999f, b = Vec{} + 1e-4f;
  for (int i = 0; i < kChains; ++i) sum[i] = Vec{} + static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (Vec& chain : sum) chain = chain * a + b;
  }
  float total = 0;
  for (const Vec& chain : sum) total += chain[0];
  return total;
}

}  // namespace

const PeakKernel& PG_FOR_ISA(peak_kernel_)() {
  static constexpr PeakKernel kKernel{2 * kChains * kLanes, run};
  return kKernel;
}

}  // namespace pergrad::apps
