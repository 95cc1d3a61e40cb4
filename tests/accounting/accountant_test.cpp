// accountant_test.cpp: the questions a run asks: order, composition, inverses, extremes, refusals.
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"
#include "dp/accounting/rdp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace pergrad::accounting {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr double kPrecision = 1e-4;  // the relative width of an interval

double upper(double sigma, double q, std::int64_t steps, double delta) {
  return epsilon_interval({{sigma, q, steps}}, delta).upper;
}

TEST(EpsilonInterval, SaysWhoMadeIt) {
  const Interval epsilon = epsilon_interval({{2.0, 0.1, 100}}, 1e-5);
  EXPECT_EQ(epsilon.accountant, "pld");
  EXPECT_EQ(epsilon.upper, std::max(epsilon.remove.upper, epsilon.add.upper));
  EXPECT_EQ(epsilon.lower, std::max(epsilon.remove.lower, epsilon.add.lower));
  const Interval hopeless = epsilon_interval({{1e-4, 0.5, 1000}}, 1e-5);  // nothing but Renyi divergences
  EXPECT_EQ(hopeless.accountant, "rdp");
  EXPECT_EQ(hopeless.upper, rdp_epsilon({{1e-4, 0.5, 1000}}, 1e-5).value);
}

// Random settings, each a step up or down from the one before. Bounds that are certified can be compared only
// as bounds: what is more exposed has an upper end above the lower end of what is less.
void expect_ordered_along_random_walks(int walks, double least_rate, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto spread = [&](double low, double high) {
    return std::exp(std::uniform_real_distribution<double>(std::log(low), std::log(high))(random));
  };
  constexpr double kRough = 0.1;  // quick
  int by_contour = 0;
  for (int walk = 0; walk < walks; ++walk) {
    Phase phase = {spread(0.3, 1000), spread(least_rate, 1), static_cast<std::int64_t>(spread(1, 1e7))};
    double delta = spread(1e-12, 1e-2);
    Interval last;
    for (int step = 0; step < 20; ++step) {
      int exposed = 0;  // +1: more than before
      if (step > 0) {
        const double factor = spread(1.02, 1.6);
        exposed = random() % 2 == 0 ? 1 : -1;
        const double up = exposed > 0 ? factor : 1 / factor;
        const auto steps = static_cast<std::int64_t>(static_cast<double>(phase.steps) * up);
        switch (random() % 4) {
          case 0:
            phase.noise_multiplier /= up;
            break;
          case 1:
            phase.sampling_rate = std::min(1.0, phase.sampling_rate * up);
            break;
          case 2:
            phase.steps = std::max<std::int64_t>(1, steps);
            break;
          default:
            delta /= up;
        }
      }
      const Interval here = epsilon_interval({phase}, delta, kRough);
      const std::string where = testing::PrintToString(std::vector<double>{
          phase.noise_multiplier, phase.sampling_rate, static_cast<double>(phase.steps), delta});
      ASSERT_TRUE(here.lower >= 0 && here.lower <= here.upper && std::isfinite(here.upper)) << where;
      ASSERT_GE(rdp_epsilon({phase}, delta).value, here.lower) << where;
      if (exposed > 0) {
        ASSERT_GE(here.upper, last.lower) << where;
      }
      if (exposed < 0) {
        ASSERT_LE(here.lower, last.upper) << where;
      }
      by_contour += here.accountant == "pld";
      last = here;
    }
  }
  EXPECT_GT(by_contour, (least_rate < 1e-4 ? 0.5 : 0.9) * 20 * walks);
}

// 10,000 settings in all, four programs' worth: they run side by side.
TEST(Property, OrderedAlongRandomWalks1) { expect_ordered_along_random_walks(165, 1e-3, 1); }
TEST(Property, OrderedAlongRandomWalks2) { expect_ordered_along_random_walks(165, 1e-3, 2); }
TEST(Property, OrderedAlongRandomWalks3) { expect_ordered_along_random_walks(160, 1e-3, 3); }
TEST(Property, OrderedAlongRandomWalksAtTinyRates) { expect_ordered_along_random_walks(10, 1e-6, 4); }

// However coarse the width that is asked for, both ends are bounds.
TEST(EpsilonInterval, CoarseOnesHoldTheTruthToo) {
  const Interval fine = epsilon_interval({{1.0, 0.01, 1000}}, 1e-5);
  for (const double precision : {1.0, 0.3, 0.1, 0.01}) {
    const Interval coarse = epsilon_interval({{1.0, 0.01, 1000}}, 1e-5, precision);
    EXPECT_LE(coarse.remove.lower, fine.remove.upper) << precision;
    EXPECT_GE(coarse.remove.upper, fine.remove.lower) << precision;
    EXPECT_LE(coarse.add.lower, fine.add.upper) << precision;
    EXPECT_GE(coarse.add.upper, fine.add.lower) << precision;
  }
}

TEST(EpsilonInterval, IsMonotoneInEveryArgument) {
  for (const double sigma : {0.5, 1.0, 8.0}) {
    for (const double q : {0.02, 0.4}) {
      for (const std::int64_t steps : {2, 2000}) {
        const double delta = 1e-6;
        const double here = upper(sigma, q, steps, delta), slack = kPrecision;
        EXPECT_LE(upper(sigma * 1.1, q, steps, delta), here * (1 + slack));
        EXPECT_GE(upper(sigma, q * 1.1, steps, delta), here * (1 - slack));
        EXPECT_GE(upper(sigma, q, steps * 2, delta), here * (1 - slack));
        EXPECT_GE(upper(sigma, q, steps, delta / 2), here * (1 - slack));
      }
    }
  }
}

TEST(Phases, ComposeToOneShot) {
  const Interval whole = epsilon_interval({{1.3, 0.02, 1000}}, 1e-6);
  const Interval parts = epsilon_interval({{1.3, 0.02, 1}, {1.3, 0.02, 299}, {1.3, 0.02, 700}}, 1e-6);
  EXPECT_NEAR(parts.upper / whole.upper, 1.0, 1e-9);
  const Interval delta_whole = delta_interval({{1.3, 0.02, 1000}}, 2.0);
  const Interval delta_parts = delta_interval({{1.3, 0.02, 500}, {1.3, 0.02, 500}}, 2.0);
  EXPECT_NEAR(delta_parts.upper / delta_whole.upper, 1.0, 1e-9);
}

TEST(Phases, OrderDoesNotMatterAndEveryPhaseCosts) {
  const Phase first = {1.0, 0.01, 500}, second = {4.0, 0.3, 200};
  const Interval both = epsilon_interval({first, second}, 1e-5);
  EXPECT_NEAR(epsilon_interval({second, first}, 1e-5).upper, both.upper, 1e-9);
  EXPECT_GT(both.upper,
            std::max(epsilon_interval({first}, 1e-5).upper, epsilon_interval({second}, 1e-5).upper));
  EXPECT_LT(both.upper, epsilon_interval({first}, 5e-6).upper + epsilon_interval({second}, 5e-6).upper);
  EXPECT_LE(both.lower, both.upper);
}

TEST(Phases, TwoGaussiansAreOneGaussian) {
  // q = 1: only the sum of steps / sigma^2 counts: 100 / 10^2 + 25 / 5^2 = 2 = 200 / 10^2.
  EXPECT_NEAR(epsilon_interval({{10.0, 1.0, 100}, {5.0, 1.0, 25}}, 1e-5).upper, upper(10.0, 1.0, 200, 1e-5),
              1e-12);
}

TEST(Phases, NothingReleasedCostsNothing) {
  for (const Phases& phases : {Phases{}, Phases{{1.0, 0.1, 0}}, Phases{{1.0, 0.1, 0}, {0.1, 1.0, 0}}}) {
    EXPECT_EQ(epsilon_interval(phases, 1e-5).upper, 0.0);
    EXPECT_EQ(epsilon_interval(phases, 1e-5).lower, 0.0);
    EXPECT_EQ(delta_interval(phases, 1.0).upper, 0.0);
  }
  EXPECT_EQ(epsilon_interval({{1.0, 0.1, 0}, {2.0, 0.1, 7}}, 1e-5).upper, upper(2.0, 0.1, 7, 1e-5));
  const Interval whole =
      epsilon_interval({{1.0, 0.01, 1000}}, 1e-5);  // nothing of a phase without steps counts
  for (const double sigma : {1e-200, 1e-4, 1e-2}) {
    const Interval same = epsilon_interval({{1.0, 0.01, 1000}, {sigma, 0.5, 0}}, 1e-5);
    EXPECT_EQ(same.upper, whole.upper);
    EXPECT_EQ(same.lower, whole.lower);
  }
}

TEST(DeltaInterval, IsTheInverseOfEpsilon) {
  for (const double sigma : {0.7, 2.0, 20.0}) {
    for (const double q : {0.001, 0.2, 1.0}) {
      for (const double delta : {1e-9, 1e-5}) {
        const Phases phases = {{sigma, q, 300}};
        const Interval epsilon = epsilon_interval(phases, delta);
        EXPECT_LE(delta_interval(phases, epsilon.upper, 1e-3).lower, delta)
            << sigma << " " << q << " " << delta;
        EXPECT_GE(delta_interval(phases, epsilon.lower, 1e-3).upper, delta)
            << sigma << " " << q << " " << delta;
      }
    }
  }
}

TEST(DeltaInterval, ShrinksWithEpsilonAndStaysAProbability) {
  Interval last = {{1.0, 1.0}};
  for (const double epsilon : {0.0, 0.01, 0.5, 1.0, 4.0, 16.0, 1e3, 1e6}) {
    const Interval delta = delta_interval({{1.0, 0.05, 500}}, epsilon, 1e-3);
    EXPECT_LE(delta.lower, last.upper) << epsilon;
    EXPECT_LE(delta.lower, delta.upper);
    EXPECT_GT(delta.upper, 0.0) << "an upper bound must not underflow to a promise";
    last = delta;
  }
}

TEST(NoiseMultiplierFor, MeetsTheTargetAndIsTight) {
  for (const double target : {0.1, 1.0, 8.0}) {
    for (const double q : {0.01, 0.08192, 1.0}) {
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
    EXPECT_NEAR(noise_multiplier_for(upper(sigma, 0.01, 1000, 1e-6), 1e-6, 0.01, 1000) / sigma, 1.0, 1e-3);
  }
}

TEST(StepsFor, MeetsTheTargetAndIsTheLargest) {
  for (const double target : {0.5, 2.0, 10.0}) {
    for (const double sigma : {2.0, 5.0, 40.0}) {
      const std::int64_t steps = steps_for(target, 1e-5, 0.01, sigma);
      EXPECT_LE(upper(sigma, 0.01, steps, 1e-5), target);
      EXPECT_GT(upper(sigma, 0.01, steps + 1 + steps / 1000, 1e-5), target);
    }
  }
}

TEST(StepsFor, UndoesEpsilon) {
  for (const std::int64_t steps : {1, 2, 77, 14063}) {
    const auto back = static_cast<double>(steps_for(upper(1.1, 0.0043, steps, 1e-5), 1e-5, 0.0043, 1.1));
    EXPECT_NEAR(back, static_cast<double>(steps), 1e-3 * static_cast<double>(steps));
  }
}

TEST(SamplingRateFor, MeetsTheTargetAndIsTheLargest) {
  for (const double target : {0.5, 4.0}) {
    for (const double sigma : {1.0, 6.0}) {
      const double rate = sampling_rate_for(target, 1e-5, sigma, 500);
      EXPECT_LE(upper(sigma, rate, 500, 1e-5), target);
      EXPECT_GT(upper(sigma, rate * 1.001, 500, 1e-5), target);
    }
  }
  EXPECT_EQ(sampling_rate_for(100.0, 1e-5, 50.0, 10), 1.0);
}

TEST(Extremes, AreFiniteAndOrdered) {
  for (const double sigma : {0.1, 0.3, 3.0, 1e4}) {
    for (const double q : {1e-8, 1e-3, 0.5, 1.0 - 1e-9, 1.0}) {
      for (const std::int64_t steps : {1L, 10'000'000L}) {
        for (const double delta : {1e-12, 1e-3, 0.9}) {
          const Interval epsilon = epsilon_interval({{sigma, q, steps}}, delta, 1e-2);
          const std::string where =
              std::to_string(sigma) + " " + std::to_string(q) + " " + std::to_string(steps);
          EXPECT_TRUE(std::isfinite(epsilon.upper)) << where;
          EXPECT_GE(epsilon.lower, 0.0) << where;
          EXPECT_LE(epsilon.lower, epsilon.upper) << where;
          EXPECT_LE(epsilon.lower, upper(sigma, 1.0, steps, delta)) << where;
        }
      }
    }
  }
}

TEST(Extremes, NoNoiseToSpeakOfIsInfiniteNeverZero) {
  EXPECT_EQ(epsilon_interval({{1e-200, 0.5, 1}}, 1e-5).upper, kInfinity);
  EXPECT_EQ(delta_interval({{1e-200, 0.5, 1}}, 10.0).upper, 1.0);
  EXPECT_GT(epsilon_interval({{1e-5, 0.5, 1}}, 1e-5).upper, 1e8);
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
  for (const double precision : {0.0, -1e-4, 1.1, 1e6, kNaN}) {
    EXPECT_TRUE(refused([&] { epsilon_interval({{1.0, 0.1, 10}}, 1e-5, precision); })) << precision;
    EXPECT_TRUE(refused([&] { delta_interval({{1.0, 0.1, 10}}, 1.0, precision); })) << precision;
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
