// Peaks by timing.
#include "apps/peak.h"

#include "apps/bench_parts.h"
#include "core/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pergrad::apps {
namespace {

constexpr int64_t kRounds = 1 << 20;

double gflops(int64_t flop_a_round, float (*run)(int64_t)) {
  volatile float keep = 0;
  return 1e-9 * static_cast<double>(flop_a_round * kRounds) /
         median_seconds(0.1, [&] { keep = run(kRounds); });
}

#if defined(__x86_64__)
constexpr int kChains = 12;

__attribute__((target("avx512f,avx512bf16"))) float run_bf16(int64_t rounds) {
  // Bits of two bf16 near one in each of 16 places.
  const auto pairs = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (__m512& chain : sum) chain = _mm512_dpbf16_ps(chain, pairs, pairs);
  }
  float total = 0;
  for (const __m512 chain : sum) total += _mm512_cvtss_f32(chain);
  return total;
}
#endif

}  // namespace

double peak_gflops() {
  const PeakKernel& kernel =
      of_this_processor(peak_kernel_baseline(), peak_kernel_x86_64_v3(), peak_kernel_x86_64_v4());
  return gflops(kernel.flop_a_round, kernel.run);
}

double peak_bf16_gflops() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"))
    return gflops(kChains * 16 * 4, run_bf16);
#endif
  return 0;
}

}  // namespace pergrad::apps
