// calibrate.cpp: inverse problems: false position on the upper bound, near what Renyi divergences allow.
#include "dp/accounting/calibrate.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "dp/accounting/accountant.h"
#include "dp/accounting/rdp.h"
#include "dp/accounting/search.h"

namespace pergrad::accounting {
namespace {

constexpr double kPrecision = 5e-5;  // relative, of what is looked for
constexpr double kSearch = 4e-4;     // relative, of the epsilons on the way
constexpr double kAsked = 1e-4;      // of whoever asks what the answer costs

[[noreturn]] void out_of_reach(double target_epsilon, const char* why) {
  std::ostringstream message;
  message << "accounting: target epsilon " << target_epsilon << " " << why;
  throw std::invalid_argument(message.str());
}

// The largest x in [least, most] with cost(x) <= target, to within `precision` (relative), or to 1 if x is
// whole. cost grows with x. 0 if there is none. Starts at x = guess.
template <class F>
double largest_within(const F& cost, double target, double guess, double least, double most, double precision,
                      bool whole) {
  const auto over = [&](double x) { return std::clamp(std::log(cost(x) / target), -50.0, 50.0); };
  double low = std::clamp(guess, least, most), high = low, at_low = over(low), at_high = at_low;
  for (double factor = 1.02; at_low > 0.0; factor *= factor * 1.1) {
    if (low == least) return 0.0;
    high = low;
    at_high = at_low;
    low = std::max(whole ? std::floor(low / factor) : low / factor, least);
    at_low = over(low);
  }
  for (double factor = 1.02; at_high <= 0.0; factor *= factor * 1.1) {
    if (high == most) return most;
    low = high;
    at_low = at_high;
    high = std::min(whole ? std::ceil(high * factor) : high * factor, most);
    at_high = over(high);
  }
  Bracket bracket = {low, high, at_low, at_high};
  const auto wide = [&] {
    return whole ? bracket.high - bracket.low > 1.0 : bracket.high > bracket.low * (1.0 + precision);
  };
  while (wide()) {
    const double edge = whole ? 0.0 : 0.3 * precision,
                 position = std::clamp(bracket.crossing(), edge, 1.0 - edge);
    double middle = std::clamp(bracket.low * std::pow(bracket.high / bracket.low, position),
                               bracket.low * (1.0 + edge), bracket.high * (1.0 - edge));
    if (whole) middle = std::clamp(std::round(middle), bracket.low + 1.0, bracket.high - 1.0);
    bracket.take(middle, over(middle));
  }
  return bracket.low;
}

// The largest x that the accountant allows: first roughly by Renyi divergences, which are quick.
template <class F>
double largest_allowed(const F& phase_of, double target, double delta, double guess, double least,
                       double most, bool whole) {
  check_epsilon(target);
  check_delta(delta);
  if (target == 0.0) out_of_reach(target, "is out of reach");
  const auto quick = [&](double x) { return rdp_epsilon({phase_of(x)}, delta).value; };
  const auto tight = [&](double x) {
    return epsilon_interval({phase_of(x)}, delta, whole ? kAsked : kSearch).upper;
  };
  const double rough = largest_within(quick, target, guess, least, most, 0.05, false);
  const double start = rough > 0.0 ? rough : least;
  double x = largest_within(tight, target, whole ? std::floor(start) : start, least, most, kPrecision, whole);
  while (x > least &&
         epsilon_interval({phase_of(x)}, delta, kAsked).upper > target) {  // as whoever asks will ask
    x = whole ? x - 1.0 : x * (1.0 - kPrecision / 2.0);
  }
  if (x > least) return x;
  return epsilon_interval({phase_of(least)}, delta, kAsked).upper <= target ? least : 0.0;
}

}  // namespace

double noise_multiplier_for(double target_epsilon, double delta, double sampling_rate, std::int64_t steps) {
  constexpr double kLeast = 1e-6, kMost = 1e9;
  check_phases({{1.0, sampling_rate, steps}});
  if (steps == 0) throw std::invalid_argument("accounting: steps: got 0, wanted an integer >= 1");
  const auto phase = [&](double inverse) { return Phase{1.0 / inverse, sampling_rate, steps}; };
  const double inverse = largest_allowed(phase, target_epsilon, delta, 1.0, 1.0 / kMost, 1.0 / kLeast, false);
  if (inverse == 0.0) out_of_reach(target_epsilon, "is out of reach at any noise");
  return 1.0 / inverse;
}

std::int64_t steps_for(double target_epsilon, double delta, double sampling_rate, double noise_multiplier) {
  check_phases({{noise_multiplier, sampling_rate, 1}});
  const auto phase = [&](double steps) {
    return Phase{noise_multiplier, sampling_rate, static_cast<std::int64_t>(steps)};
  };
  const double steps = largest_allowed(phase, target_epsilon, delta, 1000.0, 1.0, 1e15, true);
  if (steps == 0.0) out_of_reach(target_epsilon, "does not allow one step");
  return static_cast<std::int64_t>(steps);
}

double sampling_rate_for(double target_epsilon, double delta, double noise_multiplier, std::int64_t steps) {
  check_phases({{noise_multiplier, 1.0, steps}});
  if (steps == 0) throw std::invalid_argument("accounting: steps: got 0, wanted an integer >= 1");
  const auto phase = [&](double rate) { return Phase{noise_multiplier, rate, steps}; };
  const double rate = largest_allowed(phase, target_epsilon, delta, 0.01, 1e-12, 1.0, false);
  if (rate == 0.0) out_of_reach(target_epsilon, "is out of reach at any sampling rate");
  return rate;
}

}  // namespace pergrad::accounting
