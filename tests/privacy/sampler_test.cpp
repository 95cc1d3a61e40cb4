// PoissonSampler: the exact rule, the law of the draws, and that one example changes one unit only.
#include "tests/privacy/fakes.h"
#include "dp/sampler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace pergrad::dp {
namespace {

const Key kKey = key_from_text("sampler test");

Plan plan_for(double rate, int64_t microbatch = 0, double expected_batch = 100) {
  PlanSettings s = settings();
  s.sampling_rate = rate, s.expected_batch = expected_batch, s.microbatch_size = microbatch;
  s.units = microbatch ? "microbatch" : "example";
  return Plan(s);
}

std::vector<int64_t> ids_of(const std::vector<Unit>& units) {
  std::vector<int64_t> ids;
  for (const Unit& unit : units) ids.insert(ids.end(), unit.ids.begin(), unit.ids.end());
  return ids;
}

TEST(Sampler, JoinsExactlyThoseWhoseWordIsBelowTheThreshold) {
  const Plan plan = plan_for(0.1);
  const PoissonSampler sampler(plan, kKey, 3000);
  for (int64_t step : {0, 1, 77}) {
    const auto ids = ids_of(sampler.draw(step));
    const std::set<int64_t> drawn(ids.begin(), ids.end());
    EXPECT_EQ(drawn.size(), ids.size());
    for (int64_t id = 2999; id >= 0; id -= 7) {  // backwards: each word is found on its own
      const Key key = derive_key(kKey, "sampler " + plan.hash());
      ChaChaStream stream(key, static_cast<uint64_t>(step), 0);
      for (int64_t skip = 0; skip < id; ++skip) stream.next_u64();
      ASSERT_EQ(drawn.contains(id), stream.next_u64() < uint64_t{1844674407370955264}) << id;  // 0.1 * 2^64
    }
  }
}

TEST(Sampler, HasTheNameOfItsPlanAndKey) {
  const Plan plan = plan_for(0.1);
  const std::string name = PoissonSampler(plan, kKey, 3000).name();
  EXPECT_EQ(name.size(), 64u);
  EXPECT_EQ(name, PoissonSampler(plan_for(0.1), kKey, 17).name());
  EXPECT_NE(name, PoissonSampler(plan_for(0.2), kKey, 3000).name());
  EXPECT_NE(name, PoissonSampler(plan, derive_key(kKey, "another run"), 3000).name());
}

TEST(Sampler, DoesNotDependOnHowManyThereAre) {
  for (int64_t microbatch : {0, 4}) {
    const Plan plan = plan_for(0.3, microbatch);
    const PoissonSampler large(plan, kKey, 2000);
    for (int64_t n : {0, 1, 17, 999, 1999})
      for (int64_t step : {0, 5}) {
        std::vector<Unit> expected;  // the large draw without the ids from n up
        for (Unit unit : large.draw(step)) {
          std::erase_if(unit.ids, [n](int64_t id) { return id >= n; });
          if (!unit.ids.empty()) expected.push_back(unit);
        }
        const auto drawn = PoissonSampler(plan, kKey, n).draw(step);
        ASSERT_EQ(drawn.size(), expected.size());
        for (size_t i = 0; i < drawn.size(); ++i) ASSERT_EQ(drawn[i].ids, expected[i].ids);
      }
  }
}

// Rate, sizes, examples, lags and pairs. With N T = 1.2e6 the rate is known to 0.3 % at one sigma.
TEST(Sampler, IsPoissonSampling) {
  constexpr int64_t N = 600, T = 2000;
  const double q = 0.08;
  const PoissonSampler sampler(plan_for(q), kKey, N);
  std::vector<double> per_example(N);
  std::vector<char> before(N, 0);
  double total = 0, sizes = 0, lag = 0, neighbours = 0, far = 0;
  for (int64_t step = 0; step < T; ++step) {
    std::vector<char> now(N, 0);
    for (int64_t id : ids_of(sampler.draw(step))) now[static_cast<size_t>(id)] = 1;
    double size = 0;
    for (size_t id = 0; id < N; ++id) {
      size += now[id], per_example[id] += now[id], lag += now[id] && before[id];
      neighbours += now[id] && now[(id + 1) % N], far += now[id] && now[(id + 37) % N];
    }
    total += size, sizes += (size - N * q) * (size - N * q);
    before = now;
  }
  const double NT = static_cast<double>(N * T);
  EXPECT_LT(std::fabs(total - NT * q), kSigmas * std::sqrt(NT * q * (1 - q)));
  EXPECT_LT(sizes / (N * q * (1 - q)), chi_square_limit(T));  // a fixed batch size gives 0
  EXPECT_GT(sizes / (N * q * (1 - q)), chi_square_limit(T, -kSigmas));
  double spread = 0;
  for (double k : per_example) spread += (k - T * q) * (k - T * q) / (T * q * (1 - q));
  EXPECT_LT(spread, chi_square_limit(N));  // shuffling gives 0
  EXPECT_GT(spread, chi_square_limit(N, -kSigmas));
  const double pair_sd =
      std::sqrt(NT * q * q * (1 + 2 * q));  // neighbouring pairs overlap: a little more than binomial
  EXPECT_LT(std::fabs(lag - NT * q * q), kSigmas * pair_sd);
  EXPECT_LT(std::fabs(neighbours - NT * q * q), kSigmas * pair_sd);
  EXPECT_LT(std::fabs(far - NT * q * q), kSigmas * pair_sd);
}

TEST(Sampler, TakesEverybodyAtRateOneAndMayTakeNobody) {
  EXPECT_EQ(PoissonSampler(plan_for(1), kKey, 100).draw(3).size(), 100u);
  EXPECT_TRUE(PoissonSampler(plan_for(0x1p-60), kKey, 100).draw(3).empty());
  EXPECT_TRUE(PoissonSampler(plan_for(1), kKey, 0).draw(3).empty());
}

TEST(Sampler, RefusesMoreExamplesThanThePlan) {
  EXPECT_THROW(PoissonSampler(plan_for(0.1), kKey, 100001), PrivacyError);
  EXPECT_THROW(PoissonSampler(plan_for(0.1), kKey, 10).draw(-1), Error);
}

TEST(Sampler, KeysStepsAndOtherUsesGiveOtherDraws) {
  const Plan plan = plan_for(0.5);
  const auto a = ids_of(PoissonSampler(plan, kKey, 256).draw(0));
  EXPECT_EQ(a, ids_of(PoissonSampler(plan, kKey, 256).draw(0)));
  EXPECT_NE(a, ids_of(PoissonSampler(plan, kKey, 256).draw(1)));
  EXPECT_NE(a, ids_of(PoissonSampler(plan, key_from_text("other"), 256).draw(0)));
}

// One example more changes its own bucket and no other; buckets are uniform and ids in order.
TEST(Microbatches, OneExampleChangesOneBucket) {
  const Plan plan = plan_for(0.4, 4, 120);  // 30 buckets
  double pairs = 0, together = 0;
  for (int64_t step = 0; step < 400; ++step) {
    const int64_t n = 100 + step % 200;
    const auto with = PoissonSampler(plan, kKey, n + 1).draw(step),
               without = PoissonSampler(plan, kKey, n).draw(step);
    std::set<std::vector<int64_t>> a, b;
    for (const Unit& unit : with) a.insert(unit.ids);
    for (const Unit& unit : without) b.insert(unit.ids);
    int changed = 0;
    for (const auto& ids : a) {
      ASSERT_TRUE(std::is_sorted(ids.begin(), ids.end()));
      changed += !b.contains(ids);
      together += static_cast<double>(ids.size() * (ids.size() - 1));
    }
    ASSERT_LE(changed, 1);
    for (const auto& ids : b) changed -= !a.contains(ids);
    ASSERT_TRUE(changed == 0 || changed == 1);  // grown, or new
    const auto joined = static_cast<double>(ids_of(with).size());
    pairs += joined * (joined - 1);
  }
  // Two that joined meet in one bucket with chance 1/30.
  EXPECT_LT(std::fabs(together - pairs / 30), kSigmas * std::sqrt(2 * pairs / 30));
}

// Each example that joined goes where its own word says, whoever else joined and in whatever place it stands.
TEST(Microbatches, WhoElseJoinedDoesNotMatter) {
  const Plan plan = plan_for(0.5, 4, 120);
  const PoissonSampler sampler(plan, kKey, 400);
  const Key key = derive_key(kKey, "bucket " + plan.hash());
  for (int64_t step = 0; step < 50; ++step) {
    const std::vector<Unit> drawn = sampler.draw(step);
    std::map<uint64_t, std::vector<int64_t>> expected;
    for (int64_t id : ids_of(drawn)) {
      ChaChaStream own(key, static_cast<uint64_t>(step), static_cast<uint32_t>(id));
      expected[below(own, static_cast<uint64_t>(plan.buckets()))].push_back(id);
    }
    ASSERT_EQ(drawn.size(), expected.size());
    auto unit = drawn.begin();
    for (auto& [bucket, ids] : expected) {
      std::sort(ids.begin(), ids.end());
      ASSERT_EQ((unit++)->ids, ids);
    }
  }
}

TEST(Microbatches, BucketsAreUniform) {
  const Plan plan = plan_for(1, 2, 14);  // 7 buckets, everybody joins
  const PoissonSampler sampler(plan, kKey, 3500);
  double chi = 0;
  std::set<std::vector<int64_t>> different;
  for (int64_t step = 0; step < 40; ++step) {
    const auto units = sampler.draw(step);
    ASSERT_EQ(units.size(), 7u);
    for (const Unit& unit : units) chi += std::pow(static_cast<double>(unit.ids.size()) - 500, 2) / 500;
    different.insert(units[0].ids);
  }
  EXPECT_LT(chi, chi_square_limit(6 * 40));
  EXPECT_GT(chi, chi_square_limit(6 * 40, -kSigmas));
  EXPECT_EQ(different.size(), 40u);
}

}  // namespace
}  // namespace pergrad::dp
