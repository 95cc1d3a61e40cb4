// Exact samples of the discrete Gaussian on |z| < 64 sigma: P(z) proportional to exp(-z^2 / (2 sigma^2)).
//
// Bin i of 4096 holds the |z| = j with i = floor(64 j / sigma). Let a = 64 j - i sigma, x = a / sigma < 1:
//   exp(-j^2 / 2 sigma^2) = exp(-(i + x)^2 / 8192) = exp(-i^2 / 8192) * exp(-x (2 i + x) / 8192).
// 1. A bin is drawn in proportion to v_i, which is S exp(-i^2 / 8192), and a sign.
// 2. m is drawn below ceil(sigma / 64), evenly; a = 64 m + (-i sigma mod 64), kept if a < sigma: all a for
//    which j = (i sigma + a) / 64 is an integer have the same chance.
// 3. It is kept with probability exp(-x (2 i + x) / 8192), by coins; -0 is not, or 0 would count twice.
// What is not kept is drawn anew as a whole: P(z) is exact for every sigma if the bits are fair and the v_i
// right. No logarithm, no floating point. Time depends on what is drawn, not on the data.
//
// The v_i, in integers: v_0 = S, v_{i+1} = v_i r_i; r_0 = exp(-1/8192), r_{i+1} = r_i q, q = r_0^2. Of 2^50
// indices bin i owns floor(v_i) + 1, the last of which counts with probability v_i - floor(v_i). There is
// room: exp(-i^2 / 8192) adds up to 64 sqrt(pi/2) + 1/2 < 80.72 (Poisson summation), and S = 101 * 2^37.
// Errors in units of 2^-128, relative ones from q on: times() loses less than 3; r_0 has 8 terms off by 1.1
// each and leaves out 1: 10; q: 23; r_i > 0.36: 10 + i (23 + 3/0.36) < 10 + 32 i. v_i: its mantissa >= 1/2
// times r_i is > 0.18, so a step adds 10 + 32 i + 3/0.18, and all of them < 2^28. So v_i is within
// exp(+-2^-100) of its value, and P(z), normalised, within exp(+-2^-99) of the exact law on |z| < 64 sigma:
// accountant.cpp charges for that, and for what lies beyond.
#pragma once

#include "core/rng.h"

#include <cstdint>

namespace pergrad::dp {

struct GaussianBins {  // made once; the sampler reads it, on either device
  static constexpr int kBins = 4096;
  uint64_t last[kBins + 1];   // the last index of bin i; what comes after the last bin is not kept
  uint16_t guide[4096];       // the bin of the first index that starts with these 12 bits
  uint128_t fraction[kBins];  // v_i - floor(v_i) = fraction * 2^-128 * 2^-halvings
  uint16_t halvings[kBins];
  static uint128_t times(uint128_t a, uint128_t b) {  // a b / 2^128
    const uint128_t a1 = a >> 64, a0 = static_cast<uint64_t>(a), b1 = b >> 64, b0 = static_cast<uint64_t>(b);
    return a1 * b1 + (a1 * b0 >> 64) + (a0 * b1 >> 64);
  }

  GaussianBins() {
    uint128_t r = 0, term = uint128_t{1} << 115;  // 1 - 1/8192 + ..., where 1 is 2^128 = 0
    for (uint64_t n = 1; term != 0; term /= 8192 * ++n) r += n % 2 == 1 ? -term : term;
    const uint128_t q = times(r, r);
    uint128_t v = uint128_t{101} << 121;  // times 2^-shift
    int shift = 84;
    uint64_t end = 0;
    for (int i = 0; i < kBins; ++i) {
      end += static_cast<uint64_t>(shift < 128 ? v >> shift : 0) + 1;
      last[i] = end - 1;
      fraction[i] = shift < 128 ? v << (128 - shift) : v;
      halvings[i] = static_cast<uint16_t>(shift < 128 ? 0 : shift - 128);
      v = times(v, r), r = times(r, q);
      for (; v >> 127 == 0; v <<= 1) ++shift;
    }
    last[kBins] = ~uint64_t{0};
    for (uint64_t cell = 0, i = 0; cell < 4096; guide[cell++] = static_cast<uint16_t>(i))
      while (last[i] < cell << 38) ++i;
  }
};

template <class Bits>  // ChaChaStream, or what has the same words on a GPU
class DiscreteGaussian {
 public:
  // REQUIRES: 1 <= sigma <= 2^54 (a Plan's noise_std_on_grid is).   Units: sigma in grid steps.
  PG_HD DiscreteGaussian(const GaussianBins& bins, int64_t sigma, const Bits& bits)
      : bins_(bins), sigma_(static_cast<uint64_t>(sigma)), bits_(bits) {}

  PG_HD int64_t next() {
    for (;;) {
      const uint64_t word = bits_.next_u64(), u = word % 8192, index = word >> 14;
      uint64_t i = bins_.guide[index >> 38];
      while (index > bins_.last[i]) ++i;
      const uint64_t m = below(bits_, places_), a = 64 * m + (0 - i * rest_) % 64;
      if (a >= sigma_ || (u <= 2 * i && !keep(i, a, u)) || (index == bins_.last[i] && !counts(i))) continue;
      const auto j = static_cast<int64_t>(i * whole_ + (i * rest_ + 63) / 64 + m);
      const auto negative = static_cast<int64_t>(word >> 13 & 1);
      if (j != 0 || negative == 0) return (j ^ -negative) + negative;  // -j without a branch
    }
  }

 private:
  // True with probability exp(-g), g = x (2 i + x) / 8192 < 1; u is uniform below 8192. Canonne, Kamath,
  // Steinke 2020, Algorithm 1: toss coins g/1, g/2, g/3, ... until the first tail; the chance that this is
  // toss number n + 1 or later is g^n / n!, so it has an odd number with chance exp(-g). A coin g/n is a coin
  // (2 i + x) / 8192, a coin x and a coin 1/n, all heads.
  PG_HD bool keep(uint64_t i, uint64_t a, uint64_t u) {
    for (uint64_t n = 1; i < GaussianBins::kBins; ++n) {
      const bool heads = u < 2 * i || (u == 2 * i && below(bits_, sigma_) < a);
      if (!heads || below(bits_, sigma_) >= a || below(bits_, n) != 0) return n % 2 == 1;
      u = bits_.next_u64() % 8192;
    }
    return false;
  }
  PG_HD bool counts(uint64_t i) {
    for (int n = bins_.halvings[i]; n > 0; --n)
      if (bits_.next_u64() % 2 == 1) return false;
    const uint128_t high = bits_.next_u64(), low = bits_.next_u64();
    return (high << 64 | low) < bins_.fraction[i];
  }

  const GaussianBins& bins_;
  uint64_t sigma_;
  uint64_t whole_ = sigma_ / 64, rest_ = sigma_ % 64, places_ = whole_ + (rest_ != 0);
  Bits bits_;
};

constexpr int64_t kNoiseBlock = 240;  // coordinates that share one stream: nearly always its first 64 blocks

// The only maker of noise: block `block` of `sum` plus discrete Gaussians of its own stream, scaled, as f32.
template <class Bits>
struct ReleaseBlock {
  const GaussianBins* bins;
  ChaChaStart start;  // of (key, step): block b draws from the stream of index b
  int64_t noise_std;  // grid steps
  double unit;        // what one grid step is worth in the result
  int64_t parameters;
  const int64_t* sum;
  float* out;
  PG_HD void operator()(int64_t block) const {
    DiscreteGaussian<Bits> noise(*bins, noise_std, Bits(ChaChaStart(start, static_cast<uint32_t>(block))));
    const int64_t end = (block + 1) * kNoiseBlock;
    for (int64_t i = block * kNoiseBlock; i < end && i < parameters; ++i) {
      const int64_t noisy = sum[i] + noise.next();  // below 2^62: range proof in plan.cpp
      out[i] = static_cast<float>(static_cast<double>(noisy) * unit);
    }
  }
};

}  // namespace pergrad::dp
