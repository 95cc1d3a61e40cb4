// Binomial tails, and the recursion over f.
#include "apps/audit/one_run_bounds.h"

#include "dp/accounting/accountant.h"

#include <algorithm>
#include <cmath>

namespace pergrad::audit {

double one_run_epsilon(const Guesses& g, double delta, double level) {
  const auto refuted = [&](double epsilon) {
    const double log_p = -std::log1p(std::exp(-epsilon)), log_not = -std::log1p(std::exp(epsilon));
    const auto n = static_cast<double>(g.made);
    const auto mass = [&](int64_t k) {
      const auto x = static_cast<double>(k);
      return std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) + x * log_p +
                      (n - x) * log_not);
    };
    double tail = 0, below = 0, worst = 0;
    for (int64_t k = g.right; k <= g.made; ++k) tail += mass(k);
    for (int64_t i = 1; i <= g.right; ++i) {
      below += mass(g.right - i);
      worst = std::max(worst, below / static_cast<double>(i));
    }
    return tail + 2 * static_cast<double>(g.canaries) * delta * worst <= level;
  };
  if (!refuted(0)) return 0;
  double low = 0, high = 30;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (refuted(middle) ? low : high) = middle;
  }
  return low;
}

Profile::Profile(const accounting::Phases& phases) {
  constexpr int kPoints = 20;
  constexpr double kRough = 0.02;  // what is rough is rough upward: still a profile that the mechanism keeps
  const double largest = std::min(200.0, accounting::epsilon_interval(phases, 1e-11, kRough).upper);
  for (int i = 0; i < kPoints; ++i) {
    const double epsilon = largest * i / (kPoints - 1);
    points_.push_back({epsilon, accounting::delta_interval(phases, epsilon, kRough).upper});
  }
}

// (epsilon, delta) both ways round: an event of chance x has at most delta + e^epsilon x in the other world,
// and at most 1 - e^-epsilon (1 - delta - x). Solved for x; of all epsilons the largest.
double Profile::before_blow_up(double y) const {
  double x = 0;
  for (const auto& [epsilon, delta] : points_)
    x = std::max({x, std::exp(-epsilon) * (y - delta), 1 - delta - std::exp(epsilon) * (1 - y)});
  return std::min(1.0, x);  // the recursion asks for y > 1 too
}

bool one_run_refutes(const Guesses& g, const Profile& profile, double level) {
  const auto made = static_cast<double>(g.made), m = static_cast<double>(g.canaries);
  double r = level * static_cast<double>(g.right) / m, h = level * (made - static_cast<double>(g.right)) / m;
  for (int64_t i = g.right - 1; i >= 0; --i) {
    const double next = std::max(h, profile.before_blow_up(r));
    r += static_cast<double>(i) / (made - static_cast<double>(i)) * (next - h);
    h = next;
  }
  return r + h > made / m;
}

}  // namespace pergrad::audit
