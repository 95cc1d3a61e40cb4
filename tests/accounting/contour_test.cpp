// contour_test.cpp: closed forms, brute force and chance against the certified bounds.
#include "dp/accounting/contour.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/lower_bound.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace pergrad::accounting {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Real above(Real x) { return std::erfc(x / std::sqrt(2.0L)) / 2; }  // Pr(N(0, 1) > x)

// One step exactly: the event "loss > epsilon" is {x > t} (remove) or {x < t} (add).
Real one_step_delta(Direction direction, Real sigma, Real q, Real epsilon) {
  const Real sign = direction == Direction::remove ? 1 : -1;
  const Real odds = (std::exp(sign * epsilon) - (1 - q)) / q;  // e^w at the edge of the event
  if (odds <= 0) return 0;
  const Real t = sigma * sigma * std::log(odds) + 0.5L;
  const Real p = (1 - q) * above(sign * t / sigma) + q * above(sign * (t - 1) / sigma),
             r = above(sign * t / sigma);
  return sign > 0 ? p - std::exp(epsilon) * r : r - std::exp(epsilon) * p;
}

TEST(OneStep, HockeyStickIsInsideInBothDirections) {
  for (const double sigma : {0.5, 1.0, 4.0}) {
    for (const double q : {0.01, 0.3, 0.9}) {
      for (const double epsilon : {0.02, 0.1, 0.5, 2.0}) {
        const Interval delta = delta_interval({{sigma, q, 1}}, epsilon, 1e-3);
        const std::string where = testing::PrintToString(std::vector<double>{sigma, q, epsilon});
        for (const Direction direction : {Direction::remove, Direction::add}) {
          const Range& range = direction == Direction::remove ? delta.remove : delta.add;
          const auto exact = static_cast<double>(one_step_delta(direction, sigma, q, epsilon));
          EXPECT_LE(range.lower, exact * (1 + 1e-9) + 1e-18) << where;
          EXPECT_GE(range.upper, exact * (1 - 1e-9)) << where;
          if (exact > 1e-12 && direction == Direction::remove) {
            EXPECT_LE(range.upper - range.lower, 1e-3 * range.upper) << where;
          }
        }
      }
    }
  }
}

// Balle and Wang 2018, Thm. 8: delta = N(m/2 - e/m) - e^e N(-m/2 - e/m), m = sqrt(steps) / sigma.
TEST(WithoutSampling, IsTheClosedFormToOneInABillion) {
  for (const double mu : {0.01, 0.3, 1.0, 5.0, 30.0}) {
    for (const double z : {-1.0, 0.5, 2.0, 5.0}) {
      const double epsilon = mu * mu / 2 + mu * z;
      if (epsilon <= 0) continue;
      const Real m = mu, e = epsilon;
      const auto exact = static_cast<double>(above(e / m - m / 2) - std::exp(e) * above(e / m + m / 2));
      const Phases phases = {{2 / mu, 1.0, 3}, {4 / mu, 1.0, 4}};  // 3/4 + 1/4
      const Interval delta = delta_interval(phases, epsilon);
      EXPECT_NEAR(delta.upper / exact, 1.0, 1e-9) << mu << " " << z;
      EXPECT_NEAR(delta.lower / exact, 1.0, 1e-9) << mu << " " << z;
      const Interval back = epsilon_interval(phases, exact);
      EXPECT_NEAR(back.upper / epsilon, 1.0, 1e-9) << mu << " " << z;
      EXPECT_LE(delta.lower, exact * (1 + 1e-14));
      EXPECT_GE(delta.upper, exact * (1 - 1e-14));
    }
  }
}

// E_Q[keep Z^(p + i u)] by Simpson's rule, nothing shared with the library.
std::complex<Real> moment_by_simpson(Direction direction, const Phase& phase, Real c, Real cut, Real u) {
  const Real sigma = phase.noise_multiplier, q = phase.sampling_rate;
  const std::complex<Real> power =
      direction == Direction::remove ? std::complex<Real>(1 + c, u) : std::complex<Real>(-c, -u);
  const Real low = -c - 12 * sigma, high = 1 + c + 12 * sigma;
  const int panels = 40000;
  const Real step = (high - low) / (2 * panels);
  std::complex<Real> sum = 0;
  for (int i = 0; i <= 2 * panels; ++i) {
    const Real x = low + step * i;
    const Real loss = std::log(1 - q + q * std::exp((x - 0.5L) / (sigma * sigma)));
    const Real keep = std::isinf(cut) ? 1 : above((x - 1 - 1.02L * cut * sigma) / (0.2L * sigma));
    sum += keep * std::exp(power * loss - x * x / (2 * sigma * sigma)) *
           Real(i == 0 || i == 2 * panels ? 1
                : i % 2 == 1              ? 4
                                          : 2);
  }
  return sum * (step / 3 / (sigma * std::sqrt(2 * std::numbers::pi_v<Real>)));
}

TEST(Moments, AreThoseOfBruteForceWithinTheirErrors) {
  for (const Direction direction : {Direction::remove, Direction::add}) {
    for (const Phase& phase : {Phase{0.6, 0.3, 1}, Phase{1.0, 0.001, 1}, Phase{4.0, 0.08, 1}}) {
      for (const double c : {0.3, 4.0}) {
        for (const double cut : {4.0, kInfinity}) {
          constexpr double kSpacing = 1.3;
          constexpr int kCount = 40;
          const Moments m = moments(direction, phase, c, cut, kSpacing, kCount);
          ASSERT_EQ(m.ratios.size(), 40U);
          const std::complex<Real> at_c = moment_by_simpson(direction, phase, c, cut, 0);
          EXPECT_LE(std::abs(m.log - std::log(at_c.real())), m.log_error + 1e-16L);
          EXPECT_LE(m.log_error, 1e-15L);
          for (const int k : {0, 1, 7, 39}) {
            const std::complex<Real> ratio =
                moment_by_simpson(direction, phase, c, cut, k * kSpacing) / at_c.real();
            EXPECT_LE(std::abs(m.ratios[static_cast<std::size_t>(k)] - ratio),
                      m.errors[static_cast<std::size_t>(k)] + 1e-15L)
                << k;
            EXPECT_LE(m.errors[static_cast<std::size_t>(k)], 1e-14L);
          }
        }
      }
    }
  }
}

TEST(Moments, WhatIsSetAsideIsItsProbability) {
  for (const double sigma : {0.5, 3.0}) {
    for (const double cut : {1.0, 3.0}) {
      const Phase phase = {sigma, 0.2, 1};
      const Real kept = moment_by_simpson(Direction::remove, phase, 0, cut, 0).real();  // E_P[keep]
      EXPECT_GE(set_aside(phase, cut), static_cast<double>(1 - kept));
      EXPECT_LE(set_aside(phase, cut), static_cast<double>(1 - kept) * 1.01);
    }
  }
}

// Any line gives a bound. Poor ones give poor bounds.
TEST(Contour, AnyLineIsSound) {
  const Phases phases = {{1.0, 0.3, 1}};
  std::mt19937_64 random(5);
  const auto between = [&](double low, double high) {
    return low * std::pow(high / low, std::uniform_real_distribution<double>()(random));
  };
  int useful = 0, useful_below = 0;
  for (int i = 0; i < 300; ++i) {
    const Direction direction = i % 2 == 0 ? Direction::remove : Direction::add;
    const double period = between(0.5, 60), cut = i % 3 == 0 ? kInfinity : between(1.5, 9);
    const Line line = {between(0.05, 30), cut, between(1e-3, 1), 2 * std::numbers::pi / period,
                       2 + int(between(1, 2000))};
    const Contour contour(phases, direction, line);
    const DeltaLowerBound lower(contour, phases, direction, line.c * between(1.05, 4));
    for (const double epsilon : {0.0, 0.1, 0.3, 1.0}) {
      const auto exact = static_cast<double>(one_step_delta(direction, 1.0, 0.3, epsilon));
      const double upper = contour.upper(epsilon), below = lower(epsilon);
      EXPECT_GE(upper, exact * (1 - 1e-12)) << i << " " << epsilon;
      EXPECT_LE(below, exact * (1 + 1e-12)) << i << " " << epsilon;
      useful += upper < 1.2 * exact;
      useful_below += below > 0.8 * exact;
    }
  }
  EXPECT_GT(useful, 100);
  EXPECT_GT(useful_below, 30);
}

// A line that makes no sense bounds by nothing, from above and from below.
TEST(Contour, SenselessLinesBoundNothing) {
  const Phases phases = {{1.0, 0.3, 5}};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Line& line :
       {Line{1, kInfinity, 0.1, 0.2, 0}, Line{1, kInfinity, 0.1, 0.2, 1}, Line{0, kInfinity, 0.1, 0.2, 50},
        Line{-1, kInfinity, 0.1, 0.2, 50}, Line{1, -3, 0.1, 0.2, 50}, Line{1, kInfinity, 0.1, 0, 50},
        Line{nan, kInfinity, 0.1, 0.2, 50}, Line{1, kInfinity, nan, 0.2, 50},
        Line{1, kInfinity, 1e3, 0.2, 50}, Line{1e9, kInfinity, 1, 0.2, 50},
        Line{1, kInfinity, 0.1, 1e300, 50}}) {
    const Contour contour(phases, Direction::remove, line);
    EXPECT_FALSE(contour.upper(0.5) < 0.3) << line.c << " " << line.spacing << " " << line.count;
    for (const double beyond : {2.0, line.c, 0.0, nan})
      EXPECT_LE(DeltaLowerBound(contour, phases, Direction::remove, beyond)(0.5), 0.5);
  }
  const Contour good(phases, Direction::remove, {1.0, kInfinity, 0.05, 0.3, 600});
  EXPECT_EQ(DeltaLowerBound(good, phases, Direction::remove, 0.5)(0.5), 0.0);  // c' < c proves nothing
}

// Without sampling nothing but the sum's own error stands between a line of few points and the truth.
TEST(Contour, FewPointsAreSoundWithoutSampling) {
  const Phases phases = {{1.0, 1.0, 1}};
  int useful = 0;
  for (const Direction direction : {Direction::remove, Direction::add}) {
    for (int count = 2; count < 40; ++count) {
      const Line line = {1.5, kInfinity, 0.0, 0.25, count};
      const Contour contour(phases, direction, line);
      const DeltaLowerBound lower(contour, phases, direction, 4.0);
      for (const double epsilon : {0.1, 0.7, 2.0}) {
        const auto exact =
            static_cast<double>(above(epsilon - 0.5L) - std::exp(Real(epsilon)) * above(epsilon + 0.5L));
        EXPECT_GE(contour.upper(epsilon), exact * (1 - 1e-14)) << count;
        EXPECT_LE(lower(epsilon), exact * (1 + 1e-14)) << count;
        useful += lower(epsilon) > 0.99 * exact && contour.upper(epsilon) < 1.01 * exact;
      }
    }
  }
  EXPECT_GT(useful, 50);
}

// The mean of a function of chance in [0, 1] is within Hoeffding's bound; false alarms below 1e-6 in all.
TEST(Chance, AgreesWithTheInterval) {
  struct Setting {
    double sigma, q;
    int steps;
    double epsilon;
  };
  constexpr int kDraws = 400000;
  std::mt19937_64 random(17);
  for (const auto& [sigma, q, steps, epsilon] :
       {Setting{1.0, 0.1, 10, 0.3}, Setting{0.6, 0.1, 20, 0.2}, Setting{2.0, 0.5, 6, 0.3}}) {
    const Interval delta = delta_interval({{sigma, q, steps}}, epsilon);
    for (const Direction direction : {Direction::remove, Direction::add}) {
      std::normal_distribution<double> normal(0.0, sigma);
      std::bernoulli_distribution joins(q);
      double sum = 0;
      for (int i = 0; i < kDraws; ++i) {
        double loss = 0;
        for (int t = 0; t < steps; ++t) {
          const double shift = direction == Direction::remove && joins(random) ? 1.0 : 0.0;
          loss += std::log1p(q * std::expm1((normal(random) + shift - 0.5) / (sigma * sigma)));
        }
        if (direction == Direction::add) loss = -loss;
        sum += std::max(0.0, -std::expm1(epsilon - loss));
      }
      const double mean = sum / kDraws, slack = std::sqrt(std::log(2 * 6 / 1e-6) / (2.0 * kDraws));
      const Range& range = direction == Direction::remove ? delta.remove : delta.add;
      EXPECT_LE(mean - slack, range.upper);
      EXPECT_GE(mean + slack, range.lower);
      EXPECT_GT(mean, 2 * slack) << "too rare to show anything";
    }
  }
}

}  // namespace
}  // namespace pergrad::accounting
