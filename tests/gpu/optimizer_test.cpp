// Parameters, optimizers and the average on a GPU: the bits of the processor.
#include "layers/coordinates.h"
#include "layers/ema.h"
#include "layers/optimizer.h"
#include "tests/gpu/device_test.h"
#include "tests/support/compare.h"

#include <limits>

namespace pergrad::test {
namespace {

constexpr int64_t kSize = 1000;  // no multiple of a block

Parameters parameters_on(Device device) {
  Parameters parameters;
  parameters.declare("a", {7, 11}, Init::truncated_normal(0.5));
  parameters.declare("b", {kSize - 77}, Init::normal(1));
  parameters.allocate(DType::f32, key_from_text("start"), device);
  return parameters;
}

// From the smallest numbers to those whose square is infinite, and both zeros.
Tensor gradient_of_step(int64_t step) {
  Tensor g = random_tensor({kSize}, DType::f32, static_cast<uint64_t>(step));
  for (int64_t i = 0; i < kSize; i += 3)
    g.data<float>()[i] *= std::ldexp(1.0f, static_cast<int>(i % 47) - 44);
  g.data<float>()[0] = 0.0f;
  g.data<float>()[1] = -0.0f;
  g.data<float>()[2] = 1e-42f;
  g.data<float>()[3] = 1e30f;
  g.data<float>()[kSize - 1] = 1.0f;  // the last one is seen to move
  return g;
}

class ParametersOn : public GpuTest {};

TEST_P(ParametersOn, StartWithTheSameBitsEverywhere) {
  const Parameters here = parameters_on({}), there = parameters_on(device());
  EXPECT_EQ(there.device(), device());
  EXPECT_EQ(there.flat().device(), device());
  EXPECT_TRUE(same_bits(there.host_values(), here.flat()));
  EXPECT_EQ(here.host_values().data<float>(), here.flat().data<float>()) << "a copy that nobody needs";
  EXPECT_THROW(there.flat().data<float>(), Error);
  const Tensor a = there.value({0});
  EXPECT_EQ(a.device_data<float>(), there.flat().device_data<float>());
  EXPECT_TRUE(same_bits(a.to(Device{}), here.value({0})));
}

TEST_P(ParametersOn, TakeValuesFromBothSides) {
  Parameters here = parameters_on({}), there = parameters_on(device());
  const Tensor values = gradient_of_step(1);
  for (const Tensor& from : {values, values.to(device())})
    for (Parameters* to : {&here, &there}) {
      to->assign(gradient_of_step(2));
      const uint64_t version = to->version();
      const Tensor view = to->value({1});
      to->assign(from);
      EXPECT_GT(to->version(), version);
      EXPECT_TRUE(same_bits(to->host_values(), values));
      EXPECT_TRUE(same_bits(view.to(Device{}), values.rows(77, kSize).clone())) << "a view stays one";
    }
}

PG_ON_GPUS(ParametersOn);

class OptimizerOn : public GpuTest {
 protected:
  void twenty_steps(const OptimizerSettings& settings) {
    Parameters here = parameters_on({}), there = parameters_on(device());
    const auto on_cpu = make_optimizer(settings, kSize);
    const auto on_gpu = make_optimizer(settings, kSize, device());
    for (int64_t step = 0; step < 20; ++step) {
      const Tensor g = gradient_of_step(step);
      on_cpu->step(here, g, 0.1);
      // A gradient is taken from wherever it is.
      on_gpu->step(there, step % 2 ? g : g.to(device()), 0.1);
      ASSERT_TRUE(same_bits(there.host_values(), here.flat())) << "step " << step;
    }
    ASSERT_TRUE(all_finite(here.flat())) << "nothing was compared";
    EXPECT_FALSE(same_bits(here.flat(), parameters_on({}).flat()));
    EXPECT_EQ(on_gpu->steps(), 20);
    EXPECT_EQ(there.version(), here.version());
    const auto a = on_cpu->state(), b = on_gpu->state();
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(b[i].value.device(), device());
      EXPECT_TRUE(same_bits(b[i].value.to(Device{}), a[i].value)) << a[i].name;
    }
  }
};

TEST_P(OptimizerOn, Sgd) { twenty_steps({}); }
TEST_P(OptimizerOn, Momentum) { twenty_steps({.momentum = 0.9}); }
TEST_P(OptimizerOn, Adam) { twenty_steps({.name = "adam"}); }
// With this variance some denominators are epsilon, others a root.
TEST_P(OptimizerOn, AdamWithoutTheNoise) {
  twenty_steps({.name = "adam", .epsilon = 1e-3, .noise_variance = 0.9});
}

TEST_P(OptimizerOn, RefusesParametersOfAnotherDevice) {
  Parameters here = parameters_on({});
  const auto optimizer = make_optimizer({}, kSize, device());
  const std::string message = message_of([&] { optimizer->step(here, gradient_of_step(0), 0.1); });
  EXPECT_NE(message.find("parameters are on cpu, wanted on " + device().name()), std::string::npos)
      << message;
}

PG_ON_GPUS(OptimizerOn);

class EmaOn : public GpuTest {};

TEST_P(EmaOn, TwentyUpdatesAndARestore) {
  const Parameters start = parameters_on({});
  Ema here(start.flat(), 0.99, true), there(start.flat().to(device()), 0.99, true);
  const auto update = [&](int64_t t) {
    const Tensor w = random_tensor({kSize}, DType::f32, static_cast<uint64_t>(t));
    here.update(t % 3 ? w : w.to(device()));
    there.update(t % 2 ? w : w.to(device()));
    EXPECT_EQ(there.values().device(), device());
    return same_bits(there.values().to(Device{}), here.values());
  };
  for (int64_t t = 0; t < 20; ++t) ASSERT_TRUE(update(t)) << "update " << t;
  const Tensor kept = here.values().clone();
  ASSERT_TRUE(update(20));
  here.restore(kept.to(device()), 20);
  there.restore(kept, 20);
  EXPECT_TRUE(same_bits(there.values().to(Device{}), kept));
  EXPECT_TRUE(same_bits(here.values(), kept));
  EXPECT_EQ(there.updates(), 20);
  EXPECT_TRUE(update(21));
}

PG_ON_GPUS(EmaOn);

class FiniteOn : public GpuTest {};

// More than 256^2 numbers take three passes.
TEST_P(FiniteOn, FindsOneNumberAnywhere) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const int64_t n : {1, 2, 255, 256, 257, 600, 65536, 65537, 200000}) {
    const Tensor x = random_tensor({n}, DType::f32, 1);
    const Tensor there = x.to(device());
    EXPECT_TRUE(all_finite(x));
    EXPECT_TRUE(all_finite(there));
    const int64_t stride = n <= 600 ? 1 : n / 13;
    for (int64_t at = 0; at < n; at = at + stride < n || at == n - 1 ? at + stride : n - 1)
      for (const float bad : {std::nanf(""), -std::nanf("7"), kInfinity, -kInfinity}) {
        const Tensor element = there.rows(at, at + 1), old = element.clone();
        element.assign(Tensor::of<float>({1}, std::span(&bad, 1)));
        ASSERT_FALSE(all_finite(there)) << bad << " at " << at << " of " << n;
        ASSERT_FALSE(all_finite(element));
        ASSERT_TRUE(all_finite(there.rows(0, at)));
        element.assign(old);
      }
    EXPECT_TRUE(all_finite(there));
  }
}

TEST_P(FiniteOn, LargeAndSmallNumbersAreFinite) {
  const Tensor x = Tensor::empty({70000}, DType::f32);
  for (const float v : {std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest(),
                        std::numeric_limits<float>::denorm_min(), -0.0f}) {
    x.fill(v);
    EXPECT_TRUE(all_finite(x));
    EXPECT_TRUE(all_finite(x.to(device())));
  }
  EXPECT_TRUE(all_finite(Tensor::empty({0}, DType::f32, device())));
  EXPECT_TRUE(all_finite(Tensor::empty({0}, DType::f32)));
}

PG_ON_GPUS(FiniteOn);

}  // namespace
}  // namespace pergrad::test
