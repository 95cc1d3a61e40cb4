// accountant_test.cpp: the questions a run asks: order, composition, inverses, extremes, refusals.
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

namespace pergrad::accounting {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The search for the order stops short of the very best one: two nearby settings may swap by this much.
constexpr double kSearch = 1e-9;

double upper(double sigma, double q, std::int64_t steps, double delta) {
  return epsilon_interval({{sigma, q, steps}}, delta).upper;
}

TEST(EpsilonInterval, SaysWhoMadeIt) {
  const Interval epsilon = epsilon_interval({{2.0, 0.1, 100}}, 1e-5);
  EXPECT_EQ(epsilon.accountant, "rdp");
  EXPECT_EQ(epsilon.upper, epsilon.rdp);
  EXPECT_GT(epsilon.rdp_order, 1.0);
}

TEST(EpsilonInterval, IsMonotoneInEveryArgument) {
  for (const double sigma : {0.5, 1.0, 8.0}) {
    for (const double q : {1e-4, 0.01, 0.4}) {
      for (const std::int64_t steps : {1, 100, 20000}) {
        for (const double delta : {1e-10, 1e-5}) {
          const Interval here = epsilon_interval({{sigma, q, steps}}, delta);
          const Interval noisier = epsilon_interval({{sigma * 1.1, q, steps}}, delta);
          const Interval more_often = epsilon_interval({{sigma, q * 1.1, steps}}, delta);
          const Interval longer = epsilon_interval({{sigma, q, steps * 2}}, delta);
          const Interval stricter = epsilon_interval({{sigma, q, steps}}, delta / 2);
          EXPECT_LE(noisier.upper, here.upper * (1 + kSearch));
          EXPECT_GE(more_often.upper, here.upper * (1 - kSearch));
          EXPECT_GE(longer.upper, here.upper * (1 - kSearch));
          EXPECT_GE(stricter.upper, here.upper * (1 - kSearch));
          for (const Interval& other : {here, noisier, more_often, longer, stricter}) {
            EXPECT_GE(other.lower, 0.0);
            EXPECT_LE(other.lower, other.upper);
          }
        }
      }
    }
  }
}

TEST(Phases, ComposeToOneShot) {
  const Interval whole = epsilon_interval({{1.3, 0.02, 1000}}, 1e-6);
  const Interval parts = epsilon_interval({{1.3, 0.02, 1}, {1.3, 0.02, 299}, {1.3, 0.02, 700}}, 1e-6);
  EXPECT_NEAR(parts.upper / whole.upper, 1.0, 1e-12);
  const Interval delta_whole = delta_interval({{1.3, 0.02, 1000}}, 2.0);
  const Interval delta_parts = delta_interval({{1.3, 0.02, 500}, {1.3, 0.02, 500}}, 2.0);
  EXPECT_NEAR(delta_parts.upper / delta_whole.upper, 1.0, 1e-10);
}

TEST(Phases, OrderDoesNotMatterAndEveryPhaseCosts) {
  const Phase first = {1.0, 0.01, 500}, second = {4.0, 0.3, 200};
  const Interval both = epsilon_interval({first, second}, 1e-5);
  EXPECT_NEAR(epsilon_interval({second, first}, 1e-5).upper, both.upper, 1e-12);
  EXPECT_GT(both.upper,
            std::max(epsilon_interval({first}, 1e-5).upper, epsilon_interval({second}, 1e-5).upper));
  EXPECT_LT(both.upper, epsilon_interval({first}, 5e-6).upper + epsilon_interval({second}, 5e-6).upper);
  EXPECT_LE(both.lower, both.upper);
}

TEST(Phases, TwoGaussiansAreOneGaussian) {
  // q = 1: RDP depends on sum steps / sigma^2 alone: 100 / 10^2 + 25 / 5^2 = 2 = 200 / 10^2.
  EXPECT_NEAR(epsilon_interval({{10.0, 1.0, 100}, {5.0, 1.0, 25}}, 1e-5).upper, upper(10.0, 1.0, 200, 1e-5),
              1e-12);
}

TEST(Phases, NothingReleasedCostsNothing) {
  for (const Phases& phases : {Phases{}, Phases{{1.0, 0.1, 0}}, Phases{{1.0, 0.1, 0}, {0.1, 1.0, 0}}}) {
    EXPECT_EQ(epsilon_interval(phases, 1e-5).upper, 0.0);
    EXPECT_EQ(epsilon_interval(phases, 1e-5).lower, 0.0);
    EXPECT_EQ(delta_interval(phases, 1.0).upper, 0.0);
  }
  EXPECT_NEAR(epsilon_interval({{1.0, 0.1, 0}, {2.0, 0.1, 7}}, 1e-5).upper, upper(2.0, 0.1, 7, 1e-5), 1e-12);
}

TEST(DeltaInterval, IsTheInverseOfEpsilon) {
  for (const double sigma : {0.7, 2.0, 20.0}) {
    for (const double q : {0.001, 0.2, 1.0}) {
      for (const double delta : {1e-9, 1e-5}) {
        const double epsilon = upper(sigma, q, 300, delta);
        const Interval back = delta_interval({{sigma, q, 300}}, epsilon);
        EXPECT_NEAR(back.upper / delta, 1.0, 1e-6) << sigma << " " << q << " " << delta;
        EXPECT_LE(back.lower, back.upper);
        const Interval at_lower =
            delta_interval({{sigma, q, 300}}, epsilon_interval({{sigma, q, 300}}, delta).lower);
        EXPECT_NEAR(at_lower.lower / delta, 1.0, 1e-3) << sigma << " " << q << " " << delta;
      }
    }
  }
}

TEST(DeltaInterval, ShrinksWithEpsilonAndStaysAProbability) {
  double last = 1.0;
  for (const double epsilon : {0.0, 0.01, 0.5, 1.0, 4.0, 16.0, 1e3, 1e6}) {
    const Interval delta = delta_interval({{1.0, 0.05, 500}}, epsilon);
    EXPECT_LE(delta.upper, last * (1 + kSearch)) << epsilon;
    EXPECT_LE(delta.lower, delta.upper);
    EXPECT_GT(delta.upper, 0.0) << "an upper bound must not underflow to a promise";
    last = delta.upper;
  }
}

TEST(LowerBound, OneGaussianReleaseIsTheClosedForm) {
  // Balle and Wang 2018, Thm. 8: delta = N(s/2 - e/s) - e^e N(-s/2 - e/s), s = 1 / sigma.
  const auto cdf = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  for (const double sigma : {0.5, 1.0, 3.0}) {
    for (const double epsilon : {0.1, 1.0, 3.0}) {
      const double s = 1.0 / sigma;
      const double exact = cdf(s / 2 - epsilon / s) - std::exp(epsilon) * cdf(-s / 2 - epsilon / s);
      const Interval delta = delta_interval({{sigma, 1.0, 1}}, epsilon);
      EXPECT_LE(delta.lower, exact);
      EXPECT_GE(delta.lower, exact * (1 - 1e-5));
      EXPECT_GE(delta.upper, exact);
    }
  }
}

TEST(NoiseMultiplierFor, MeetsTheTargetAndIsTight) {
  for (const double target : {0.1, 1.0, 8.0, 300.0}) {
    for (const double q : {1e-4, 0.08192, 1.0}) {
      for (const std::int64_t steps : {1, 250, 100000}) {
        const double sigma = noise_multiplier_for(target, 1e-5, q, steps);
        EXPECT_LE(upper(sigma, q, steps, 1e-5), target);
        EXPECT_GT(upper(sigma * 0.999, q, steps, 1e-5), target);
      }
    }
  }
}

TEST(NoiseMultiplierFor, UndoesEpsilon) {
  for (const double sigma : {0.4, 1.0, 7.0, 90.0}) {
    EXPECT_NEAR(noise_multiplier_for(upper(sigma, 0.01, 1000, 1e-6), 1e-6, 0.01, 1000) / sigma, 1.0, 2e-5);
  }
}

TEST(StepsFor, MeetsTheTargetAndIsTheLargest) {
  for (const double target : {0.5, 2.0, 10.0}) {
    for (const double sigma : {2.0, 5.0, 40.0}) {
      const std::int64_t steps = steps_for(target, 1e-5, 0.01, sigma);
      EXPECT_LE(upper(sigma, 0.01, steps, 1e-5), target);
      EXPECT_GT(upper(sigma, 0.01, steps + 1, 1e-5), target);
    }
  }
}

TEST(StepsFor, UndoesEpsilon) {
  for (const std::int64_t steps : {1, 2, 77, 14063}) {
    EXPECT_EQ(steps_for(upper(1.1, 0.0043, steps, 1e-5), 1e-5, 0.0043, 1.1), steps);
  }
}

TEST(Extremes, AreFiniteOrderedAndQuick) {
  const std::clock_t start = std::clock();  // processor time: other programs do not count
  int settings = 0;
  for (const double sigma : {0.1, 0.3, 1.0, 10.0, 1000.0, 1e4}) {
    for (const double q : {1e-8, 1e-6, 1e-3, 0.5, 1.0 - 1e-9, 1.0}) {
      for (const std::int64_t steps : {1L, 1000L, 10'000'000L}) {
        for (const double delta : {1e-12, 1e-3, 0.9}) {
          const Interval epsilon = epsilon_interval({{sigma, q, steps}}, delta);
          const std::string where =
              std::to_string(sigma) + " " + std::to_string(q) + " " + std::to_string(steps);
          EXPECT_TRUE(std::isfinite(epsilon.upper)) << where;
          EXPECT_GE(epsilon.lower, 0.0) << where;
          EXPECT_LE(epsilon.lower, epsilon.upper) << where;
          EXPECT_LE(epsilon.upper, upper(sigma, 1.0, steps, delta) * (1 + kSearch)) << where;
          ++settings;
        }
      }
    }
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds / settings, 0.2);  // some milliseconds in fact; unoptimised builds included
}

TEST(Extremes, NoNoiseToSpeakOfIsInfiniteNeverZero) {
  EXPECT_EQ(epsilon_interval({{1e-200, 0.5, 1}}, 1e-5).upper, kInfinity);
  EXPECT_EQ(delta_interval({{1e-200, 0.5, 1}}, 10.0).upper, 1.0);
  EXPECT_GT(epsilon_interval({{1e-5, 0.5, 1}}, 1e-5).lower, 1e8);
}

TEST(Refusals, BadArgumentsThrowOneClearLine) {
  const auto refused = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      const std::string message = error.what();
      return message.starts_with("accounting: ") && message.find('\n') == std::string::npos;
    }
    return false;
  };
  for (const double sigma : {0.0, -1.0, kNaN, kInfinity}) {
    EXPECT_TRUE(refused([&] { epsilon_interval({{sigma, 0.1, 10}}, 1e-5); })) << sigma;
    EXPECT_TRUE(refused([&] { delta_interval({{sigma, 0.1, 10}}, 1.0); })) << sigma;
    EXPECT_TRUE(refused([&] { steps_for(1.0, 1e-5, 0.1, sigma); })) << sigma;
  }
  for (const double q : {0.0, -0.1, 1.1, kNaN, kInfinity}) {
    EXPECT_TRUE(refused([&] { epsilon_interval({{1.0, q, 10}}, 1e-5); })) << q;
    EXPECT_TRUE(refused([&] { noise_multiplier_for(1.0, 1e-5, q, 10); })) << q;
  }
  for (const double delta : {0.0, 1.0, -1e-5, kNaN}) {
    EXPECT_TRUE(refused([&] { epsilon_interval({{1.0, 0.1, 10}}, delta); })) << delta;
    EXPECT_TRUE(refused([&] { epsilon_interval({}, delta); })) << delta;
    EXPECT_TRUE(refused([&] { noise_multiplier_for(1.0, delta, 0.1, 10); })) << delta;
    EXPECT_TRUE(refused([&] { steps_for(1.0, delta, 0.1, 1.0); })) << delta;
  }
  for (const double epsilon : {-1.0, kNaN, kInfinity}) {
    EXPECT_TRUE(refused([&] { delta_interval({{1.0, 0.1, 10}}, epsilon); })) << epsilon;
    EXPECT_TRUE(refused([&] { noise_multiplier_for(epsilon, 1e-5, 0.1, 10); })) << epsilon;
    EXPECT_TRUE(refused([&] { steps_for(epsilon, 1e-5, 0.1, 1.0); })) << epsilon;
  }
  EXPECT_TRUE(refused([] { epsilon_interval({{1.0, 0.1, -1}}, 1e-5); }));
  EXPECT_TRUE(refused([] { noise_multiplier_for(1.0, 1e-5, 0.1, 0); }));
  EXPECT_TRUE(refused([] { steps_for(1e-3, 1e-5, 1.0, 0.5); }));                        // not even one step
  EXPECT_TRUE(refused([] { noise_multiplier_for(1e-9, 1e-12, 1.0, 1'000'000'000); }));  // no noise is enough
}

}  // namespace
}  // namespace pergrad::accounting
