// The distribution function of Beta(a, a), for tests.
#pragma once

#include <cmath>
#include <numbers>

namespace pergrad::augment {

// P(X <= x) = x^a (1-x)^a / (a B(a,a)) * 1 / (1 + d1/(1 + d2/(1 + ...))), by Lentz's method; for x > 1/2 by
// symmetry.
//   Source: Abramowitz and Stegun 26.5.8: d_{2m+1} = -(a+m)(a+b+m) x / ((a+2m)(a+2m+1)),
//   d_{2m} = m(b-m) x / ((a+2m-1)(a+2m)), here with a = b.
inline double beta_distribution(double a, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > 0.5) return 1 - beta_distribution(a, 1 - x);
  const double log_front =
      a * std::log(x) + a * std::log1p(-x) - std::log(a) - 2 * std::lgamma(a) + std::lgamma(2 * a);
  double f = 1, c = 1, d = 0;
  for (int i = 0; i < 10000; ++i) {
    const double m = std::floor(0.5 * i);
    double term = 1;
    if (i > 0 && i % 2 == 0) term = m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    if (i % 2 == 1) term = -(a + m) * (2 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + term * d;
    c = 1 + term / c;
    if (std::fabs(d) < 1e-300) d = 1e-300;
    if (std::fabs(c) < 1e-300) c = 1e-300;
    d = 1 / d;
    f *= c * d;
    if (i > 0 && std::fabs(c * d - 1) < 1e-15) break;
  }
  return std::exp(log_front) * (f - 1);
}

}  // namespace pergrad::augment
