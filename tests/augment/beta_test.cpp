// Beta(alpha, alpha) against its moments and its distribution function.
#include "augment/beta.h"
#include "core/philox.h"

#include "tests/augment/beta_distribution.h"
#include "tests/augment/examples.h"

#include <algorithm>

namespace pergrad::augment {
namespace {

constexpr int kDraws = 200000;

std::vector<double> draws(double alpha) {
  PhiloxStream random(7, static_cast<uint64_t>(alpha * 1e6));
  std::vector<double> x;
  for (int i = 0; i < kDraws; ++i) x.push_back(symmetric_beta(alpha, random));
  return x;
}

// The reference itself: closed forms for 1/2 (arcsine law), 1 and 2.
TEST(Beta, ReferenceDistribution) {
  for (double x : {1e-6, 0.01, 0.3, 0.5, 0.77, 0.999}) {
    EXPECT_NEAR(beta_distribution(0.5, x), 2 / std::numbers::pi * std::asin(std::sqrt(x)), 1e-12);
    EXPECT_NEAR(beta_distribution(1.0, x), x, 1e-12);
    EXPECT_NEAR(beta_distribution(2.0, x), x * x * (3 - 2 * x), 1e-12);
  }
}

TEST(Beta, Moments) {
  for (double alpha : {0.01, 0.2, 0.5, 1.0, 1.5, 4.0, 100.0}) {
    double mean = 0, variance = 0;
    for (double x : draws(alpha)) {
      ASSERT_TRUE(x >= 0 && x <= 1) << alpha;
      mean += x / kDraws;
      variance += (x - 0.5) * (x - 0.5) / kDraws;
    }
    EXPECT_NEAR(mean, 0.5, mean_bound(kDraws)) << alpha;
    EXPECT_NEAR(variance, 1 / (4 * (2 * alpha + 1)), mean_bound(kDraws, 0.25)) << alpha;
  }
}

TEST(Beta, Distribution) {
  for (double alpha : {0.05, 0.2, 0.5, 0.999, 1.0, 1.001, 2.0, 8.0, 1000.0}) {
    std::vector<double> x = draws(alpha);
    std::ranges::sort(x);
    double furthest = 0;
    for (size_t i = 0; i < x.size();) {
      size_t next = i;
      while (next < x.size() && x[next] == x[i]) ++next;  // 0 and 1 come many times where alpha is small
      const double below = x[i] > 0 ? beta_distribution(alpha, x[i]) : 0.0;
      if (x[i] > 1e-12 && x[i] < 1 - 1e-12) {
        furthest = std::max({furthest, std::fabs(static_cast<double>(i) / kDraws - below),
                             std::fabs(static_cast<double>(next) / kDraws - below)});
      }
      i = next;
    }
    EXPECT_LT(furthest, distribution_bound(kDraws)) << alpha;
  }
}

TEST(Beta, ExtremeAlphasStayNumbers) {
  PhiloxStream random(3, 0);
  for (int i = 0; i < 1000; ++i) {
    for (double alpha : {1e-300, 1e-6}) {
      const double x = symmetric_beta(alpha, random);
      ASSERT_TRUE(x >= 0 && x <= 1) << alpha;  // also false for NaN
    }
    ASSERT_NEAR(symmetric_beta(1e6, random), 0.5, 0.005);  // 14 standard deviations
  }
}

}  // namespace
}  // namespace pergrad::augment
