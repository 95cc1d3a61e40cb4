// moments.cpp: E_Q[keep Z^(p + i u)] (p = 1 + c, or -c) by a trapezoidal sum over x with a proved error.
#include "dp/accounting/moments.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

namespace pergrad::accounting {
namespace {

using Complex = std::complex<Real>;
constexpr Real kUlp = std::numeric_limits<Real>::epsilon(), kInfinity = std::numeric_limits<Real>::infinity();
constexpr Real kPi = std::numbers::pi_v<Real>;
constexpr Real kDigits = 50;                 // the sum is within 4 e^-50 = 8e-22 of the integral
constexpr Real kReach = 11;                  // it ends 11 sigma beyond the last hump: e^(-11^2 / 2) = 5e-27
constexpr Real kSoft = 0.2L, kWide = 1.02L;  // of the edge of keep, in sigma; sqrt(1 + kSoft^2), rounded up
constexpr Real kMaxNodes = 2e6L;
constexpr std::size_t kRoots = 64;
constexpr std::size_t kHalf = 17;  // cells on either side that a node is spread over
constexpr Real kWidth = 1.75L;     // s: deviation of that, in cells

Real edge(const Phase& phase, double cut) { return 1 + kWide * cut * phase.noise_multiplier; }

Complex product(Complex a, Complex b) {  // without the standard's care for infinities
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

// Adds to the real part, and what that rounded off to the imaginary part (Knuth's exact sum of two): of any
// number of positive terms the two together are right to 2 ulp.
void add(Complex& sum, Real term) {
  const Real next = sum.real() + term, added = next - sum.real();
  sum = {next, sum.imag() + (sum.real() - (next - added)) + (term - added)};
}

// In place, x[k] becomes the sum of x[m] e^(2 pi i k m / n), n = x.size() a power of two (Cooley and Tukey).
void transform(std::vector<Complex>& x) {
  const std::size_t n = x.size();
  for (std::size_t i = 1, reversed = 0; i < n; ++i) {
    std::size_t bit = n >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (i < reversed) std::swap(x[i], x[reversed]);
  }
  const auto turn = [&](std::size_t i) { return std::polar(Real{1}, 2 * kPi * Real(i) / Real(n)); };
  std::vector<Complex> root(n / 2);
  for (std::size_t i = 0; i < n / 2; ++i) {  // the first kRoots, and products of them with every kRoots-th
    const std::size_t low = i % kRoots;
    root[i] = low == 0 || i < kRoots ? turn(i) : product(root[i - low], root[low]);
  }
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t start = 0; start < n; start += 2 * half) {
      for (std::size_t i = start; i < start + half; ++i) {
        const Complex a = x[i], turned = product(root[(i - start) * (n / (2 * half))], x[i + half]);
        x[i] = a + turned;
        x[i + half] = a - turned;
      }
    }
  }
}

// Sets m.ratios[k] to the sum of weights[j] e^(i k spacing points[j]) over that of weights[j]: each point is
// spread over cells of a periodic grid by a Gaussian, which is divided out afterwards (Dutt and Rokhlin 1993,
// SIAM J. Sci. Comput. 14). Let y be a point in cells, u the frequency in radians a cell; |u| <= pi / 4,
// there being 8 cells a frequency. By Poisson summation the sum of e^(-(y - m)^2 / 2 s^2) e^(i u m) over all
// whole m is sqrt(2 pi) s times that of e^(-s^2 (u + 2 pi m)^2 / 2) e^(i (u + 2 pi m) y). Its term m = 0 is
// what we want, times e^(-s^2 u^2 / 2) >= 1 / 2.6; the others are at most 2.1 e^(-3 pi^2 s^2 / 2) = 5e-20 of
// it, and the cells beyond kHalf at most 3 e^(-kHalf^2 / 2 s^2) = 1e-20. Rounding: a spread value carries 3
// kHalf ulp, a cell 3 ulp, the transform 8 ulp a level (an output is a sum of inputs times
// products of roots of unity).
void fourier_sums(const std::vector<Real>& points, const std::vector<Real>& weights, Real spacing, int count,
                  Moments& m) {
  const std::size_t cells = std::bit_ceil(8 * static_cast<std::size_t>(count));
  const Real cells_per_unit = Real(cells) * spacing / (2 * kPi);
  std::array<Real, 2 * kHalf> fall;
  for (std::size_t i = 0; i < fall.size(); ++i) {
    const Real away = Real(i) - Real(kHalf - 1);
    fall[i] = std::exp(-away * away / (2 * kWidth * kWidth));
  }
  std::vector<Complex> grid(cells);
  for (std::size_t j = 0; j < points.size(); ++j) {
    const Real y = points[j] * cells_per_unit, base = std::floor(y), part = y - base;
    const Real first = std::fmod(base - Real(kHalf - 1), Real(cells));
    const auto start = static_cast<std::size_t>(first < 0 ? first + Real(cells) : first);
    // e^(-(part - i)^2 / 2 s^2) = e^(-part^2 / 2 s^2) (e^(part / s^2))^i e^(-i^2 / 2 s^2)
    const Real ratio = std::exp(part / (kWidth * kWidth));
    Real up = weights[j] * std::exp(-part * part / (2 * kWidth * kWidth)), down = up / ratio;
    for (std::size_t i = kHalf - 1; i < 2 * kHalf; ++i, up *= ratio)
      add(grid[(start + i) % cells], up * fall[i]);
    for (std::size_t i = kHalf - 1; i-- > 0; down /= ratio) add(grid[(start + i) % cells], down * fall[i]);
  }
  for (Complex& cell : grid) cell = cell.real() + cell.imag();
  transform(grid);
  const Real rounding = kUlp * (64 + 8 * std::log2(Real(cells)));
  for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
    const Real u = 2 * kPi * Real(k) / Real(cells);
    m.ratios.push_back(grid[k] / grid[0].real() * std::exp(kWidth * kWidth * u * u / 2));
    m.errors.push_back(4e-19L + 6 * rounding);
  }
}

}  // namespace

double set_aside(const Phase& phase, double cut) {
  if (std::isinf(cut)) return 0.0;
  const Real q = phase.sampling_rate, deviation = std::sqrt(2.0L) * kWide * phase.noise_multiplier;
  const Real far = std::erfc(edge(phase, cut) / deviation) / 2;
  const Real near = std::erfc((edge(phase, cut) - 1) / deviation) / 2;
  return static_cast<double>(((1 - q) * far + q * near) * (1 + 1e-9L)) + std::numeric_limits<double>::min();
}

// The nodes are x = 1/2 + k h, the terms h Q keep Z^(p + i u) there.
// * Discretisation. At x + i a, with t = |a| / sigma^2: |Q| = e^(a^2 / 2 sigma^2) Q(x), |keep| <= e^(a^2 / 2
//   (kSoft sigma)^2) keep(x), |Z^(iu)| <= e^(|u| t). For p > 0, |Z| <= Z(x), and Z stays off the negative
//   axis while t < pi; for p < 0, |Z| >= Z(x) cos(t / 2), so |Z^p| <= 2 Z(x)^p up to t = min(pi / 2, 2 /
//   sqrt(-p)). Hence the Fourier transform of the integrand at 2 pi n / h is at most 2 M(c) e^(a^2 / 2 (...)
//   + |u| t - 2 pi |n| a / h), which h makes 2 M(c) e^(-|n| kDigits). The sum is off by the terms n != 0
//   (Poisson; Trefethen and Weideman 2014, SIAM Review 56, Thm. 5.1).
// * Tails. The slope of L is share / sigma^2, share = q e^w / Z <= 1; that of log keep beyond its edge at
//   most -(x - edge) / (kSoft sigma)^2. So beyond the ends the logarithm of the integrand falls at 11 / sigma
//   or faster: a geometric series.
// * Rounding. An exponent carries a few ulp of its parts, a sum 2 ulp; what is below 1e-26 of the largest
//   term is left out. An error e of a weight (relative) moves a ratio by 2 e, one of u L (absolute) by e.
Moments moments(Direction direction, const Phase& phase, double c, double cut, double spacing, int count) {
  const Real sigma = phase.noise_multiplier, q = phase.sampling_rate, variance = sigma * sigma;
  const Real p = direction == Direction::remove ? 1 + Real(c) : -Real(c),
             hard = cut < kInfinity ? 1 / (kSoft * kSoft) : 0;
  const Real angle = p > 0 ? kPi : std::min(kPi / 2, 2 / std::sqrt(-p));
  const Real strip = std::min(angle * variance, sigma * std::sqrt(2 * kDigits / (1 + hard)));
  const Real h =
      2 * kPi / (kDigits / strip + strip * (1 + hard) / (2 * variance) + Real(spacing) * count / variance);
  const Real odds =
      std::min(q * std::exp(-kReach / sigma) / (1 - q), Real{1});  // >= share to the left of -11 sigma
  const Real left = kReach * sigma + std::max(-p * odds, Real{0});
  const Real hump = hard > 0 ? (std::max(p, Real{0}) + hard * edge(phase, cut)) / (1 + hard) : p;
  const Real right = kReach * sigma + std::max(std::min(hump, p), Real{0});
  const Real first = std::ceil((-left - 0.5L) / h), last = std::ceil((right - 0.5L) / h);
  const bool few = last >= first && last - first < (count > 1 ? kMaxNodes : kMaxNodes / 128) &&
                   std::max(-first, last) < 1e15L;
  if (!few) return {0, kInfinity, {}, {}};

  std::vector<Real> points, exponents, ulps, loss_ulps;
  for (Real k = first; k <= last; k += 1) {
    const Real w = k * h / variance, x = 0.5L + k * h, fall = x * x / (2 * variance);
    const Real grown = q * std::expm1(w), z = 1 + grown, loss = std::log1p(grown);
    const Real soft = std::sqrt(2.0L) * kSoft * sigma, t = hard > 0 ? (x - edge(phase, cut)) / soft : -kReach;
    Real keep = 0, keep_ulps = 0;
    if (t > -7) {  // below, erfc(t) / 2 is 1 to 4e-23; from 20 on 1 - 1 / 2 t^2 <= true / this <= 1
      keep = t < 20 ? std::log(std::erfc(t) / 2) : -t * t - std::log(2 * t * std::sqrt(kPi));
      keep_ulps = t < 20 ? 16 + 8 * (std::max(t, Real{0}) + 1) * (std::abs(x) + edge(phase, cut)) / soft
                         : 1e-2L / kUlp;
    }
    points.push_back(direction == Direction::remove ? loss : -loss);
    exponents.push_back(p * loss - fall + keep);
    loss_ulps.push_back(16 * std::abs(loss) + 4 * (std::abs(grown) + std::abs(w) * (grown + q)) / z);
    ulps.push_back(32 + std::abs(x) / variance + 4 * fall + 2 * std::abs(p * loss) +
                   std::abs(p) * loss_ulps.back() + keep_ulps);
  }
  const Real largest = *std::max_element(exponents.begin(), exponents.end());
  const Real ends = std::exp(exponents.front() - largest) + std::exp(exponents.back() - largest);
  std::vector<Real> kept, weights;
  Complex sum = 0;
  Real error = ends / -std::expm1(-kReach * h / sigma), loss_error = 0;
  for (std::size_t j = 0; j < points.size(); ++j) {
    const Real weight = std::exp(exponents[j] - largest);
    error += weight < 1e-26L ? weight : kUlp * weight * (ulps[j] + 2 * std::abs(largest) + 4);
    if (weight < 1e-26L) continue;
    kept.push_back(points[j]);
    weights.push_back(weight);
    add(sum, weight);
    loss_error += kUlp * weight * loss_ulps[j];
  }
  const Real total = sum.real() + sum.imag(), relative = 1.1L * error / total + 1e-20L;
  const Real log = std::log(total) + largest + std::log(h / (sigma * std::sqrt(2 * kPi)));
  Moments m = {
      log,
      1.1L * relative + 8 * kUlp * (std::abs(largest) + std::abs(log) + std::abs(std::log(h / sigma)) + 4),
      {},
      {}};
  if (!(relative < 0.01L)) return {0, kInfinity, {}, {}};
  if (count > 1) fourier_sums(kept, weights, spacing, count, m);
  for (std::size_t k = 0; k < m.errors.size(); ++k)
    m.errors[k] += 2 * relative + Real(spacing) * k * loss_error / total;
  return m;
}

}  // namespace pergrad::accounting
