// calibrate.cpp: inverse problems by bisection on the upper bound.
#include "dp/accounting/calibrate.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "dp/accounting/rdp.h"

namespace pergrad::accounting {
namespace {

// What a budget is spent against. The bisections keep `too much` and `allowed` apart by calling this alone.
double epsilon_upper(const Phase& phase, double delta) { return rdp_epsilon({phase}, delta).value; }

[[noreturn]] void out_of_reach(double target_epsilon, const char* why) {
  throw std::invalid_argument("accounting: target epsilon " + std::to_string(target_epsilon) + " " + why);
}

}  // namespace

double noise_multiplier_for(double target_epsilon, double delta, double sampling_rate, std::int64_t steps) {
  constexpr double kLeast = 1e-6, kMost = 1e9, kPrecision = 1e-5;
  check_epsilon(target_epsilon);
  check_delta(delta);
  check_phases({{1.0, sampling_rate, steps}});
  if (steps == 0) throw std::invalid_argument("accounting: steps: got 0, wanted an integer >= 1");
  const auto allowed = [&](double sigma) {
    return epsilon_upper({sigma, sampling_rate, steps}, delta) <= target_epsilon;
  };
  double enough = 1.0;
  while (!allowed(enough)) {
    if ((enough *= 2.0) > kMost) out_of_reach(target_epsilon, "is out of reach at any noise");
  }
  double too_little = enough / 2.0;
  while (allowed(too_little)) {
    enough = too_little;
    if ((too_little /= 2.0) < kLeast) return enough;
  }
  while (enough > too_little * (1.0 + kPrecision)) {
    const double middle = std::sqrt(enough * too_little);
    (allowed(middle) ? enough : too_little) = middle;
  }
  return enough;
}

std::int64_t steps_for(double target_epsilon, double delta, double sampling_rate, double noise_multiplier) {
  constexpr std::int64_t kMost = 1'000'000'000'000'000;
  check_epsilon(target_epsilon);
  check_delta(delta);
  check_phases({{noise_multiplier, sampling_rate, 1}});
  const auto allowed = [&](std::int64_t steps) {
    return epsilon_upper({noise_multiplier, sampling_rate, steps}, delta) <= target_epsilon;
  };
  if (!allowed(1)) out_of_reach(target_epsilon, "does not allow one step");
  std::int64_t few = 1, many = 2;
  while (allowed(many)) {
    if (many == kMost) return kMost;
    few = many;
    many = many > kMost / 2 ? kMost : many * 2;
  }
  while (many - few > 1) {
    const std::int64_t middle = few + (many - few) / 2;
    (allowed(middle) ? few : many) = middle;
  }
  return few;
}

}  // namespace pergrad::accounting
