// lower_bound.cpp: the contour's sum, less what comes around its period, less what the smoothing added.
//
// 1. Period. The sum holds e^(c m P) d(epsilon + m P) for every whole m != 0 besides d(epsilon). For m < 0
// use
//    d <= 1. For m > 0 Chernoff's bound at c' > c gives d(y) <= D e^(-c' y), and the rest is geometric.
// 2. Smoothing by a Gaussian mechanism with mu^2 = t. Z becomes Z V, V = e^(sqrt(t) G - t / 2), and
// d(epsilon) =
//    E_Q[(Z V - K)_+] with K = e^epsilon is the Black-Scholes price of a call, whose derivative by t is
//    E_Q[K phi(y_t)] / (2 sqrt(t)), y_t = (log(Z / K) - t / 2) / sqrt(t). For s <= t, pointwise in Z,
//    phi(y_s) <= e^(t / 8) phi(y_t), because y_s^2 = log(Z / K)^2 / s - log(Z / K) + s / 4. Hence
//      d_t - d_0 <= e^(t / 8) E_Q[K phi(y_t)] integral of 1 / (2 sqrt(s)) over [0, t] = e^(t / 8) t
//      density_t,
//    since K^2 d_t''(K) = E_Q[K phi(y_t)] / sqrt(t). The truth is about half of that, so the interval that
//    this leaves is about twice as wide as it would have to be. (The computed density is an upper bound.)
// 3. Setting outcomes aside only loses delta.
#include "dp/accounting/lower_bound.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace pergrad::accounting {

DeltaLowerBound::DeltaLowerBound(const Contour& contour, const Phases& phases, Direction direction,
                                 double beyond)
    : contour_(contour), beyond_(beyond) {
  const auto& [c, cut, smoothing, spacing, count] = contour.line();
  const double period = 2.0 * std::numbers::pi / spacing;
  from_below_ = 1.0 / std::expm1(c * period);
  from_above_ = chernoff_log_delta(phases, direction, beyond, cut, 0.0) +
                0.5 * beyond * (1.0 + beyond) * smoothing * smoothing -
                std::log(std::expm1((beyond - c) * period));  // NaN if beyond <= c
}

double DeltaLowerBound::operator()(double epsilon) const {
  constexpr double kRounding = 1e-9, kUlp = std::numeric_limits<double>::epsilon();
  const Contour::Sum delta = contour_.delta(epsilon), density = contour_.density(epsilon);
  const double t = contour_.line().smoothing * contour_.line().smoothing;
  const double slack = 4.0 * kUlp * (std::abs(from_above_) + beyond_ * epsilon);
  const double around = from_below_ + std::exp(from_above_ - beyond_ * epsilon + slack);
  const double smoothed = std::exp(t / 8.0) * t * (density.value + density.error);
  const double bound = delta.value - delta.error - (around + smoothed) * (1.0 + kRounding);
  return bound > 0.0 ? bound : 0.0;  // also where something overflowed
}

}  // namespace pergrad::accounting
