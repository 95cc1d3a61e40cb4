// rdp.cpp: the moment by a trapezoidal sum with a proved error, the conversion, the search for the order.
#include "dp/accounting/rdp.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "dp/accounting/best_order.h"

namespace pergrad::accounting {
namespace {

constexpr double kUlp = std::numeric_limits<double>::epsilon();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTiny = std::numeric_limits<double>::min();  // what a positive bound never falls below
constexpr double kPi = std::numbers::pi;

constexpr double kDigits = 64.0;  // the trapezoidal sum is within exp(-64) = 2e-28 of the integral
constexpr double kReach = 13.0;   // the sum ends 13 sigma beyond the last hump, where exp(-x^2/2) < 2e-37
constexpr double kMaxNodes = 65536.0;

// The loss log(dP/dQ) at x is log(1 - q + q e^w), w = (x - 1/2) / sigma^2, without overflow.
double privacy_loss(double w, double q) {
  if (w < 40.0) return std::log1p(q * std::expm1(w));
  const double shifted = w + std::log(q);
  return shifted + std::log1p((1.0 - q) * std::exp(-shifted));
}

// Upper bound of log A, A = E_Q[(dP/dQ)^order]: A - 1 is the sum over the nodes x = 1/2 + k h of
// f(x) = h Q(x) (e^(order L(x)) - 1), L the privacy loss. Four errors, each bounded and added:
//   discretisation  f is analytic for |Im x| < pi sigma^2 (there 1 - q + q e^w stays off the negative axis)
//                   and integral |f(x + ia)| dx <= e^(a^2 / 2 sigma^2) (A + 1): the sum is off by at most
//                   twice that over e^(2 pi a / h) - 1 (Trefethen and Weideman 2014, SIAM Review 56, Thm.
//                   5.1); h makes this 2 e^-kDigits (A + 1)
//   left tail       f < 0 for x < 1/2: leaving it out errs upward
//   right tail      d/dx log(Q e^(order L)) <= (order - x) / sigma^2: beyond order it falls geometrically
//   rounding        each exponent carries a few ulp of its parts, the sum one ulp a term
// All is scaled by e^-shift, where e^shift <= A (because P >= q N(1, sigma^2)): a large A does not overflow.
double log_moment(double order, double sigma, double q) {
  const double variance = sigma * sigma;
  const double strip = std::min(kPi * variance, sigma * std::sqrt(2.0 * kDigits));  // a
  const double h = 2.0 * kPi * strip / (kDigits + strip * strip / (2.0 * variance));
  const double first = std::ceil((-kReach * sigma - 0.5) / h);
  const double last = std::ceil((order + kReach * sigma - 0.5) / h);
  const double nodes = last - first + 1.0;
  if (!(nodes < kMaxNodes)) return kInfinity;

  const double shift = std::max(0.0, order * std::log(q) + order * (order - 1.0) / (2.0 * variance));
  const double log_scale = std::log(h / (sigma * std::sqrt(2.0 * kPi))) - shift;
  const double ulps = 32.0 + nodes + 1.0 / variance + 2.0 * shift - order * std::log(q);
  double sum = 0.0, rounding = 0.0, tail = 0.0;
  for (double k = first; k <= last; k += 1.0) {
    const double w = k * h / variance, x = 0.5 + k * h, x_squared = x * x / variance;
    const double log_weight = log_scale - 0.5 * x_squared, power = order * privacy_loss(w, q);
    const double f = power < 1.0 ? std::exp(log_weight) * std::expm1(power)
                                 : std::exp(log_weight + power) - std::exp(log_weight);
    sum += f;
    rounding += std::abs(f) * (ulps + 2.0 * x_squared + 4.0 * order * (1.0 + std::abs(w)));
    tail = std::exp(log_weight + power);
  }
  tail /= -std::expm1(-h * kReach / sigma);
  const double scaled = sum + kUlp * rounding + tail;  // (A - 1) e^-shift, up to the discretisation
  const double discretisation = 2.1 * std::exp(-kDigits) * (std::abs(scaled) + 3.0);
  return shift + std::log1p(std::max(0.0, scaled + discretisation + std::expm1(-shift)));
}

// epsilon = rdp + log((a - 1) / a) - (log delta + log a) / (a - 1), rounded up.
double epsilon_at(double order, double rdp, double log_delta) {
  const double gain = log_shrink(order), cost = -log_delta / (order - 1.0);
  const double refund = std::log(order) / (order - 1.0);
  return rdp + gain + cost - refund + 8.0 * kUlp * (rdp - gain + cost + refund);
}

bool nothing_released(const Phases& phases) {
  return std::all_of(phases.begin(), phases.end(), [](const Phase& phase) { return phase.steps == 0; });
}

}  // namespace

double total_rdp(const Phases& phases, double order) {
  double total = 0.0;
  for (const auto& [sigma, q, steps] : phases) {
    if (steps > 0) total += static_cast<double>(steps) * rdp_of_step(order, sigma, q);
  }
  return total * (1.0 + kUlp * (2.0 + static_cast<double>(phases.size())));
}

double log_shrink(double order) {
  return order < 2.0 ? std::log((order - 1.0) / order) : std::log1p(-1.0 / order);
}

double rdp_of_step(double order, double noise_multiplier, double sampling_rate) {
  check_phases({{noise_multiplier, sampling_rate, 1}});
  if (!(order > 1.0 && std::isfinite(order))) {
    throw std::invalid_argument("accounting: order: got " + std::to_string(order) + ", wanted a number > 1");
  }
  // Sampling never hurts (joint convexity): the Gaussian without sampling bounds every q, and is exact at 1.
  const double unsampled = order / (2.0 * noise_multiplier * noise_multiplier) * (1.0 + 4.0 * kUlp) + kTiny;
  if (sampling_rate == 1.0) return unsampled;
  const double log_a = log_moment(order, noise_multiplier, sampling_rate);
  const double sampled = log_a / (order - 1.0) * (1.0 + 8.0 * kUlp);
  return sampled < unsampled ? sampled : unsampled;  // also when the sum overflowed or was too long
}

RdpBound convert_to_epsilon(const std::function<double(double)>& rdp, double delta) {
  check_delta(delta);
  const double log_delta = std::log(delta);
  const auto bound = [&](double order) { return epsilon_at(order, rdp(order), log_delta); };
  const double order = best_order(bound);
  return {std::max(bound(order), 0.0), order};
}

RdpBound rdp_epsilon(const Phases& phases, double delta) {
  check_phases(phases);
  check_delta(delta);
  if (nothing_released(phases)) return {0.0, kInfinity};
  return convert_to_epsilon([&](double order) { return total_rdp(phases, order); }, delta);
}

}  // namespace pergrad::accounting
