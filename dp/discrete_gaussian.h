// Exact samples of the discrete Gaussian on the integers: P(z) proportional to exp(-z^2 / (2 sigma^2)).
//
// Karney 2016 (ACM TOMS 42:3), Algorithm D, for an integer sigma and mean 0. Write |z| = k sigma + j with
// 0 <= j < sigma and x = j / sigma; then exp(-z^2 / 2 sigma^2) = exp(-(k + x)^2 / 2) is the product of
//   exp(-k/2) * exp(-k (k-1)/2)    k by counting heads of exp(-1/2) coins, kept by exp(-1) coins
//   1                              sign and j uniform; -0 is thrown away so that 0 is not counted twice
//   exp(-x)^k * exp(-x^2/2)        kept by k coins exp(-x) and one coin exp(-x^2/2)
// and a proposal that is not kept is drawn anew as a whole. No logarithm, no floating point: the law is exact
// if the bits are fair. Only k >= 64 is thrown away too: beyond 64 sigma lies less than exp(-2048) of the law
// (accountant.cpp charges for it), and |z| < 64 sigma always.
//
// Time depends on what is drawn, as with every rejection sampler; it does not depend on the data.
#pragma once

#include "core/rng.h"

#include <cstdint>

namespace pergrad::dp {

// coin(a, b, next_byte): true with probability a / b, exactly.   REQUIRES: a <= b <= 2^54.
// A uniform U in [0,1) is revealed byte by byte until U < a/b is settled. With first byte d, U = (d +
// U')/256, and U < a/b means U' < (256 a - d b) / b: true for certain from 1 up, false from 0 down, else the
// same question again. 256 b < 2^63: no overflow.
template <class NextByte>
PG_HD bool coin(uint64_t a, uint64_t b, const NextByte& next_byte) {
  for (;;) {
    const uint64_t below = next_byte() * b, goal = a << 8;
    if (below >= goal) return false;
    if (below + b <= goal) return true;
    a = goal - below;
  }
}

class DiscreteGaussian {
 public:
  // REQUIRES: 1 <= sigma <= 2^54 (a Plan's noise_std_on_grid is).   Units: sigma in grid steps.
  PG_HD DiscreteGaussian(int64_t sigma, const ChaChaStream& bits)
      : sigma_(static_cast<uint64_t>(sigma)), bits_(bits) {}

  PG_HD int64_t next() {
    for (;;) {
      uint64_t k = 0;
      while (coin_exp(2, 0)) ++k;
      bool keep = k < 64;
      for (uint64_t i = 0; keep && i < k * (k - 1) / 2; ++i) keep = coin_exp(1, 0);
      if (!keep) continue;
      const bool negative = (next_byte() & 1) != 0;
      j_ = bits_.below(sigma_);
      keep = !(negative && k == 0 && j_ == 0);
      for (uint64_t i = 0; keep && i < k; ++i) keep = coin_exp(1, 1);
      if (!keep || !coin_exp(2, 2)) continue;
      const auto magnitude = static_cast<int64_t>(k * sigma_ + j_);
      return negative ? -magnitude : magnitude;
    }
  }

 private:
  // True with probability exp(-x^power / c), x = j / sigma in [0, 1).   Canonne, Kamath, Steinke 2020,
  // Algorithm 1: with g = x^power / c <= 1 toss coins g/1, g/2, g/3, ... until the first tail; the chance
  // that this is toss number n + 1 or later is g^n / n!, so it has an odd number with chance exp(-g). A coin
  // g/n is a coin 1/(c n) and `power` coins x, all heads. (c n > 2^54 would take 2^53 tosses.)
  PG_HD bool coin_exp(uint64_t c, int power) {
    for (uint64_t n = 1;; ++n) {
      bool heads = c * n == 1 || toss(1, c * n);
      for (int i = 0; heads && i < power; ++i) heads = toss(j_, sigma_);
      if (!heads) return n % 2 == 1;
    }
  }
  PG_HD bool toss(uint64_t a, uint64_t b) {
    return coin(a, b, [this] { return next_byte(); });
  }
  PG_HD uint64_t next_byte() {
    if (bytes_left_ == 0) word_ = bits_.next_u64(), bytes_left_ = 8;
    const uint64_t byte = word_ & 255;
    word_ >>= 8, --bytes_left_;
    return byte;
  }

  uint64_t sigma_;
  ChaChaStream bits_;
  uint64_t j_ = 0;
  uint64_t word_ = 0;
  int bytes_left_ = 0;
};

constexpr int64_t kNoiseBlock = 256;  // coordinates that share one ChaCha20 stream

// The only maker of noise: block `block` of `sum` plus discrete Gaussians of its own stream, scaled, as f32.
struct ReleaseBlock {
  ChaChaStream bits;  // of (key, step): block b draws from its stream of index b
  int64_t noise_std;  // grid steps
  double unit;        // what one grid step is worth in the result
  int64_t parameters;
  const int64_t* sum;
  float* out;
  PG_HD void operator()(int64_t block) const {
    DiscreteGaussian noise(noise_std, ChaChaStream(bits, static_cast<uint32_t>(block)));
    const int64_t end = (block + 1) * kNoiseBlock;
    for (int64_t i = block * kNoiseBlock; i < end && i < parameters; ++i) {
      const int64_t noisy = sum[i] + noise.next();  // below 2^62: range proof in plan.cpp
      out[i] = static_cast<float>(static_cast<double>(noisy) * unit);
    }
  }
};

}  // namespace pergrad::dp
