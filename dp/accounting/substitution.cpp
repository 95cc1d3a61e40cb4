// substitution.cpp: amplification by sampling, turned into moments.
//
// 1. Let H_g(P || Q) = sup over events of P(E) - g Q(E), and let h(g) be that of P = (1 - q) N(0, s^2) + q
// N(1,
//    s^2) against Q = N(0, s^2), s = noise_multiplier / 2 (two Gaussians 2 clip_norm apart). Given whether
//    the example was drawn, a step is (1 - q) A + q B, or (1 - q) A + q B' after replacing; any two of A, B,
//    B' are averages of Gaussians at most 2 clip_norm apart. Advanced joint convexity (Balle, Barthe,
//    Gaboardi 2018, arXiv 1807.01647, Thm. 2; section 4 for batches without replacement) gives H_g <= h(g)
//    for g >= 1, either way round. For g < 1, H_g(P || Q) = 1 - g + g H_(1/g)(Q || P).
// 2. A moment is a positive mixture of H_g: E_Q[Z^a] = 1 + a (a - 1) integral of g^(a - 2) (H_g - (1 - g)_+)
// dg. With
//    1. it is at most 1 + a (a - 1) integral over g > 1 of (g^(a - 2) + g^(-a - 1)) h(g) dg, and h(g) =
//    E_Q[(Z - g)_+], Z = 1 - q + q e^w, gives
//      M(a) <= 1 + E_Q[(Z^a - 1) (1 - Z^(1 - a)); Z > 1].
//    This bounds each step whatever came before, so the divergences add up over steps.
// 3. The factor grows with x and the density falls: a sum over cells takes one at the upper and the other at
// the
//    lower end of a cell. Above by some 0.1 to 1 %, never below.
// Lower bound: an example of gradient 0 in place of another is the add/remove pair, either way round.
#include "dp/accounting/substitution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>

namespace pergrad::accounting {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSlack = 1e-9;  // relative, far above the roundings of a sum of positive terms

double total(const Phases& phases, double order) {
  double sum = 0.0;
  for (const auto& [sigma, q, steps] : phases) {
    if (steps > 0) sum += static_cast<double>(steps) * substitution_rdp(order, sigma, q);
  }
  return sum * (1.0 + kSlack);
}

bool nothing_released(const Phases& phases) {
  return std::all_of(phases.begin(), phases.end(), [](const Phase& phase) { return phase.steps == 0; });
}

}  // namespace

double substitution_rdp(double order, double noise_multiplier, double sampling_rate) {
  constexpr int kCells = 20000;
  constexpr double kReach = 13.0;  // beyond, e^(-13^2 / 2) = 2e-37 of the moment without sampling
  check_phases({{noise_multiplier, sampling_rate, 1}});
  if (!(order > 1.0 && std::isfinite(order)))
    throw std::invalid_argument("accounting: order: got " + std::to_string(order) + ", wanted a number > 1");
  const double s = noise_multiplier / 2.0, variance = s * s, q = sampling_rate;
  const double unsampled = order / (2.0 * variance), log_unsampled = (order - 1.0) * unsampled;
  if (q == 1.0) return unsampled * (1.0 + kSlack);
  const double h = (order + kReach * s) / kCells;
  const double shift = std::max(0.0, order * std::log(q) + log_unsampled);
  double sum = std::exp(log_unsampled - 0.5 * kReach * kReach - shift);
  for (int k = 0; k < kCells; ++k) {
    const double x = 0.5 + k * h, w = (k + 1) * h / variance;  // lower end; w of the upper end
    const double loss =
        w < 40.0 ? std::log1p(q * std::expm1(w)) : w + std::log(q) + std::log1p((1.0 - q) / q * std::exp(-w));
    const double factor = std::expm1(-order * loss) * std::expm1((1.0 - order) * loss);  // times Z^order
    sum += factor * std::exp(order * loss - 0.5 * x * x / variance - shift);
  }
  sum *= h / (s * std::sqrt(2.0 * std::numbers::pi)) * (1.0 + kSlack);
  const double log_moment = (shift + std::log1p(sum + std::expm1(-shift))) * (1.0 + kSlack);
  const double sampled = log_moment / (order - 1.0);
  return sampled < unsampled ? sampled : unsampled * (1.0 + kSlack);  // also where something overflowed
}

SubstitutionBound substitution_epsilon(const Phases& phases, double delta) {
  const double lower = epsilon_interval(phases, delta).lower;
  if (nothing_released(phases)) return {{0.0, 0.0}, kInfinity};
  const RdpBound bound = convert_to_epsilon([&](double order) { return total(phases, order); }, delta);
  return {{lower, bound.value}, bound.order};
}

SubstitutionBound substitution_delta(const Phases& phases, double epsilon) {
  const double lower = delta_interval(phases, epsilon).lower;
  if (nothing_released(phases)) return {{0.0, 0.0}, kInfinity};
  const RdpBound bound = convert_to_delta([&](double order) { return total(phases, order); }, epsilon);
  return {{lower, bound.value}, bound.order};
}

}  // namespace pergrad::accounting
