// Plan: refusals, the exact threshold, the derived numbers, the text that is hashed.
#include "tests/privacy/fakes.h"
#include "core/hash.h"
#include "core/philox.h"

#include <gtest/gtest.h>

namespace pergrad::dp {
namespace {

template <class Expected>
void refuses(const std::function<void(PlanSettings&)>& change) {
  PlanSettings s = settings();
  change(s);
  EXPECT_THROW(Plan{s}, Expected);
}

TEST(Plan, RefusesWhatVoidsTheGuarantee) {
  for (double bad : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY), 1e-9, 1e9})
    refuses<PrivacyError>([&](auto& s) { s.noise_multiplier = bad; });
  for (double bad : {0.0, -0.1, 1.0000001, static_cast<double>(NAN), 0x1p-65})
    refuses<PrivacyError>([&](auto& s) { s.sampling_rate = bad; });
  for (double bad : {0.0, 1.0, -1e-5, static_cast<double>(NAN)})
    refuses<PrivacyError>([&](auto& s) { s.delta = bad; });
  for (double bad : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY), 1e-21, 1e21})
    refuses<PrivacyError>([&](auto& s) { s.clip_norm = bad; });
  for (int64_t bad : {int64_t{0}, int64_t{-1}, (int64_t{1} << 21) + 1})
    refuses<PrivacyError>([&](auto& s) { s.max_examples = bad; });
  for (double bad : {0.0, -3.0, static_cast<double>(NAN), static_cast<double>(INFINITY)})
    refuses<Error>([&](auto& s) { s.expected_batch = bad; });
  refuses<Error>([](auto& s) { s.steps = 0; });
  refuses<Error>([](auto& s) { s.grid_bits = 45; });
  refuses<Error>([](auto& s) { s.grid_bits = 29; });
  refuses<Error>([](auto& s) { s.units = "microbatch"; });
  refuses<Error>([](auto& s) { s.units = "microbatch", s.microbatch_size = 1; });
  refuses<Error>([](auto& s) { s.microbatch_size = 2; });
  refuses<Error>([](auto& s) { s.units = "batch"; });
  refuses<Error>([](auto& s) { s.noise_source = "fast"; });
  refuses<Error>([](auto& s) { s.pool = "a\nb"; });
  refuses<Error>([](auto& s) { s.pool = "a\"b"; });
  PlanSettings limit = settings();
  limit.max_examples = int64_t{1} << 21;
  EXPECT_NO_THROW(Plan{limit});
}

// floor(q * 2^64) recomputed from the bits of the double; the q that is accounted is exactly threshold /
// 2^64.
TEST(Plan, ThresholdIsExact) {
  PhiloxStream random(5, 0);
  for (int trial = 0; trial < 3000; ++trial) {
    PlanSettings s = settings();
    s.sampling_rate = trial == 0   ? 0.1
                      : trial == 1 ? std::nextafter(1.0, 0.0)
                                   : std::exp2(-44 * random.uniform());
    if (s.sampling_rate == 1) continue;
    int exponent = 0;
    const auto mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(s.sampling_rate, &exponent), 53));
    const int shift = 64 + exponent - 53;  // q * 2^64 = mantissa * 2^shift
    const uint64_t threshold = shift >= 0 ? mantissa << shift : mantissa >> -shift;
    const Plan plan(s);
    ASSERT_EQ(plan.threshold_text(), std::to_string(threshold));
    ASSERT_TRUE(plan.joins(threshold - 1));
    ASSERT_FALSE(plan.joins(threshold));
    ASSERT_EQ(static_cast<long double>(plan->sampling_rate), static_cast<long double>(threshold) * 0x1p-64L);
  }
  PlanSettings everybody = settings();
  everybody.sampling_rate = 1;
  EXPECT_TRUE(Plan(everybody).joins(~uint64_t{0}));
  EXPECT_EQ(Plan(everybody)->sampling_rate, 1);
}

TEST(Plan, DerivedNumbers) {
  const Plan plan(settings());
  EXPECT_EQ(plan.sensitivity_in_clips(), 1);
  EXPECT_EQ(plan.effective_noise_multiplier(), 1.7);
  EXPECT_EQ(plan.divisor(), 12.5);
  EXPECT_EQ(plan.noise_std_on_grid(), static_cast<int64_t>(std::ceil(1.7L * 0x1p40L)));
  EXPECT_GE(static_cast<long double>(plan.noise_std_on_grid()), static_cast<long double>(1.7) * 0x1p40L);
  PlanSettings s = settings();
  s.units = "microbatch", s.microbatch_size = 4;
  const Plan groups(s);
  EXPECT_EQ(groups.sensitivity_in_clips(), 2);
  EXPECT_EQ(groups.effective_noise_multiplier(), 0.85);
  EXPECT_EQ(groups.buckets(), 3);
  EXPECT_EQ(groups.divisor(), 3);
  s.microbatch_size = 1000;
  EXPECT_EQ(Plan(s).divisor(), 1);
}

TEST(Plan, TextHoldsEveryNumberAndEverySettingChangesTheHash) {
  const Plan plan(settings());
  EXPECT_EQ(
      plan.canonical_text(),
      "adjacency=add_remove\nsampling_rate=0.125\nsampling_threshold=2305843009213693952\n"
      "noise_multiplier=1.7\nclip_norm=0.29999999999999999\nsteps=1000\nexpected_batch=12.5\n"
      "delta=1.0000000000000001e-05\nmax_examples=100000\ngrid_bits=40\nunits=example\nmicrobatch_size=0\n"
      "pool=none\nnoise_source=secure\n");
  EXPECT_EQ(plan.hash(), sha256_hex(plan.canonical_text()));
  const std::vector<std::function<void(PlanSettings&)>> changes = {
      [](auto& s) { s.sampling_rate = 0.25; },
      [](auto& s) { s.noise_multiplier = 1.75; },
      [](auto& s) { s.clip_norm = 0.25; },
      [](auto& s) { s.steps = 7; },
      [](auto& s) { s.expected_batch = 7; },
      [](auto& s) { s.delta = 1e-6; },
      [](auto& s) { s.max_examples = 7; },
      [](auto& s) { s.grid_bits = 39; },
      [](auto& s) { s.pool = "sha256:1"; },
      [](auto& s) { s.noise_source = "reproducible"; },
      [](auto& s) { s.units = "microbatch", s.microbatch_size = 2; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    PlanSettings s = settings();
    changes[i](s);
    EXPECT_NE(Plan(s).hash(), plan.hash()) << i;
  }
}

}  // namespace
}  // namespace pergrad::dp
