// trade_off.cpp: the curve from certified (epsilon, delta), and the approximation that is not one.
#include "dp/accounting/trade_off.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "dp/accounting/search.h"

namespace pergrad::accounting {

// (epsilon, delta) in both directions means: false negatives >= 1 - delta - e^epsilon alpha, and the same
// with the errors exchanged, >= e^-epsilon (1 - delta - alpha) (Dong et al., Prop. 3). The largest over some
// epsilons.
std::vector<TradeOffPoint> trade_off(const Phases& phases, const std::vector<double>& false_positives,
                                     int epsilons) {
  for (const double alpha : false_positives) {
    if (!(alpha >= 0.0 && alpha <= 1.0))
      throw std::invalid_argument("accounting: false positives: got " + std::to_string(alpha) +
                                  ", wanted a probability");
  }
  if (epsilons < 2) throw std::invalid_argument("accounting: epsilons: got fewer than 2");
  struct Point {
    double epsilon, delta;
  };
  std::vector<Point> profile;
  const double largest = epsilon_interval(phases, 1e-9, 1e-2).upper;
  for (int i = 0; i < epsilons; ++i) {
    const double epsilon =
        std::isfinite(largest) ? largest * (static_cast<double>(i) / (epsilons - 1)) : static_cast<double>(i);
    profile.push_back({epsilon, delta_interval(phases, epsilon, 1e-3).upper});
  }
  std::vector<TradeOffPoint> curve;
  for (const double alpha : false_positives) {
    double least = 0.0;
    for (const auto& [epsilon, delta] : profile) {
      least = std::max(
          {least, 1.0 - delta - std::exp(epsilon) * alpha, std::exp(-epsilon) * (1.0 - delta - alpha)});
    }
    curve.push_back({alpha, std::max(0.0, least - 1e-15)});
  }
  return curve;
}

double gdp_mu_approximation(const Phases& phases) {
  check_phases(phases);
  double square = 0.0;
  for (const auto& [sigma, q, steps] : phases) {
    square += static_cast<double>(steps) *
              (q == 1.0 ? 1.0 / (sigma * sigma) : q * q * std::expm1(1.0 / (sigma * sigma)));
  }
  return std::sqrt(square);
}

double gdp_epsilon_approximation(double mu, double delta) {
  check_delta(delta);
  if (mu == 0.0) return 0.0;
  const auto cdf = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  const auto delta_at = [&](double epsilon) {  // Balle and Wang 2018, Thm. 8
    return cdf(mu / 2.0 - epsilon / mu) - std::exp(epsilon) * cdf(-mu / 2.0 - epsilon / mu);
  };
  return search(delta_at, delta, mu, 0.1 * mu, 1e-9 * mu).below;
}

}  // namespace pergrad::accounting
