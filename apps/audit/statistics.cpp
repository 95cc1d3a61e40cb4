// Thin words around Boost.Math.
#include "apps/audit/statistics.h"

#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/normal.hpp>

#include <algorithm>
#include <cmath>

namespace pergrad::audit {
namespace {

namespace bm = boost::math;

template <class Distribution>
double two_sided(const Distribution& d, double x, double just_below) {
  const double lower = bm::cdf(d, x), upper = just_below < 0 ? 1 : bm::cdf(bm::complement(d, just_below));
  return std::min(1.0, 2 * std::min(lower, upper));
}

}  // namespace

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }
double normal_quantile(double p) { return bm::quantile(bm::normal(), p); }

double normal_p(double z) { return std::isnan(z) ? NAN : std::erfc(std::fabs(z) / std::sqrt(2.0)); }
double binomial_p(int64_t hits, int64_t tries, double chance) {
  const bm::binomial d(static_cast<double>(tries), chance);
  return two_sided(d, static_cast<double>(hits), static_cast<double>(hits) - 1);
}
double chi_square_p(double sum, double degrees) {
  if (!(sum >= 0) || std::isinf(sum)) return 0;
  return two_sided(bm::chi_squared(degrees), sum, sum);
}
double chi_square_above_p(double sum, double degrees) {
  if (!(sum >= 0) || std::isinf(sum)) return 0;
  return bm::cdf(bm::complement(bm::chi_squared(degrees), sum));
}
double binomial_above(int64_t hits, int64_t tries, double chance) {
  return bm::cdf(bm::complement(bm::binomial(static_cast<double>(tries), chance), static_cast<double>(hits)));
}

double binomial_lower(int64_t hits, int64_t tries, double level) {
  return bm::binomial::find_lower_bound_on_p(static_cast<double>(tries), static_cast<double>(hits), level);
}
double binomial_upper(int64_t hits, int64_t tries, double level) {
  if (hits >= tries) return 1;
  return bm::binomial::find_upper_bound_on_p(static_cast<double>(tries), static_cast<double>(hits), level);
}

Between deviation_between(double squares, double n, double level) {
  const bm::chi_squared d(n);
  return {std::sqrt(squares / bm::quantile(bm::complement(d, level / 2))),
          std::sqrt(squares / bm::quantile(d, level / 2))};
}

double ks_p(double d, int64_t n) { return std::min(1.0, 2 * std::exp(-2 * static_cast<double>(n) * d * d)); }

double ks_distance_from_normal(std::vector<float>& sample) {
  std::ranges::sort(sample);
  const auto n = static_cast<double>(sample.size());
  double distance = 0;
  for (size_t i = 0; i < sample.size(); ++i) {
    const double p = normal_cdf(sample[i]);
    distance = std::max({distance, p - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - p});
  }
  return distance;
}

double gaussian_delta(double mu, double epsilon) {
  return normal_cdf(-epsilon / mu + mu / 2) - std::exp(epsilon) * normal_cdf(-epsilon / mu - mu / 2);
}

double gaussian_epsilon(double mu, double delta) {
  double low = 0, high = 1;
  if (gaussian_delta(mu, low) <= delta) return 0;
  while (gaussian_delta(mu, high) > delta) high *= 2;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (gaussian_delta(mu, middle) > delta ? low : high) = middle;
  }
  return high;
}

}  // namespace pergrad::audit
