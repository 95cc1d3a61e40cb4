// Micro-batches: rows of groups, with and without mixing their members.
#include "augment/microbatch_mix.h"
#include "core/philox.h"

#include "augment/view_source.h"
#include "tests/augment/examples.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace pergrad::augment {
namespace {

constexpr ImageShape kShape{6, 6, 1};

class MicrobatchTest : public testing::Test {
 protected:
  Dataset data = noise_images(12, kShape, 10);
  AugmentSettings settings;
  MicrobatchTest() { settings.base = 4, settings.crop_padding = 2, settings.flip = true; }

  ExampleBatch rows(const std::vector<Unit>& units, GroupMix mix, int64_t largest = 2,
                    int64_t step = 0) const {
    ViewSource source(data, settings, unit_range(1), test_key(), nullptr, CpuExec{2}, {largest, mix});
    return source.views(units, step);
  }
  std::vector<float> weights(const ExampleBatch& b, int64_t n) const {
    const std::span<float> w = b.weights.rows(n, n + 1).values<float>();
    return {w.begin(), w.end()};
  }
  // Places [begin, end) of row n against the views of example id.
  void expect_views_of(const ExampleBatch& b, int64_t n, int64_t begin, int64_t id) const {
    const Views wanted =
        views_of(augmenter_for(data, settings), data, id, PhiloxStream::of(test_key(), 0, id));
    const auto at = static_cast<size_t>(begin * kShape.size());
    EXPECT_TRUE(
        same_bits(b.images.rows(n, n + 1).values<float>().subspan(at, wanted.images.size()), wanted.images));
    const auto label_at = static_cast<size_t>(begin * 10);
    EXPECT_TRUE(same_bits(b.targets.rows(n, n + 1).values<float>().subspan(label_at, wanted.targets.size()),
                          wanted.targets));
  }
  // View `place` of row n is a convex combination of view v of example a and view v of example b.
  void expect_mix(const ExampleBatch& batch, int64_t n, int64_t place, int64_t v, int64_t a,
                  int64_t b) const {
    const auto own = [&](int64_t id) {
      return views_of(augmenter_for(data, settings), data, id, PhiloxStream::of(test_key(), 0, id));
    };
    const Views left = own(a), right = own(b);
    const auto x = left.image(v), y = right.image(v);
    const auto z = batch.images.rows(n, n + 1).values<float>().subspan(
        static_cast<size_t>(place * kShape.size()), static_cast<size_t>(kShape.size()));
    double dot = 0, norm = 0;
    for (size_t i = 0; i < z.size(); ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      dot += d * (static_cast<double>(z[i]) - static_cast<double>(y[i]));
      norm += d * d;
    }
    const auto lambda = static_cast<float>(dot / norm);
    for (size_t i = 0; i < z.size(); ++i) ASSERT_NEAR(z[i], lambda * x[i] + (1 - lambda) * y[i], 1e-5f);
    const auto target =
        batch.targets.rows(n, n + 1).values<float>().subspan(static_cast<size_t>(place * 10), 10);
    for (size_t l = 0; l < 10; ++l) {
      ASSERT_NEAR(target[l], lambda * left.target(v)[l] + (1 - lambda) * right.target(v)[l], 1e-5f);
    }
    EXPECT_NEAR(std::accumulate(target.begin(), target.end(), 0.0f), 1.0f, 1e-6f);
  }
};

TEST_F(MicrobatchTest, MembersStandBesideEachOtherWithEqualWeight) {
  const ExampleBatch batch = rows({{{7, 2}}, {{5}}}, GroupMix::none);
  EXPECT_EQ(batch.images.shape(), (Shape{2, 8, 6, 6, 1}));
  expect_views_of(batch, 0, 0, 2);
  expect_views_of(batch, 0, 4, 7);
  EXPECT_EQ(weights(batch, 0), std::vector<float>(8, 1.0f / 8));
  expect_views_of(batch, 1, 0, 5);
  EXPECT_EQ(weights(batch, 1), (std::vector<float>{.25f, .25f, .25f, .25f, 0, 0, 0, 0}));
  const auto rest = batch.images.rows(1, 2).values<float>().subspan(static_cast<size_t>(4 * kShape.size()));
  EXPECT_TRUE(std::ranges::all_of(rest, [](float x) { return x == 0.0f; }));
}

TEST_F(MicrobatchTest, AddedMixesStandAfterTheMembers) {
  const ExampleBatch batch = rows({{{2, 7}}, {{5}}}, GroupMix::added);
  EXPECT_EQ(batch.views(), 12);
  expect_views_of(batch, 0, 0, 2);
  expect_views_of(batch, 0, 4, 7);
  for (int64_t v = 0; v < 4; ++v) expect_mix(batch, 0, 8 + v, v, 2, 7);
  EXPECT_EQ(weights(batch, 0), std::vector<float>(12, 1.0f / 12));
  expect_views_of(batch, 1, 0, 5);  // alone: nobody to be mixed with
  EXPECT_EQ(weights(batch, 1)[3], 0.25f);
  EXPECT_EQ(weights(batch, 1)[4], 0.0f);
}

TEST_F(MicrobatchTest, ReplacingMixesStandAlone) {
  const ExampleBatch batch = rows({{{2, 7}}, {{5}}}, GroupMix::replacing);
  EXPECT_EQ(batch.views(), 4);
  for (int64_t v = 0; v < 4; ++v) expect_mix(batch, 0, v, v, 2, 7);
  EXPECT_EQ(weights(batch, 0), std::vector<float>(4, 0.25f));
  expect_views_of(batch, 1, 0, 5);
}

TEST_F(MicrobatchTest, RowDependsOnItsMembersOnly) {
  for (GroupMix mix : {GroupMix::none, GroupMix::added, GroupMix::replacing}) {
    const ExampleBatch one = rows({{{1, 4, 8}}, {{0, 2}}, {{3}}}, mix, 3);
    const ExampleBatch two = rows({{{3}}, {{8, 1, 4}}}, mix, 3);
    EXPECT_TRUE(same_row(one, 0, two, 1));
    EXPECT_TRUE(same_row(one, 2, two, 0));
    const Dataset before = data;
    for (size_t i = 0; i < 36; ++i) data.pixels[36 * 2 + i] ^= 0xFF;
    const ExampleBatch changed = rows({{{1, 4, 8}}, {{0, 2}}, {{3}}}, mix, 3);
    EXPECT_TRUE(same_row(one, 0, changed, 0));
    EXPECT_FALSE(same_row(one, 1, changed, 1));
    EXPECT_TRUE(same_row(one, 2, changed, 2));
    data = before;
  }
}

// Solid images of three members: a mixed view has exactly two labels, and all three pairs come up.
TEST_F(MicrobatchTest, MixesJoinTwoDifferentMembers) {
  data = solid_images({0, 100, 200}, kShape, 10);
  settings.base = 3000, settings.mix_alpha = 2;
  const ExampleBatch batch = rows({{{0, 1, 2}}}, GroupMix::replacing, 3);
  std::vector<int64_t> absent(3);
  std::set<float> lambdas;
  for (size_t v = 0; v < 3000; ++v) {
    const auto target = batch.targets.values<float>().subspan(v * 10, 10);
    size_t zeros = 0;
    for (size_t l = 0; l < 3; ++l) {
      if (target[l] == 0.0f) ++zeros, ++absent[l];
    }
    ASSERT_EQ(zeros, 1u);
    lambdas.insert(target[0]);
  }
  EXPECT_LT(chi_square(absent), chi_square_bound(3));
  EXPECT_GT(lambdas.size(), 1500u);
}

// Images as they are, so that only the mixes can differ between steps and units.
TEST_F(MicrobatchTest, MixesAreDrawnAnewForEachStepAndUnit) {
  data = solid_images({0, 255, 0, 255}, kShape, 10);
  data.labels = {0, 1, 0, 1};
  settings = {};
  settings.base = 4;
  const std::vector<Unit> units{{{0, 1}}, {{2, 3}}};
  const ExampleBatch first = rows(units, GroupMix::replacing);
  const ExampleBatch second = rows(units, GroupMix::replacing, 2, 1);
  EXPECT_FALSE(same_row(first, 0, second, 0));
  EXPECT_FALSE(same_row(first, 0, first, 1));
}

TEST_F(MicrobatchTest, Refusals) {
  expect_refusal([&] { rows({{{1, 2, 3}}}, GroupMix::none); }, "views: a unit has 3 ids, wanted at most 2");
  expect_refusal([&] { rows({{{1, 1}}}, GroupMix::none); }, "views: an example is twice in one unit");
  const MicrobatchMixer mixer(GroupMix::added, 0.2, false);
  std::vector<float> x(4), y(4), mixed(4), mixed_targets(4);
  expect_refusal([&] { mixer.mix_members(1, 1, x, y, {1, 1}, mixed, mixed_targets); }, "microbatch mix: ");
}

}  // namespace
}  // namespace pergrad::augment
