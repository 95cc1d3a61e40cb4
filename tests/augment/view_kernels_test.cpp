// Recipes and the functors that read them: bit for bit what Augmenter and ViewSource give.
#include "augment/view_kernels.h"
#include "core/philox.h"

#include "augment/evaluation_views.h"
#include "augment/view_source.h"
#include "tests/augment/examples.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <type_traits>

namespace pergrad::augment {
namespace {

// What goes to a device goes as bytes.
static_assert(std::is_trivially_copyable_v<ViewRecipe> && std::is_standard_layout_v<ViewRecipe>);
static_assert(std::is_trivially_copyable_v<WriteView> && std::is_trivially_copyable_v<WriteTarget>);

constexpr int64_t kLabels = 5;

// Everything that a view can depend on, drawn at random; all settings are valid ones.
struct Case {
  AugmentSettings settings;
  Dataset data;
  PublicPool pool;
  Normalisation normalisation;

  static Case draw(uint64_t number) {
    PhiloxStream random(77, number);
    const auto below = [&](int64_t n) {
      return static_cast<int64_t>(random.below(static_cast<uint32_t>(n)));
    };
    const auto coin = [&] { return random.below(2) == 1; };
    const ImageShape shape{1 + below(9), 1 + below(9), std::array{1, 3, 4}[random.below(3)]};
    AugmentSettings s;
    s.base = below(5), s.pool = below(4), s.mix = below(9);
    if (s.base + s.pool == 0) s.base = 1;
    s.padding = coin() ? Padding::reflect : Padding::symmetric;
    const int64_t side = std::min(shape.height, shape.width);
    const int64_t most = s.padding == Padding::reflect ? side - 1 : side;
    s.crop_padding = std::array{int64_t{0}, most, below(most + 1)}[random.below(3)];
    s.flip = coin(), s.pool_augmented = coin();
    s.method = coin() ? MixMethod::mixup : MixMethod::cutmix;
    s.mix_alpha = std::array{0.05, 0.2, 1.0, 4.0}[random.below(4)];
    s.fold_lambda = coin(), s.share_lambda = coin();
    s.pairing = static_cast<Pairing>(below(3));
    s.mix_degenerate = random.below(4) == 0 || s.base + s.pool < 2;
    if (coin()) {  // any of the effects
      s.effects.color_jitter = coin() && shape.channels != 4, s.effects.affine = coin();
      s.effects.blur = coin(), s.effects.sobel = coin();
      s.effects.cutout = below(std::max(shape.height, shape.width) + 1);
      s.effects.gaussian_noise = coin() ? 0.1 : 0;
      s.effects.probability = coin() ? 1 : 0.5;
    }
    std::vector<double> mean, deviation;
    for (int64_t c = 0; c < shape.channels; ++c) {
      mean.push_back(random.uniform()), deviation.push_back(0.1 + random.uniform());
    }
    return {s,
            noise_images(6, shape, kLabels, number + 1),
            {noise_images(7, shape, kLabels, number + 100000), "random bytes"},
            {mean, deviation}};
  }

  ViewSource source(CpuExec exec = {}, Microbatches microbatches = {}) const {
    return {data, settings, normalisation, test_key(), &pool, exec, microbatches};
  }
};

// What a device would do with a plan, in an order that no thread keeps to: from the last number to the first.
struct Written {
  std::vector<float> images, targets;
};
Written write(const PublicInputs& open, const Dataset& data, std::span<const int64_t> ids,
              std::span<const ViewRecipe> recipes, int64_t views) {
  const auto count = static_cast<int64_t>(recipes.size());
  Written out;
  out.images.assign(static_cast<size_t>(count * open.size()), NAN);
  out.targets.assign(static_cast<size_t>(count * open.label_count), NAN);
  const WriteView write_view{open, data.pixels.data(), ids.data(), recipes.data(), views, out.images.data()};
  const WriteTarget write_target{open,  data.labels.data(), ids.data(), recipes.data(),
                                 views, out.targets.data()};
  for (int64_t i = count * open.size(); i-- > 0;) write_view(i);
  for (int64_t i = count * open.label_count; i-- > 0;) write_target(i);
  return out;
}
Written write(const ViewSource& source, const Dataset& data, const ViewPlan& plan) {
  return write(source.public_inputs(), data, plan.ids, plan.recipes, plan.views);
}

TEST(ViewKernels, GiveTheBitsOfTheAugmenter) {
  std::set<ViewKind> kinds;
  std::set<Effect> effects;
  for (uint64_t number = 0; number < 2000; ++number) {
    const Case c = Case::draw(number);
    const Augmenter augmenter(c.settings, {c.data.height, c.data.width, c.data.channels}, kLabels,
                              c.normalisation);
    const int64_t id = static_cast<int64_t>(number % 6);
    const PhiloxStream random = PhiloxStream::of(test_key(), 2, id);
    const Views wanted = views_of(augmenter, c.data, id, random, &c.pool);
    std::vector<ViewRecipe> recipes(static_cast<size_t>(augmenter.views()));
    augmenter.draw(random, &c.pool, recipes);
    const Written got = write(c.source().public_inputs(), c.data, {{id}}, recipes, augmenter.views());
    ASSERT_TRUE(same_bits(got.images, wanted.images)) << number;
    ASSERT_TRUE(same_bits(got.targets, wanted.targets)) << number;
    for (const ViewRecipe& r : recipes) kinds.insert(r.kind), effects.insert(r.effect.effect);
  }
  EXPECT_EQ(kinds.size(), 5u) << "not every kind of view was compared";
  EXPECT_EQ(effects.size(), 7u) << "not every effect was compared";
}

// Units of one id and padding rows; then groups of up to three.
TEST(ViewKernels, GiveTheBitsOfWholeBatches) {
  ViewPlan plan;  // of all batches: what an earlier one left there must not show
  for (uint64_t number = 0; number < 300; ++number) {
    const Case c = Case::draw(number);
    const bool groups = number % 2 == 1;
    const std::vector<Unit> units = groups ? std::vector<Unit>{{{5, 1}}, {{4}}, {}, {{2, 0, 3}}}
                                           : std::vector<Unit>{{{3}}, {}, {{0}}, {{5}}, {}};
    ViewSource source = c.source(CpuExec{static_cast<int>(1 + number % 3)}, {groups ? 3 : 1, GroupMix::none});
    const auto step = static_cast<int64_t>(number);
    const ExampleBatch wanted = source.views(units, step);
    source.draw(units, step, plan);
    const Written got = write(source, c.data, plan);
    ASSERT_EQ(plan.rows, wanted.rows());
    ASSERT_EQ(plan.lists * plan.views, wanted.views());
    ASSERT_TRUE(same_bits(got.images, wanted.images.values<float>())) << number;
    ASSERT_TRUE(same_bits(got.targets, wanted.targets.values<float>())) << number;
    ASSERT_TRUE(same_bits(plan.weights, wanted.weights.values<float>())) << number;
  }
  Case::draw(1).source().draw({}, 0, plan);
  EXPECT_TRUE(plan.ids.empty() && plan.recipes.empty() && plan.weights.empty());
}

TEST(ViewKernels, ListsNameTheirExampleAndPaddingNone) {
  const Case c = Case::draw(3);
  ViewPlan plan;
  c.source({}, {3, GroupMix::none}).draw(std::vector<Unit>{{{5, 1}}, {}, {{2, 0, 3}}}, 0, plan);
  EXPECT_EQ(plan.ids, (std::vector<int64_t>{1, 5, -1, -1, -1, -1, 0, 2, 3}));
}

// The privacy argument, in data: a mix names two draws of its own list, and a draw the list's example or the
// pool.
TEST(ViewKernels, MixesNameDrawsOfTheirOwnListOnly) {
  for (uint64_t number = 0; number < 500; ++number) {
    const Case c = Case::draw(number);
    const AugmentSettings& s = c.settings;
    ViewPlan plan;
    c.source().draw(std::vector<Unit>{{{1}}}, 0, plan);
    const auto draws = static_cast<int32_t>(s.base + s.pool);
    for (int64_t v = 0; v < plan.views; ++v) {
      const ViewRecipe& r = plan.recipes[static_cast<size_t>(v)];
      if (v < draws) {
        ASSERT_EQ(r.kind, v < s.base ? ViewKind::base : ViewKind::pool);
        ASSERT_TRUE(0 <= r.top && r.top <= 2 * s.crop_padding && 0 <= r.left && r.left <= 2 * s.crop_padding);
        ASSERT_LT(r.pool_image, 7u);
        continue;
      }
      ASSERT_TRUE(r.kind != ViewKind::base && r.kind != ViewKind::pool);
      ASSERT_TRUE(0 <= r.first && r.first < draws && 0 <= r.second && r.second < draws);
      ASSERT_TRUE(0 <= r.box_top && r.box_top <= r.box_bottom && r.box_bottom <= c.data.height);
      ASSERT_TRUE(0 <= r.box_left && r.box_left <= r.box_right && r.box_right <= c.data.width);
    }
  }
}

TEST(ViewKernels, RecipesDoNotDependOnTheDataNorOnTheRestOfTheBatch) {
  const Case c = Case::draw(8);
  Case other = Case::draw(8);
  for (uint8_t& byte : other.data.pixels) byte ^= 0xFF;
  for (int32_t& label : other.data.labels) label = static_cast<int32_t>((label + 1) % kLabels);
  ViewPlan all, alone;
  c.source(CpuExec{3}).draw(std::vector<Unit>{{{0}}, {{1}}, {{2}}, {{3}}}, 7, all);
  other.source().draw(std::vector<Unit>{{{2}}}, 7, alone);
  const auto views = static_cast<size_t>(all.views);
  EXPECT_TRUE(same_bits(alone.recipes, std::span(all.recipes).subspan(2 * views, views)));
}

TEST(ViewKernels, APoisonedNeighbourChangesNothing) {
  for (uint64_t number = 0; number < 100; ++number) {
    Case c = Case::draw(number);
    ViewPlan plan;
    const ViewSource source = c.source();
    source.draw(std::vector<Unit>{{{1}}, {{3}}, {{4}}}, 0, plan);
    const Written before = write(source, c.data, plan);
    const int64_t size = c.data.image_size();
    for (int64_t id = 0; id < 6; ++id) {
      if (id == 3) continue;
      for (int64_t i = 0; i < size; ++i) c.data.pixels[static_cast<size_t>(id * size + i)] ^= 0xFF;
      int32_t& label = c.data.labels[static_cast<size_t>(id)];
      label = static_cast<int32_t>((label + 1) % kLabels);
    }
    const Written after = write(source, c.data, plan);
    const auto row_of = [&](const std::vector<float>& numbers, size_t n) {
      return std::span(numbers).subspan(n * numbers.size() / 3, numbers.size() / 3);
    };
    for (size_t n = 0; n < 3; ++n) {
      const bool must_stay = n == 1 || c.settings.base == 0;
      if (must_stay || c.settings.mix == 0) {
        ASSERT_EQ(same_bits(row_of(before.images, n), row_of(after.images, n)), must_stay) << number;
        ASSERT_EQ(same_bits(row_of(before.targets, n), row_of(after.targets, n)), must_stay) << number;
      }
    }
  }
}

// The order in which numbers are drawn, where no reference loops pin it: a run goes on with the views that it
// began with. The numbers are those of this code when it was written; shares of a cutmix are whole 64ths.
TEST(ViewKernels, RecipesAreThoseOfEarlierVersions) {
  AugmentSettings s;
  s.base = 2, s.pool = 2, s.mix = 3, s.crop_padding = 2, s.flip = true;
  s.method = MixMethod::cutmix, s.mix_alpha = 1, s.pairing = Pairing::without_replacement;
  const Dataset data = noise_images(1, {8, 8, 1}, kLabels);
  const PublicPool pool(noise_images(100, {8, 8, 1}, kLabels, 2), "random bytes");
  std::vector<ViewRecipe> recipes(7);
  augmenter_for(data, s).draw(PhiloxStream(2024, 8), &pool, recipes);
  std::vector<std::vector<int>> got;
  for (const ViewRecipe& r : recipes) {
    if (r.kind == ViewKind::cutmix) {
      got.push_back({r.first, r.second, r.box_top, r.box_left, r.box_bottom, r.box_right});
      EXPECT_EQ(r.second_share,
                static_cast<float>((r.box_bottom - r.box_top) * (r.box_right - r.box_left)) / 64);
      EXPECT_EQ(r.first_share, 1 - r.second_share);
    } else {
      got.push_back({r.top, r.left, r.flipped, static_cast<int>(r.pool_image)});
    }
  }
  EXPECT_EQ(got, (std::vector<std::vector<int>>{{4, 2, 1, 0},
                                                {1, 0, 1, 0},
                                                {2, 3, 0, 33},
                                                {2, 4, 1, 80},
                                                {2, 1, 0, 0, 6, 3},
                                                {3, 0, 4, 0, 6, 1},
                                                {2, 3, 0, 3, 3, 8}}));
}

// So an evaluation on a device needs no kernel of its own.
TEST(ViewKernels, TheDefaultRecipeWithoutPaddingIsTheImageAsItIs) {
  const Case c = Case::draw(11);
  Workspace workspace;
  const ExampleBatch wanted = evaluation_views(c.data, c.normalisation, 1, 4, CpuExec{}, workspace);
  const ViewSource source = c.source();
  PublicInputs open = source.public_inputs();
  open.crop_padding = 0;
  const std::vector<int64_t> ids{1, 2, 3};
  const Written got = write(open, c.data, ids, std::vector<ViewRecipe>(3), 1);
  EXPECT_TRUE(same_bits(got.images, wanted.images.values<float>()));
  EXPECT_TRUE(same_bits(got.targets, wanted.targets.values<float>()));
}

TEST(ViewKernels, Refusals) {
  Case c = Case::draw(5);
  c.settings.base = 2;
  ViewPlan plan;
  const auto draw = [&](const std::vector<Unit>& units, int64_t step = 0, Microbatches m = {}) {
    c.source(CpuExec{2}, m).draw(units, step, plan);
  };
  expect_refusal(
      [&] {
        draw({{{1, 2}}}, 0, {2, GroupMix::added});
      },
      "views: micro-batches are mixed on the CPU only, wanted microbatch mix none");
  expect_refusal(
      [&] {
        draw({{{1}}}, 0, {2, GroupMix::replacing});
      },
      "views: micro-batches are mixed on the");
  expect_refusal([&] { draw({{{6}}}); }, "views: example id 6, wanted 0 to 5");
  expect_refusal([&] { draw({{{-1}}}); }, "views: example id -1, wanted 0 to 5");
  expect_refusal([&] { draw({{{1, 2}}}); }, "views: a unit has 2 ids, wanted at most 1");
  expect_refusal([&] { draw({{{1, 1}}}, 0, {2, GroupMix::none}); }, "views: an example is twice in one unit");
  expect_refusal([&] { draw({{{1}}}, -1); }, "random stream: step is -1");
  c.data.labels[4] = kLabels;
  expect_refusal([&] { draw({{{4}}}); }, "views: label of example 4 is 5, wanted 0 to 4");

  const Augmenter augmenter = augmenter_for(c.data, c.settings);
  std::vector<ViewRecipe> recipes(static_cast<size_t>(augmenter.views() + 1));
  expect_refusal([&] { augmenter.draw({1, 1}, &c.pool, recipes); }, "augment: room for");
  expect_refusal(
      [] {
        Augmenter({}, {65536, 32768, 1}, 2, unit_range(1));
      },
      "augment: image is [65536,32768,1], wanted at most 2147483647 numbers");
}

}  // namespace
}  // namespace pergrad::augment
