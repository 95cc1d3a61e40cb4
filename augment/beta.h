// Beta(alpha, alpha) by rejection, in double: exact for every alpha, also for the small ones of mixup (0.2).
#pragma once

#include "core/philox.h"

#include <cmath>

namespace pergrad::augment {

// Uniform on the 2^52 doubles (k + 1/2) / 2^52: never 0, never 1, so that its logarithms are finite.
PG_HD inline double inside_unit(PhiloxStream& random) {
  return (static_cast<double>(random.next_u64() >> 12) + 0.5) * 0x1p-52;
}

// One draw for alpha <= 1: U^(1/alpha) / (U^(1/alpha) + V^(1/alpha)), given that the sum is at most 1.
//   In logarithms, since 0.01^(1/0.01) is no double.   Accepts 95 % at alpha = 0.2, 50 % at alpha = 1.
//   Source: Johnk 1964; Devroye 1986, chapter IX.3, p. 418.
PG_HD inline double small_beta(double alpha, PhiloxStream& random) {
  while (true) {
    const double log_x = std::log(inside_unit(random)) / alpha;
    const double log_y = std::log(inside_unit(random)) / alpha;
    const double larger = log_x > log_y ? log_x : log_y;
    const double gap = log_y - log_x;
    const double log_sum = larger + std::log1p(std::exp(-std::fabs(gap)));
    if (log_sum <= 0) return 1.0 / (1.0 + std::exp(gap));
  }
}

// One draw for alpha > 1.
//   Source: Cheng 1978, algorithm BB, with a = b = alpha: his beta is then 1 / sqrt(alpha).
PG_HD inline double large_beta(double alpha, PhiloxStream& random) {
  const double root = std::sqrt(alpha);
  while (true) {
    const double u = inside_unit(random);
    const double z = u * u * inside_unit(random);
    const double v = std::log(u / (1.0 - u)) / root;
    const double w = alpha * std::exp(v);
    const double r = (alpha + root) * v - std::log(4.0);
    if (r + 2.0 * alpha * std::log(2.0 * alpha / (alpha + w)) >= std::log(z)) return w / (alpha + w);
  }
}

// symmetric_beta(alpha, random): one draw of Beta(alpha, alpha), in [0, 1].
//   REQUIRES: 0 < alpha <= 1e6.   Cost: about 0.1 us.
//   0 and 1 themselves come out where the draw rounds to them (alpha = 0.2: 1 in about one of 3000).
PG_HD inline double symmetric_beta(double alpha, PhiloxStream& random) {
  return alpha <= 1 ? small_beta(alpha, random) : large_beta(alpha, random);
}

}  // namespace pergrad::augment
