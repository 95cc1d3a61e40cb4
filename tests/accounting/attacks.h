// attacks.h: what no accountant may go below: the best of two simple attacks on the dominating pair.
//
// Any event E gives epsilon >= log((P(E) - delta) / Q(E)) and delta >= P(E) - e^epsilon Q(E). Two families:
//   sum      the observer adds the T outcomes up: N(0, 1) against a binomial mixture of shifted N(0, 1)
//   maximum  the observer looks at the largest of the T outcomes
// Rounded so that the exact value of the whole run is never below what is returned (0 at worst). A run of
// several phases is at least as exposed as each phase alone: the largest is taken.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "dp/accounting/golden_section.h"
#include "dp/accounting/phase.h"

namespace pergrad::accounting::attacks {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr double kSlack = 1e-9;  // relative; far above the rounding of a sum of 1e5 positive terms

// `draws` independent variables, each N(0, 1) under Q and sum_i weight_i N(mean_i, 1) under P.
struct Mixture {
  struct Component {
    double weight, mean;
  };
  std::vector<Component> components;  // by increasing mean
  double draws = 1.0;
};

// P(some draw > t), rounded down.
inline double hit_probability(const Mixture& mixture, double t) {
  double one_draw = 0.0;
  for (const auto& [weight, mean] : mixture.components) {
    const double distance = t - mean + 1e-15 * (std::abs(t) + mean);
    one_draw += 0.5 * weight * std::erfc(distance * std::numbers::sqrt2 / 2.0);
  }
  return -std::expm1(mixture.draws * std::log1p(-std::min(one_draw, 1.0))) * (1.0 - kSlack);
}

// log Q(some draw > t), rounded up: union bound; far out Mills' ratio, P(N > t) < density(t) / t.
inline double log_false_alarm(const Mixture& mixture, double t) {
  const double one_draw = t < 20.0 ? std::log(0.5 * std::erfc(t * std::numbers::sqrt2 / 2.0))
                                   : -0.5 * t * t - std::log(t * std::sqrt(2.0 * std::numbers::pi));
  return std::log(mixture.draws) + one_draw + kSlack + 1e-15 * t * t;
}

inline Mixture maximum_of_outcomes(const Phase& phase) {
  const double q = phase.sampling_rate;
  return {{{1.0 - q, 0.0}, {q, 1.0 / phase.noise_multiplier}}, static_cast<double>(phase.steps)};
}

// The sum over sigma sqrt(T) is N(K / (sigma sqrt(T)), 1), K ~ Binomial(T, q). Components of neighbouring K
// are lumped at the smallest of them, which only makes P more like Q; so does counting fewer steps.
inline Mixture sum_of_outcomes(const Phase& phase) {
  constexpr double kMaxSteps = 1e9, kMaxComponents = 512.0, kNegligible = 1e-40;
  const double q = phase.sampling_rate, steps = std::min(static_cast<double>(phase.steps), kMaxSteps);
  const double scale = phase.noise_multiplier * std::sqrt(steps);
  if (q == 1.0) return {{{1.0, steps / scale}}};

  const double mode = std::min(std::floor((steps + 1.0) * q), steps), odds = q / (1.0 - q);
  std::vector<double> below, above = {1.0};  // probability of K over that of the mode, outward from it
  for (double k = mode, p = 1.0; k > 0.0 && p > kNegligible; k -= 1.0) {
    below.push_back(p *= k / ((steps - k + 1.0) * odds));
  }
  for (double k = mode, p = 1.0; k < steps && p > kNegligible; k += 1.0) {
    above.push_back(p *= (steps - k) / (k + 1.0) * odds);
  }
  const double lowest = mode - static_cast<double>(below.size());
  std::vector<double> probability(below.rbegin(), below.rend());
  probability.insert(probability.end(), above.begin(), above.end());

  double total = 0.0;
  for (const double p : probability) total += p;
  const auto lump = static_cast<std::size_t>(static_cast<double>(probability.size()) / kMaxComponents) + 1;
  Mixture mixture;
  for (std::size_t i = 0; i < probability.size(); ++i) {
    if (i % lump == 0) mixture.components.push_back({0.0, (lowest + static_cast<double>(i)) / scale});
    mixture.components.back().weight += probability[i] / total;
  }
  return mixture;
}

// The largest gain(P(E), log Q(E)) over thresholds t.
template <class F>
double best_event(const Mixture& mixture, const F& gain) {
  constexpr int kScan = 128;
  const auto loss = [&](double t) { return -gain(hit_probability(mixture, t), log_false_alarm(mixture, t)); };
  const double low = mixture.components.front().mean - 6.0;   // below: P(E) is 1, Q(E) only grows
  const double high = mixture.components.back().mean + 14.0;  // above: P(E) < 1e-44
  const double width = (high - low) / kScan;
  double best = low, least = loss(low);
  for (int i = 1; i <= kScan; ++i) {
    const double t = low + width * i, here = loss(t);
    if (here < least) {
      best = t;
      least = here;
    }
  }
  return -std::min(least, loss(golden_section(loss, best - width, best + width, 30)));
}

template <class F>
double best_attack(const Phases& phases, const F& gain) {
  double best = 0.0;
  for (const Phase& phase : phases) {
    if (phase.steps == 0) continue;
    best = std::max(best, best_event(maximum_of_outcomes(phase), gain));
    best = std::max(best, best_event(sum_of_outcomes(phase), gain));
  }
  return best;
}

inline double epsilon_lower_bound(const Phases& phases, double delta) {
  check_phases(phases);
  check_delta(delta);
  return best_attack(phases, [&](double hit, double log_false) {
    const bool shows = hit > delta && std::isfinite(log_false);
    return shows ? std::log(hit - delta) - log_false - kSlack : kNothing;
  });
}

inline double delta_lower_bound(const Phases& phases, double epsilon) {
  check_phases(phases);
  check_epsilon(epsilon);
  return best_attack(phases, [&](double hit, double log_false) {
    return hit - std::exp(epsilon + log_false) * (1.0 + kSlack);
  });
}

}  // namespace pergrad::accounting::attacks
