// What this processor's registers can do: the ceiling that kernels are measured against. One thread.
#pragma once

#include <cstdint>

namespace pergrad::apps {

// GFLOP/s of multiply-adds of floats between registers, in the build that the kernels run in.
double peak_gflops();
// The same of pairs of bf16 added to floats; 0 where the processor has none (AVX512-BF16).
double peak_bf16_gflops();

// Multiply-adds of floats in so many rounds (apps/isa/peak.cpp); the result keeps them from being optimised
// away.
struct PeakKernel {
  int64_t flop_a_round;
  float (*run)(int64_t rounds);
};
const PeakKernel& peak_kernel_baseline();
const PeakKernel& peak_kernel_x86_64_v3();
const PeakKernel& peak_kernel_x86_64_v4();

}  // namespace pergrad::apps
