// ViewSource: a row is a function of (key, step, id), whatever else is in the batch.
#include "augment/view_source.h"
#include "core/philox.h"

#include "augment/evaluation_views.h"
#include "tests/augment/examples.h"

#include <algorithm>
#include <atomic>
#include <memory>

namespace pergrad::augment {
namespace {

constexpr ImageShape kShape{8, 8, 3};

AugmentSettings dp_mix() {
  AugmentSettings s;
  s.base = 4, s.mix = 3, s.pool = 1;
  s.crop_padding = 2, s.flip = true;
  return s;
}

std::vector<Unit> units_of(const std::vector<int64_t>& ids) {
  std::vector<Unit> units;
  for (int64_t id : ids) units.push_back({{id}});
  return units;
}

class ViewSourceTest : public testing::Test {
 protected:
  Dataset data = noise_images(20, kShape, 10);
  PublicPool pool{noise_images(50, kShape, 10, 9), "random bytes"};
  ViewSource source(int threads = 1, const Key& key = test_key()) const {
    return {data, dp_mix(), unit_range(3), key, &pool, CpuExec{threads}};
  }
};

TEST_F(ViewSourceTest, ShapesWeightsAndUnits) {
  ViewSource s = source();
  const ExampleBatch batch = s.views(units_of({3, 7}), 0);
  EXPECT_EQ(batch.images.shape(), (Shape{2, 8, 8, 8, 3}));
  EXPECT_EQ(batch.targets.shape(), (Shape{2, 8, 10}));
  EXPECT_EQ(batch.weights.shape(), (Shape{2, 8}));
  EXPECT_EQ(s.row_views(), 8);
  for (float w : batch.weights.values<float>()) EXPECT_EQ(w, 1.0f / 8);
  EXPECT_EQ(batch.is_real, (std::vector<uint8_t>{1, 1}));
  EXPECT_EQ(batch.units[1].ids, (std::vector<int64_t>{7}));
  EXPECT_EQ(s.views({}, 0).images.shape(), (Shape{0, 8, 8, 8, 3}));
}

TEST_F(ViewSourceTest, RowIsWhatTheAugmenterWritesForThatExample) {
  const ExampleBatch batch = source().views(units_of({3, 7}), 5);
  const Views wanted =
      views_of(augmenter_for(data, dp_mix()), data, 7, PhiloxStream::of(test_key(), 5, 7), &pool);
  EXPECT_TRUE(same_bits(batch.images.rows(1, 2).values<float>(), wanted.images));
  EXPECT_TRUE(same_bits(batch.targets.rows(1, 2).values<float>(), wanted.targets));
}

TEST_F(ViewSourceTest, RowDependsOnKeyStepAndIdOnly) {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < 20; ++id) ids.push_back(id);
  ViewSource all = source();
  const ExampleBatch batch = all.views(units_of(ids), 4);

  ViewSource threads = source(4);
  std::ranges::reverse(ids);
  const ExampleBatch turned = threads.views(units_of(ids), 4);
  ViewSource alone = source();
  for (int64_t id = 0; id < 20; ++id) {
    EXPECT_TRUE(same_row(batch, id, turned, 19 - id)) << id;
    EXPECT_TRUE(same_row(batch, id, alone.views(units_of({id}), 4), 0)) << id;
  }
  EXPECT_FALSE(same_row(batch, 3, alone.views(units_of({3}), 5), 0)) << "another step";
  EXPECT_FALSE(same_row(batch, 3, source(1, key_from_text("other")).views(units_of({3}), 4), 0))
      << "another key";
}

TEST_F(ViewSourceTest, SeveralThreadsMayAskAtOnce) {
  ViewSource source_of_all = source();
  std::vector<ExampleBatch> wanted;
  for (int64_t id = 0; id < 20; ++id) wanted.push_back(source().views(units_of({id}), 4));
  std::atomic<int> wrong = 0;
  CpuExec{4}.for_each(200, [&](int64_t i) {
    const int64_t id = i % 20;
    wrong += !same_row(wanted[static_cast<size_t>(id)], 0, source_of_all.views(units_of({id}), 4), 0);
  });
  EXPECT_EQ(wrong, 0);
}

TEST_F(ViewSourceTest, EffectsDependOnKeyStepAndIdOnly) {
  AugmentSettings settings = dp_mix();
  settings.effects = all_effects();
  const auto views = [&](const std::vector<Unit>& units, int threads) {
    return ViewSource(data, settings, unit_range(3), test_key(), &pool, CpuExec{threads}).views(units, 4);
  };
  const ExampleBatch all = views(units_of({0, 1, 2, 3, 4, 5}), 1);
  const ExampleBatch turned = views({{{5}}, {{2}}, {}, {{0}}}, 3);
  EXPECT_TRUE(same_row(all, 5, turned, 0));
  EXPECT_TRUE(same_row(all, 2, turned, 1));
  EXPECT_TRUE(same_row(all, 0, turned, 3));
  for (int64_t i = 0; i < kShape.size(); ++i) data.pixels[static_cast<size_t>(3 * kShape.size() + i)] ^= 0xFF;
  const ExampleBatch poisoned = views(units_of({0, 1, 2, 3, 4, 5}), 1);
  for (int64_t n = 0; n < 6; ++n) EXPECT_EQ(same_row(all, n, poisoned, n), n != 3) << n;
}

TEST_F(ViewSourceTest, EqualImagesUnderTwoIdsGetDifferentViews) {
  std::copy_n(data.pixels.begin(), kShape.size(), data.pixels.begin() + kShape.size());
  data.labels[1] = data.labels[0];
  const ExampleBatch batch = source().views(units_of({0, 1}), 0);
  EXPECT_FALSE(same_row(batch, 0, batch, 1));
}

TEST_F(ViewSourceTest, ChangingOneExampleLeavesAllOtherRowsBitwiseEqual) {
  const std::vector<Unit> units = units_of({0, 1, 2, 3, 4, 5});
  const ExampleBatch before = source().views(units, 1);
  for (int64_t i = 0; i < kShape.size(); ++i) data.pixels[static_cast<size_t>(3 * kShape.size() + i)] ^= 0xFF;
  data.labels[3] = (data.labels[3] + 1) % 10;
  const ExampleBatch after = source().views(units, 1);
  for (int64_t n = 0; n < 6; ++n) EXPECT_EQ(same_row(before, n, after, n), n != 3) << n;
}

TEST_F(ViewSourceTest, RecycledMemoryShowsNothingOfTheBatchBefore) {
  ViewSource fresh = source(), used = source();
  const ExampleBatch wanted = fresh.views(std::vector<Unit>{{{2}}, {}}, 1);
  const float* memory = nullptr;
  {
    const ExampleBatch first = used.views(units_of({5, 6}), 0);
    memory = first.images.data<float>();
    first.images.fill(NAN), first.targets.fill(NAN), first.weights.fill(NAN);
  }
  const ExampleBatch second = used.views(std::vector<Unit>{{{2}}, {}}, 1);
  EXPECT_EQ(second.images.data<float>(), memory) << "memory is recycled";
  EXPECT_TRUE(same_row(wanted, 0, second, 0));
  EXPECT_TRUE(same_row(wanted, 1, second, 1));
}

TEST_F(ViewSourceTest, BatchesThatAreAliveDoNotShareMemory) {
  ViewSource s = source();
  const ExampleBatch first = s.views(units_of({5}), 0);
  const std::vector<float> copy(first.images.values<float>().begin(), first.images.values<float>().end());
  const ExampleBatch second = s.views(units_of({6}), 0);
  EXPECT_TRUE(same_bits(first.images.values<float>(), copy));
}

TEST_F(ViewSourceTest, UnitWithoutIdsIsAPaddingRow) {
  const ExampleBatch batch = source().views(std::vector<Unit>{{{1}}, {}}, 0);
  EXPECT_EQ(batch.is_real, (std::vector<uint8_t>{1, 0}));
  for (float x : batch.images.rows(1, 2).values<float>()) ASSERT_EQ(x, 0.0f);
  for (float x : batch.targets.rows(1, 2).values<float>()) ASSERT_EQ(x, 0.0f);
  for (float w : batch.weights.rows(1, 2).values<float>()) ASSERT_EQ(w, 0.0f);
}

TEST_F(ViewSourceTest, Refusals) {
  ViewSource s = source(2);
  expect_refusal([&] { s.views(units_of({1, 20}), 0); }, "views: example id 20, wanted 0 to 19");
  expect_refusal([&] { s.views(units_of({-1}), 0); }, "views: example id -1, wanted 0 to 19");
  expect_refusal(
      [&] {
        s.views(std::vector<Unit>{{{1, 2}}}, 0);
      },
      "views: a unit has 2 ids, wanted at most 1");
  expect_refusal([&] { s.views(units_of({1}), -1); }, "random stream: step is -1");
  const auto make = [&](const Dataset& d, const PublicPool* p, Microbatches m = {}) {
    ViewSource(d, dp_mix(), unit_range(3), test_key(), p, CpuExec{}, m);
  };
  expect_refusal([&] { make(data, nullptr); }, "views: augment.pool is 1 but there is no public pool");
  expect_refusal([&] { make(noise_images(2, {9, 9, 3}, 10), &pool); }, "public pool: images [8,8,3]");
  expect_refusal([&] { make(data, &pool, {0, GroupMix::none}); }, "views: largest unit is 0");
  expect_refusal(
      [&] {
        make(data, &pool, {1, GroupMix::added});
      },
      "views: mixing within micro-batches of one");
  Dataset short_data = data;
  short_data.pixels.pop_back();
  expect_refusal([&] { make(short_data, &pool); }, "views: data has 3839 bytes, wanted 20 images of 192");
}

TEST_F(ViewSourceTest, EvaluationViewsAreTheImagesAsTheyAre) {
  Workspace workspace;
  const ExampleBatch batch = evaluation_views(data, unit_range(3), 5, 12, CpuExec{3}, workspace);
  ASSERT_EQ(batch.images.shape(), (Shape{7, 1, 8, 8, 3}));
  for (int64_t n = 0; n < 7; ++n) {
    for (int64_t i = 0; i < kShape.size(); ++i) {
      ASSERT_EQ(batch.images.rows(n, n + 1).values<float>()[static_cast<size_t>(i)],
                static_cast<float>(data.image(5 + n)[static_cast<size_t>(i)]) / 255.0f);
    }
    for (int64_t l = 0; l < 10; ++l) {
      EXPECT_EQ(batch.targets.rows(n, n + 1).values<float>()[static_cast<size_t>(l)],
                data.labels[static_cast<size_t>(5 + n)] == l ? 1.0f : 0.0f);
    }
    EXPECT_EQ(batch.weights.values<float>()[static_cast<size_t>(n)], 1.0f);
    EXPECT_EQ(batch.units[static_cast<size_t>(n)].ids, (std::vector<int64_t>{5 + n}));
  }
  EXPECT_EQ(batch.is_real, std::vector<uint8_t>(7, 1));
  expect_refusal([&] { evaluation_views(data, unit_range(3), 5, 21, {}, workspace); },
                 "evaluation views: [5,21) of 20 examples");
  expect_refusal([&] { evaluation_views(data, unit_range(1), 0, 1, {}, workspace); },
                 "evaluation views: normalisation for 1 channels");
}

}  // namespace
}  // namespace pergrad::augment
