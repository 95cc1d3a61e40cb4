// Optimizers, learning rate and averaging against numbers worked out by hand or by PyTorch's documented
// formulas.
#include "layers/ema.h"
#include "layers/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace pergrad {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Two parameters in one flat array.
Parameters parameters_of(const std::vector<float>& values) {
  Parameters parameters;
  const auto size = static_cast<int64_t>(values.size());
  parameters.declare("w", {size}, Init::constant(0));
  parameters.allocate(DType::f32, Key{});
  parameters.assign(Tensor::of<float>({size}, values));
  return parameters;
}

Tensor gradient_of(const std::vector<float>& values) {
  return Tensor::of<float>({static_cast<int64_t>(values.size())}, values);
}

std::vector<float> values_of(const Tensor& t) { return {t.values<float>().begin(), t.values<float>().end()}; }

// All numbers are sums of few powers of two, so that float is exact.
TEST(Sgd, PlainStep) {
  Parameters p = parameters_of({1.0f, -2.0f});
  const auto sgd = make_optimizer({}, 2);
  const uint64_t version = p.version();
  sgd->step(p, gradient_of({0.5f, 4.0f}), 0.25);
  EXPECT_EQ(values_of(p.flat()), (std::vector<float>{0.875f, -3.0f}));
  EXPECT_GT(p.version(), version) << "what is derived from the weights must be made again";
  EXPECT_EQ(sgd->steps(), 1);
  EXPECT_TRUE(sgd->state().empty());
}

// PyTorch: b1 = g1 = 1, w = 1 - 0.5; b2 = 0.5 b1 + g2 = 2.5, w = 0.5 - 1.25.
TEST(Sgd, MomentumIsPyTorchs) {
  Parameters p = parameters_of({1.0f});
  const auto sgd = make_optimizer({.momentum = 0.5}, 1);
  sgd->step(p, gradient_of({1.0f}), 0.5);
  EXPECT_EQ(values_of(p.flat())[0], 0.5f);
  sgd->step(p, gradient_of({2.0f}), 0.5);
  EXPECT_EQ(values_of(p.flat())[0], -0.75f);
  ASSERT_EQ(sgd->state().size(), 1u);
  EXPECT_EQ(sgd->state()[0].name, "momentum");
  EXPECT_EQ(values_of(sgd->state()[0].value)[0], 2.5f);
}

// The first step of Adam is lr * sign(g), whatever the size of g (Kingma and Ba 2015, section 2.1).
TEST(Adam, FirstStepIsTheSign) {
  Parameters p = parameters_of({0.0f, 0.0f, 0.0f});
  const auto adam = make_optimizer({.name = "adam"}, 3);
  adam->step(p, gradient_of({1e-3f, -20.0f, 0.0f}), 0.1);
  EXPECT_NEAR(values_of(p.flat())[0], -0.1, 2e-6);  // epsilon / g = 1e-5
  EXPECT_NEAR(values_of(p.flat())[1], 0.1, 1e-7);
  EXPECT_EQ(values_of(p.flat())[2], 0.0f);
}

// Ten steps against the formulas in double.
TEST(Adam, FollowsTheFormulas) {
  const OptimizerSettings settings{.name = "adam", .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3};
  Parameters p = parameters_of({0.3f});
  const auto adam = make_optimizer(settings, 1);
  double w = 0.3f, m = 0, v = 0;
  for (int t = 1; t <= 10; ++t) {
    const auto g = static_cast<float>(std::sin(3.0 * t));
    adam->step(p, gradient_of({g}), 0.05);
    m = 0.8 * m + 0.2 * static_cast<double>(g);
    v = 0.95 * v + 0.05 * static_cast<double>(g) * static_cast<double>(g);
    w -= 0.05 * (m / (1 - std::pow(0.8, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-3);
    EXPECT_NEAR(values_of(p.flat())[0], w, 1e-6) << "step " << t;
  }
}

// DP-AdamBC: with a gradient of constant size 1 and noise variance 0.75, the denominator is sqrt(1 - 0.75).
// Where less is left than epsilon^2, it is epsilon.
TEST(Adam, NoiseVarianceIsSubtracted) {
  Parameters p = parameters_of({0.0f, 0.0f});
  const auto adam = make_optimizer({.name = "adam", .epsilon = 0.125, .noise_variance = 0.75}, 2);
  adam->step(p, gradient_of({1.0f, 0.5f}), 1.0);
  EXPECT_NEAR(values_of(p.flat())[0], -1.0 / 0.5, 1e-6);
  EXPECT_NEAR(values_of(p.flat())[1], -0.5 / 0.125, 1e-6);
}

TEST(Optimizer, StateRestoredGivesTheSameBits) {
  for (const OptimizerSettings& settings :
       {OptimizerSettings{.momentum = 0.9}, OptimizerSettings{.name = "adam"}}) {
    Parameters p = parameters_of({0.1f, -0.7f});
    const auto first = make_optimizer(settings, 2);
    for (int t = 0; t < 3; ++t) first->step(p, gradient_of({0.3f, 0.01f * static_cast<float>(t)}), 0.1);

    Parameters q = parameters_of(values_of(p.flat()));
    const auto second = make_optimizer(settings, 2);
    for (size_t i = 0; i < first->state().size(); ++i) {
      EXPECT_EQ(first->state()[i].name, second->state()[i].name);
      const std::vector<float> saved = values_of(first->state()[i].value);
      std::copy(saved.begin(), saved.end(), second->state()[i].value.data<float>());
    }
    second->set_steps(first->steps());
    first->step(p, gradient_of({-0.2f, 0.4f}), 0.1);
    second->step(q, gradient_of({-0.2f, 0.4f}), 0.1);
    EXPECT_EQ(values_of(p.flat()), values_of(q.flat())) << settings.name;
  }
}

TEST(Optimizer, Refusals) {
  const auto make = [](const OptimizerSettings& s) { return [s] { (void)make_optimizer(s, 1); }; };
  EXPECT_THAT(make({.name = "lamb"}), ThrowsMessage<Error>(HasSubstr("got \"lamb\", wanted sgd or adam")));
  EXPECT_THAT(make({.momentum = 1.0}), ThrowsMessage<Error>(HasSubstr("momentum is 1")));
  EXPECT_THAT(make({.momentum = NAN}), ThrowsMessage<Error>(HasSubstr("momentum is nan")));
  EXPECT_THAT(make({.name = "adam", .beta2 = 1.0}), ThrowsMessage<Error>(HasSubstr("beta2 is 1")));
  EXPECT_THAT(make({.name = "adam", .epsilon = 0}), ThrowsMessage<Error>(HasSubstr("epsilon is 0")));
  EXPECT_THAT(make({.name = "adam", .noise_variance = -1}),
              ThrowsMessage<Error>(HasSubstr("noise_variance")));
  Parameters p = parameters_of({1.0f, 2.0f});
  const auto sgd = make_optimizer({}, 2);
  EXPECT_THAT([&] { sgd->step(p, gradient_of({1.0f}), 1); }, ThrowsMessage<Error>(HasSubstr("gradient [1]")));
}

TEST(LearningRate, Schedules) {
  const LearningRate constant{.peak = 2, .warmup_steps = 4, .steps = 12};
  EXPECT_EQ(constant.at(0), 0.5);
  EXPECT_EQ(constant.at(3), 2.0);
  EXPECT_EQ(constant.at(11), 2.0);

  const LearningRate linear{.peak = 2, .schedule = "linear", .warmup_steps = 4, .steps = 12};
  EXPECT_EQ(linear.at(4), 2.0);
  EXPECT_EQ(linear.at(8), 1.0);
  EXPECT_EQ(linear.at(11), 0.25);  // it would be 0 at step 12

  const LearningRate cosine{.peak = 2, .schedule = "cosine", .steps = 8};
  EXPECT_EQ(cosine.at(0), 2.0);
  EXPECT_NEAR(cosine.at(4), 1.0, 1e-15);
  EXPECT_NEAR(cosine.at(2), 1.0 + std::sqrt(0.5), 1e-15);

  EXPECT_THAT([&] { (void)cosine.at(8); }, ThrowsMessage<Error>(HasSubstr("wanted in [0, 8)")));
  const LearningRate all_warmup{.peak = 1, .warmup_steps = 3, .steps = 3};
  EXPECT_EQ(all_warmup.at(2), 1.0);
}

// From 0 with all weights at 1: the distance to 1 is the product of the decays. Warm-up (De et al. as coded):
// 2/11 after one update, 3/12 after two, ... so min(0.9, ...) binds from t = 80 on: 81/90 = 0.9.
TEST(Ema, WarmupIsThatOfDeEtAl) {
  Ema ema(gradient_of({0.0f}), 0.9, true);
  EXPECT_EQ(ema.decay_at(1), 2.0 / 11);
  EXPECT_EQ(ema.decay_at(79), 80.0 / 89);
  EXPECT_EQ(ema.decay_at(80), 0.9);
  EXPECT_EQ(ema.decay_at(100000), 0.9);
  double distance = 1;
  for (int t = 1; t <= 5; ++t) {
    ema.update(gradient_of({1.0f}));
    distance *= (1.0 + t) / (10.0 + t);
    EXPECT_NEAR(values_of(ema.values())[0], 1 - distance, 1e-6);
  }
  EXPECT_EQ(ema.updates(), 5);
}

TEST(Ema, PlainAndRestored) {
  Ema ema(gradient_of({4.0f}), 0.5, false);
  ema.update(gradient_of({0.0f}));
  ema.update(gradient_of({3.0f}));
  EXPECT_EQ(values_of(ema.values())[0], 2.5f);

  Ema other(gradient_of({0.0f}), 0.5, false);
  other.restore(ema.values(), ema.updates());
  ema.update(gradient_of({1.0f}));
  other.update(gradient_of({1.0f}));
  EXPECT_EQ(values_of(ema.values()), values_of(other.values()));
  EXPECT_EQ(other.updates(), 3);
}

TEST(Ema, CopiesTheInitialParameters) {
  const Tensor w = gradient_of({1.0f});
  Ema ema(w, 0.5, false);
  w.fill(7);
  EXPECT_EQ(values_of(ema.values())[0], 1.0f);
}

TEST(Ema, Refusals) {
  EXPECT_THAT([] { Ema(gradient_of({0.0f}), 1.0, true); }, ThrowsMessage<Error>(HasSubstr("decay is 1")));
  Ema ema(gradient_of({0.0f}), 0.5, true);
  EXPECT_THAT([&] { ema.update(gradient_of({1.0f, 2.0f})); }, ThrowsMessage<Error>(HasSubstr("wanted [1]")));
}

}  // namespace
}  // namespace pergrad
