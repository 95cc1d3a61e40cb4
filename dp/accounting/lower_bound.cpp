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
#include <numbers>

namespace pergrad::accounting {

DeltaLowerBound::DeltaLowerBound(const Contour& contour, const Phases& phases, Direction direction,
                                 const Line& line, double beyond)
    : contour_(contour), line_(line), beyond_(beyond) {
  const double period = 2.0 * std::numbers::pi / line.spacing, further = beyond;
  from_below_ = 1.0 / std::expm1(line.c * period);
  from_above_ = chernoff_log_delta(phases, direction, further, line.cut, 0.0) +
                0.5 * further * (1.0 + further) * line.smoothing * line.smoothing -
                std::log(std::expm1((further - line.c) * period));
}

double DeltaLowerBound::operator()(double epsilon) const {
  constexpr double kRounding = 1e-9;  // relative, of small things
  const Contour::Sum delta = contour_.delta(epsilon), density = contour_.density(epsilon);
  const double t = line_.smoothing * line_.smoothing;
  const double around = from_below_ + std::exp(from_above_ - beyond_ * epsilon);
  const double smoothed = std::exp(t / 8.0) * t * (density.value + density.error);
  return delta.value - delta.error - (around + smoothed) * (1.0 + kRounding);
}

}  // namespace pergrad::accounting
