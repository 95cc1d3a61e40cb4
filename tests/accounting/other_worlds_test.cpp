// other_worlds_test.cpp: replacing an example, fixed batches, trade-off curves, the approximation.
#include "dp/accounting/substitution.h"
#include "dp/accounting/trade_off.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace pergrad::accounting {
namespace {

double above(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }

// The bound of substitution.cpp by Simpson's rule over x, in long double.
double rdp_by_simpson(double order, double sigma, double q) {
  using Real = long double;
  const Real s = sigma / 2, a = order, high = a + 14 * s;
  constexpr int kPanels = 100000;
  const Real step = (high - 0.5L) / (2 * kPanels);
  Real sum = 0;
  for (int i = 0; i <= 2 * kPanels; ++i) {
    const Real x = 0.5L + step * i, z = 1 - Real(q) + Real(q) * std::exp((x - 0.5L) / (s * s));
    const Real f = (std::pow(z, a) - 1) * (1 - std::pow(z, 1 - a)) * std::exp(-x * x / (2 * s * s));
    sum += f * (i == 0 || i == 2 * kPanels ? 1 : i % 2 == 1 ? 4 : 2);
  }
  return static_cast<double>(std::log1p(sum * step / 3 / (s * std::sqrt(2 * std::numbers::pi_v<Real>))) /
                             (a - 1));
}

TEST(Substitution, TheMomentIsBoundedFromAboveAndClosely) {
  for (const double sigma : {0.8, 2.0, 10.0}) {
    for (const double q : {0.001, 0.1, 0.6}) {
      for (const double order : {1.5, 4.0, 12.0}) {
        const double exact = std::min(rdp_by_simpson(order, sigma, q), 2 * order / (sigma * sigma));
        EXPECT_GE(substitution_rdp(order, sigma, q), exact * (1 - 1e-9)) << sigma << " " << q << " " << order;
        EXPECT_LE(substitution_rdp(order, sigma, q), exact * 1.03) << sigma << " " << q << " " << order;
      }
    }
  }
}

// One step of a batch of 1 out of 2 (q = 1/2, without replacement): brute force over the two worlds. The
// examples' gradients are +1 (replaced by -1) and a bystander's g: outcome N(+-1, s) or N(g, s).
TEST(Substitution, HoldsForTheSmallestFixedBatch) {
  const double sigma = 1.5;
  for (const double bystander : {-1.0, 0.0, 1.0}) {
    for (const double epsilon : {0.3, 1.0, 2.0}) {
      double delta = 0;
      for (double x = -14; x < 14; x += 1e-3) {
        const auto density = [&](double mean) {
          return std::exp(-(x - mean) * (x - mean) / (2 * sigma * sigma)) /
                 (sigma * std::sqrt(2 * std::numbers::pi));
        };
        delta += 1e-3 * std::max(0.0, 0.5 * (density(1) + density(bystander)) -
                                          std::exp(epsilon) * 0.5 * (density(-1) + density(bystander)));
      }
      EXPECT_GE(substitution_delta({{sigma, 0.5, 1}}, epsilon).upper, delta) << bystander << " " << epsilon;
    }
  }
}

TEST(Substitution, WithoutSamplingItIsTwiceTheSensitivity) {
  const Phases phases = {{4.0, 1.0, 10}};
  const RdpBound twice = rdp_epsilon({{2.0, 1.0, 10}}, 1e-5);
  EXPECT_NEAR(substitution_epsilon(phases, 1e-5).upper, twice.value, 1e-6);
}

TEST(Substitution, CostsMoreThanAddingOrRemovingAndIsOrdered) {
  for (const double q : {0.01, 0.2}) {
    const Phases phases = {{2.0, q, 300}};
    const SubstitutionBound epsilon = substitution_epsilon(phases, 1e-5);
    EXPECT_LE(epsilon.lower, epsilon.upper);
    EXPECT_GT(epsilon.upper, epsilon_interval(phases, 1e-5).upper);
    EXPECT_GT(epsilon.upper, rdp_epsilon(phases, 1e-5).value);
    EXPECT_NEAR(substitution_delta(phases, epsilon.upper).upper / 1e-5, 1.0, 1e-6);
  }
  EXPECT_EQ(substitution_epsilon({{1.0, 0.1, 0}}, 1e-5).upper, 0.0);
  EXPECT_THROW(substitution_epsilon({{0.0, 0.1, 1}}, 1e-5), std::invalid_argument);
  EXPECT_THROW(substitution_rdp(1.0, 1.0, 0.1), std::invalid_argument);
  EXPECT_TRUE(std::isinf(substitution_epsilon({{1e-170, 0.5, 1}}, 1e-5).upper));
}

// Without sampling, mu = sqrt(steps) / sigma: false negatives = N(N^-1(1 - alpha) - mu). Tangents lie below.
TEST(TradeOff, LiesBelowTheGaussianCurveAndClose) {
  const Phases phases = {{10.0, 1.0, 100}};
  for (const auto& [alpha, beta] : trade_off(phases, {0.001, 0.01, 0.05, 0.2, 0.5, 0.9}, 100)) {
    double z = 0;  // above(z) = alpha
    for (double low = -10, high = 10; high - low > 1e-12;) {
      z = (low + high) / 2;
      (above(z) > alpha ? low : high) = z;
    }
    const double exact = above(1.0 - z);
    EXPECT_LE(beta, exact + 1e-9) << alpha;
    EXPECT_GE(beta, exact - 0.01) << alpha;
  }
}

TEST(TradeOff, SubsampledStaysAboveEveryAttackThatIsOnePointOfIt) {
  const auto curve = trade_off({{1.0, 0.1, 1}}, {0.0, 0.1, 1.0});
  EXPECT_GE(curve[0].false_negative, 0.9);  // with nothing said, nearly all are missed
  EXPECT_LE(curve[0].false_negative, 1.0);
  // {x > t} at alpha = 0.1.
  const double t = 1.2815515655446004;
  EXPECT_LE(curve[1].false_negative, 1 - (0.9 * above(t) + 0.1 * above(t - 1)));
  EXPECT_GE(curve[1].false_negative, 0.8);
  EXPECT_EQ(curve[2].false_negative, 0.0);
  EXPECT_THROW(trade_off({{1.0, 0.1, 1}}, {1.5}), std::invalid_argument);
}

TEST(GdpApproximation, IsExactWithoutSamplingAndAnApproximationWith) {
  EXPECT_NEAR(gdp_mu_approximation({{10.0, 1.0, 100}}), 1.0, 1e-12);
  EXPECT_NEAR(gdp_epsilon_approximation(1.0, 1e-5), 4.37717809568, 1e-6);
  // P02 of the public table is 6.5789; the central limit promises less, which is why it is never published.
  const double mu = gdp_mu_approximation({{3.0, 0.08192, 2500}});
  EXPECT_NEAR(gdp_epsilon_approximation(mu, 1e-5), 6.5, 0.2);
}

}  // namespace
}  // namespace pergrad::accounting
