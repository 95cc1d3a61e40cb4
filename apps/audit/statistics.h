// The distributions that the audit's tests need (Boost.Math behind them), and its tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pergrad::audit {

double normal_cdf(double z);
double normal_quantile(double p);  // p in (0, 1)

// p values are two-sided: 2 min(P[X <= x], P[X >= x]), at most 1.
double normal_p(double z);
double binomial_p(int64_t hits, int64_t tries, double chance);
double chi_square_p(double sum, double degrees);
// One-sided: of a goodness of fit, which cannot be too good.
double chi_square_above_p(double sum, double degrees);

// The chance of more than `hits`.
double binomial_above(int64_t hits, int64_t tries, double chance);

// Clopper and Pearson 1934: with confidence 1 - level each, the chance behind `hits` of `tries` is at least
// (at most) this.
double binomial_lower(int64_t hits, int64_t tries, double level);
double binomial_upper(int64_t hits, int64_t tries, double level);

// n normal numbers of deviation `sigma` have the sum of squares `squares`: sigma lies in this interval with
// confidence 1 - level.
struct Between {
  double lower = 0, upper = 0;
};
Between deviation_between(double squares, double n, double level);

// Kolmogorov and Smirnov: an upper bound of P[D >= d] for n numbers (Dvoretzky, Kiefer, Wolfowitz; Massart
// 1990). And D itself of `sample`, which is sorted here, against N(0, 1).
double ks_p(double d, int64_t n);
double ks_distance_from_normal(std::vector<float>& sample);

// Delta at epsilon of a Gaussian mechanism with mu = sensitivity / sigma (Balle and Wang 2018, Theorem 8),
// and the smallest epsilon at delta, by bisection.
double gaussian_delta(double mu, double epsilon);
double gaussian_epsilon(double mu, double delta);

}  // namespace pergrad::audit
