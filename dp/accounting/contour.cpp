// contour.cpp: the trapezoidal sum along the line, its truncation and its rounding.
#include "dp/accounting/contour.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace pergrad::accounting {
namespace {

constexpr double kUlp = std::numeric_limits<double>::epsilon();
constexpr double kTiny = 1e-300;  // more than whatever denormal numbers round off
constexpr Real kFine = std::numeric_limits<Real>::epsilon(), kPi = std::numbers::pi_v<Real>;

// Calls visit(phase, steps) for every phase with sampling. Returns what the others, one Gaussian together,
// have as (sensitivity / deviation)^2.
template <class F>
Real each_sampled(const Phases& phases, const F& visit) {
  Real gaussian = 0;
  for (const Phase& phase : phases) {
    const Real steps = static_cast<Real>(phase.steps), sigma = phase.noise_multiplier;
    if (phase.sampling_rate == 1.0) gaussian += steps / (sigma * sigma);
    if (phase.sampling_rate < 1.0 && phase.steps > 0) visit(phase, steps);
  }
  return gaussian;
}

double up(Real value) {
  return std::nextafter(static_cast<double>(value), std::numeric_limits<double>::infinity());
}

}  // namespace

double chernoff_log_delta(const Phases& phases, Direction direction, double c, double cut, double epsilon) {
  Real log = 0, aside = 0, error = 0;
  const Real gaussian = each_sampled(phases, [&](const Phase& phase, Real steps) {
    const Moments step = moments(direction, phase, c, cut, 1.0, 1);
    log += steps * step.log;
    error += steps * (step.log_error + 4 * kFine * std::abs(step.log));
    aside += steps * set_aside(phase, cut);
  });
  const Real z = c, gain = z * std::log1p(1 / z) + std::log1p(z), smooth = z * (1 + z) / 2 * gaussian;
  const Real kept = log + smooth - z * epsilon - gain;
  error += 16 * kFine * (std::abs(log) + smooth + z * epsilon + gain);
  const Real larger = std::max(kept + error, std::log(aside)),
             smaller = std::min(kept + error, std::log(aside));
  return up(larger + std::log1p(std::exp(smaller - larger)) + 16 * kFine * (1 + std::abs(larger)));
}

Contour::Contour(const Phases& phases, Direction direction, const Line& line)
    : phases_(phases),
      direction_(direction),
      line_(line),
      terms_(static_cast<std::size_t>(std::max(line.count, 2))),
      errors_(terms_.size()) {
  Real log = 0, error = 0, aside = 0;
  std::vector<Real> exponents(terms_.size()), angles(terms_.size()), spread(terms_.size());
  const Real gaussian = each_sampled(phases, [&](const Phase& phase, Real steps) {
    const Moments step = moments(direction, phase, line.c, line.cut, line.spacing, line.count);
    log += steps * step.log;
    error += steps * (step.log_error + 4 * kFine * std::abs(step.log));
    aside += steps * set_aside(phase, line.cut);
    for (std::size_t k = 0; k < step.ratios.size(); ++k) {
      // |(r + e)^T - r^T| <= |r|^T ((1 + e / |r|)^T - 1); a ratio that may be 0 is put at |r| + e, off by at
      // most 3 times that.
      const Real e = step.errors[k], size = std::abs(step.ratios[k]), known = size > 2 * e ? size : size + e;
      exponents[k] += steps * std::log(known);
      angles[k] += std::remainder(steps * std::arg(step.ratios[k]), 2 * kPi);
      spread[k] += (size > 2 * e ? steps * std::log1p(e / size) : 1.1L) + 16 * kFine * steps;
    }
  });
  const bool sense =
      line.c > 0.0 && line.cut >= 0.0 && line.smoothing >= 0.0 && line.spacing > 0.0 && line.count >= 2;
  if (!sense) error = std::numeric_limits<Real>::infinity();
  const Real c = line.c, variance = gaussian + Real(line.smoothing) * line.smoothing;
  variance_ = static_cast<double>(variance);
  set_aside_ = up(aside);
  log_moment_ = static_cast<double>(log + c * (1 + c) / 2 * variance);
  log_error_ = up(error + 4 * kUlp * (std::abs(log) + c * (1 + c) * variance));
  for (std::size_t k = 0; k < terms_.size(); ++k) {  // the Gaussian: (z (1 + z) - c (1 + c)) / 2, z = c + i u
    const Real u = Real(k) * line.spacing, turn = variance * u * (1 + 2 * c) / 2;
    const Real exponent = exponents[k] - variance * u * u / 2;
    const Real size = std::exp(exponent) * (k == 0 ? 0.5L : 1),
               angle = std::remainder(angles[k] + turn, 2 * kPi);
    terms_[k] = {static_cast<double>(size * std::cos(angle)), static_cast<double>(size * std::sin(angle))};
    spread[k] += 8 * kFine * (8 + std::abs(exponents[k]) + variance * u * u + turn);
    errors_[k] = up(std::exp(exponent + spread[k]) - std::exp(exponent) + 4 * kUlp * size);
  }
}

// spacing / pi times the sum of Re F_k over k >= 0, the first one halved. Truncation: |F| at u >= U, the end,
// is at most M(c) e^(-c epsilon - variance u^2 / 2), with the smoothing in M(c), times 1 / u^2 for delta.
Contour::Sum Contour::sum(double epsilon, bool density) const {
  double sum = 0.0, error = 0.0;
  for (std::size_t k = 0; k < terms_.size(); ++k) {
    const double u = static_cast<double>(k) * line_.spacing, c = line_.c;
    const double real = terms_[k].real() * std::cos(u * epsilon) + terms_[k].imag() * std::sin(u * epsilon);
    const double imaginary =
        terms_[k].imag() * std::cos(u * epsilon) - terms_[k].real() * std::sin(u * epsilon);
    const double a = c * (1.0 + c) - u * u, b = u * (1.0 + 2.0 * c);  // z (1 + z) = a + i b
    const double square = density ? 1.0 : (c * c + u * u) * ((1.0 + c) * (1.0 + c) + u * u);
    const double size = std::sqrt(real * real + imaginary * imaginary);
    sum += density ? real : (real * a + imaginary * b) / square;
    error += (errors_[k] + size * kUlp * (40.0 + 4.0 * u * epsilon)) / std::sqrt(square);
    error += kUlp * std::abs(sum);
  }
  const double end = static_cast<double>(line_.count - 1) * line_.spacing;
  const double tail = std::exp(-variance_ * end * end / 2.0) / (density ? variance_ * end : end);
  const double whole = std::exp(log_moment_ - line_.c * epsilon) / std::numbers::pi,
               value = whole * line_.spacing * sum;
  const double off = std::expm1(log_error_ + 4.0 * kUlp * (1.0 + std::abs(log_moment_) + line_.c * epsilon));
  return {value, std::abs(value) * off + whole * (1.0 + off) * (line_.spacing * error + tail) * (1.0 + 1e-9) +
                     kTiny};
}

bool Contour::is_of(const Phases& phases, Direction direction) const {
  return phases_ == phases && direction_ == direction;
}

double Contour::upper(double epsilon) const {
  const Sum kept = delta(epsilon);
  return (kept.value + kept.error + set_aside_) * (1.0 + 4.0 * kUlp);
}

}  // namespace pergrad::accounting
