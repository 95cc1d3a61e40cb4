// rdp_test.cpp: the moment of one step against three independent computations in long double.
#include "dp/accounting/rdp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace pergrad::accounting {
namespace {

using Real = long double;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// An upper bound may exceed the truth by this much: 1e-9 of it, or 1e-15 of a log-moment where the truth is
// next to nothing (a sum of terms of both signs is known to an ulp of their absolute sum).
void expect_tight_upper_bound(double bound, Real truth, const char* what, double order, double sigma,
                              double q) {
  const auto reference = static_cast<double>(truth);
  const double noise = 1e-17 + 1e-13 * reference;  // of the reference itself
  EXPECT_GE(bound, reference - noise) << what << " order " << order << " sigma " << sigma << " q " << q;
  EXPECT_LE(bound, reference * (1 + 1e-9) + 1e-15 / std::min(order - 1, 1.0))
      << what << " order " << order << " sigma " << sigma << " q " << q;
}

// Simpson's rule on the densities themselves; reverse = D(Q || P). Nothing shared with the library's way.
Real divergence_by_quadrature(Real order, Real sigma, Real q, bool reverse) {
  const Real low = -order - 14 * sigma, high = order + 1 + 14 * sigma;
  const auto panels = static_cast<long>(std::ceil((high - low) / (sigma * std::min(sigma, Real(1)) / 24)));
  const Real step = (high - low) / static_cast<Real>(2 * panels);
  Real sum = 0;
  for (long i = 0; i <= 2 * panels; ++i) {
    const Real x = low + step * static_cast<Real>(i);
    const Real log_q = -x * x / (2 * sigma * sigma);
    const Real log_shifted = -(x - 1) * (x - 1) / (2 * sigma * sigma);
    const Real largest = std::max(log_q, log_shifted);
    const Real log_p =
        largest + std::log((1 - q) * std::exp(log_q - largest) + q * std::exp(log_shifted - largest));
    const Real over = reverse ? log_q : log_p, under = reverse ? log_p : log_q;
    const Real f = std::exp(order * over - (order - 1) * under) - std::exp(over);
    sum += f * (i == 0 || i == 2 * panels ? 1 : i % 2 == 1 ? 4 : 2);
  }
  const Real moment = sum * step / 3 / (sigma * std::sqrt(2 * std::acos(Real(-1))));
  return std::log1p(moment) / (order - 1);
}

// Mironov, Talwar, Zhang 2019, section 3.3: A = sum_k C(a, k) (1 - q)^(a - k) q^k e^((k^2 - k) / 2 sigma^2);
// the binomial weights sum to one, so A - 1 has only positive terms.
Real divergence_by_binomial_sum(int order, Real sigma, Real q) {
  Real moment = 0;
  for (int k = 2; k <= order; ++k) {
    const Real log_weight = std::lgamma(Real(order + 1)) - std::lgamma(Real(k + 1)) -
                            std::lgamma(Real(order - k + 1)) + static_cast<Real>(order - k) * std::log1p(-q) +
                            static_cast<Real>(k) * std::log(q);
    const Real growth = static_cast<Real>(k) * static_cast<Real>(k - 1) / (2 * sigma * sigma);
    moment += growth < 1 ? std::exp(log_weight) * std::expm1(growth)
                         : std::exp(log_weight + growth) - std::exp(log_weight);
  }
  return std::log1p(moment) / (order - 1);
}

// The two-sided series of the same paper (section 3.3, fractional orders), plainly summed.
Real divergence_by_two_sided_series(Real order, Real sigma, Real q) {
  const Real middle = Real(0.5) + sigma * sigma * std::log(1 / q - 1);
  Real binomial = 1, moment = 0, term = 1;
  for (int k = 0; k < 100 && (k < order || std::abs(term) > 1e-18L); ++k) {
    const Real i = k, j = order - i, width = sigma * std::sqrt(Real(2));
    const Real left = std::exp(j * std::log1p(-q) + i * std::log(q) + (i * i - i) / (2 * sigma * sigma)) *
                      std::erfc((i - middle) / width) / 2;
    const Real right = std::exp(i * std::log1p(-q) + j * std::log(q) + (j * j - j) / (2 * sigma * sigma)) *
                       std::erfc((middle - j) / width) / 2;
    term = binomial * (left + right);
    moment += term;
    binomial *= (order - i) / (i + 1);
  }
  return std::log(moment) / (order - 1);
}

TEST(RdpOfStep, WithoutSamplingIsTheGaussian) {
  for (const double sigma : {0.1, 0.7, 1.0, 30.0, 1e4}) {
    for (const double order : {1.0001, 1.5, 2.0, 77.3, 4096.0}) {
      const double closed = order / (2 * sigma * sigma);
      EXPECT_GE(rdp_of_step(order, sigma, 1.0), closed);
      EXPECT_LE(rdp_of_step(order, sigma, 1.0), closed * (1 + 1e-14));
      EXPECT_NEAR(rdp_of_step(order, sigma, 1.0 - 1e-12) / closed, 1.0, 1e-8);  // and the general way agrees
    }
  }
}

TEST(RdpOfStep, AgreesWithQuadratureAtFractionalOrders) {
  for (const double sigma : {0.3, 0.6, 1.0, 2.5, 10.0}) {
    for (const double q : {1e-4, 0.01, 0.3, 0.9}) {
      for (const double order : {1.01, 1.37, 2.5, 6.531, 17.25}) {
        const Real truth = divergence_by_quadrature(order, sigma, q, false);
        expect_tight_upper_bound(rdp_of_step(order, sigma, q), truth, "quadrature", order, sigma, q);
      }
    }
  }
}

TEST(RdpOfStep, CoversTheOtherDirectionToo) {
  for (const double sigma : {0.5, 1.0, 4.0}) {
    for (const double q : {0.001, 0.1, 0.5, 0.95}) {
      for (const double order : {1.1, 2.0, 5.5, 12.0}) {
        EXPECT_GE(rdp_of_step(order, sigma, q),
                  static_cast<double>(divergence_by_quadrature(order, sigma, q, true)) - 1e-17);
      }
    }
  }
}

TEST(RdpOfStep, AgreesWithTheBinomialSumAtIntegerOrders) {
  for (const double sigma : {0.1, 0.5, 1.0, 3.0, 50.0, 1e4}) {
    for (const double q : {1e-8, 1e-4, 0.01, 0.5, 0.999}) {
      for (const int order : {2, 3, 8, 33, 256, 1000}) {
        const Real truth = divergence_by_binomial_sum(order, sigma, q);
        if (!std::isfinite(truth)) continue;
        expect_tight_upper_bound(rdp_of_step(order, sigma, q), truth, "binomial", order, sigma, q);
      }
    }
  }
}

TEST(RdpOfStep, AgreesWithTheTwoSidedSeries) {
  for (const double sigma : {1.0, 2.0, 6.0}) {
    for (const double q : {0.01, 0.1, 0.4}) {
      for (const double order : {4.5, 8.1216, 12.75}) {
        const Real truth = divergence_by_two_sided_series(order, sigma, q);
        EXPECT_NEAR(rdp_of_step(order, sigma, q) / static_cast<double>(truth), 1.0, 1e-7)
            << order << " " << sigma << " " << q;
      }
    }
  }
}

TEST(RdpOfStep, IsSmoothAcrossIntegers) {
  for (const double sigma : {0.4, 1.0, 8.0}) {
    for (const double order : {2.0, 5.0, 16.0}) {
      const double at = rdp_of_step(order, sigma, 0.05);
      EXPECT_NEAR(rdp_of_step(order - 1e-9, sigma, 0.05) / at, 1.0, 1e-7);
      EXPECT_NEAR(rdp_of_step(order + 1e-9, sigma, 0.05) / at, 1.0, 1e-7);
    }
  }
}

TEST(RdpOfStep, GrowsWithOrderAndRateAndShrinksWithNoise) {
  for (const double sigma : {0.3, 1.0, 20.0}) {
    for (const double q : {1e-5, 0.02, 0.7}) {
      for (const double order : {1.2, 3.0, 21.0}) {
        const double here = rdp_of_step(order, sigma, q);
        EXPECT_LT(here, rdp_of_step(order * 1.2, sigma, q));
        EXPECT_LT(here, rdp_of_step(order, sigma, q * 1.2));
        EXPECT_GT(here, rdp_of_step(order, sigma * 1.2, q));
      }
    }
  }
}

TEST(RdpEpsilon, OneOrderIsTheConversionOfCanonneKamathSteinke) {
  // At its own optimal order the result must be Prop. 12 applied to the Gaussian, and no other order better.
  const double sigma = 2.0, steps = 10.0, delta = 1e-6;
  const RdpBound bound = rdp_epsilon({{sigma, 1.0, 10}}, delta);
  const auto by_hand = [&](double a) {
    return steps * a / (2 * sigma * sigma) + std::log((a - 1) / a) -
           (std::log(delta) + std::log(a)) / (a - 1);
  };
  EXPECT_NEAR(bound.value, by_hand(bound.order), 1e-12);
  for (double a = 1.001; a < 100; a *= 1.001) EXPECT_LE(bound.value, by_hand(a) + 1e-9) << a;
}

TEST(RdpDelta, OneOrderIsTheSameConversionSolvedForDelta) {
  const double sigma = 3.0, epsilon = 2.0;
  const RdpBound bound = rdp_delta({{sigma, 1.0, 4}}, epsilon);
  const auto by_hand = [&](double a) {
    return std::exp((a - 1) * (4 * a / (2 * sigma * sigma) - epsilon)) / a * std::pow(1 - 1 / a, a - 1);
  };
  EXPECT_NEAR(bound.value / by_hand(bound.order), 1.0, 1e-12);
  for (double a = 1.001; a < 100; a *= 1.001) EXPECT_LE(bound.value, by_hand(a) * (1 + 1e-9)) << a;
}

TEST(RdpEpsilon, TheOrderIsSearchedContinuouslyAndFar) {
  EXPECT_LT(rdp_epsilon({{0.6, 0.5, 200}}, 1e-5).order, 1.3);        // a grid from 1.1 upward loses 1 % here
  EXPECT_GT(rdp_epsilon({{1000.0, 1e-3, 1}}, 1e-12).order, 5000.0);  // a grid up to 256 loses most here
  // sigma -> infinity: epsilon goes to zero instead of stopping at log(1 / delta) / (largest order).
  EXPECT_LT(rdp_epsilon({{1e4, 1.0, 1}}, 1e-12).value, 1e-3);
}

TEST(RdpArguments, AreRefused) {
  for (const double order : {1.0, 0.5, -3.0, kNaN, kInfinity}) {
    EXPECT_THROW(rdp_of_step(order, 1.0, 0.1), std::invalid_argument) << order;
  }
  for (const double sigma : {0.0, -1.0, kNaN, kInfinity}) {
    EXPECT_THROW(rdp_of_step(2.0, sigma, 0.1), std::invalid_argument) << sigma;
  }
  for (const double q : {0.0, -0.1, 1.0000001, kNaN, kInfinity}) {
    EXPECT_THROW(rdp_of_step(2.0, 1.0, q), std::invalid_argument) << q;
  }
}

}  // namespace
}  // namespace pergrad::accounting
