// The Augmenter: Algorithm 1 number by number against plain loops, the laws of its draws, and its refusals.
#include "augment/augmenter.h"
#include "core/philox.h"

#include "augment/beta.h"
#include "tests/augment/beta_distribution.h"
#include "tests/augment/examples.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

namespace pergrad::augment {
namespace {

constexpr ImageShape kShape{10, 9, 3};

PublicPool noise_pool(int64_t n, ImageShape shape, int64_t labels) {
  return {noise_images(n, shape, labels, 99), "random bytes of a test"};
}

// One view by definition, pixel by pixel: pad, crop, then flip.
std::vector<float> transformed(std::span<const uint8_t> image, const AugmentSettings& s, int64_t top,
                               int64_t left, bool flip) {
  const int64_t edge = s.padding == Padding::symmetric ? 1 : 0;
  const auto inside = [&](int64_t i, int64_t n) {
    if (i < 0) return -i - edge;
    return i < n ? i : 2 * n - 2 + edge - i;
  };
  std::vector<float> out;
  for (int64_t y = 0; y < kShape.height; ++y) {
    for (int64_t x = 0; x < kShape.width; ++x) {
      const int64_t in_crop = flip ? kShape.width - 1 - x : x;
      const int64_t row = inside(y + top - s.crop_padding, kShape.height);
      const int64_t column = inside(in_crop + left - s.crop_padding, kShape.width);
      for (int64_t c = 0; c < 3; ++c) {
        const auto at = static_cast<size_t>((row * kShape.width + column) * 3 + c);
        out.push_back(static_cast<float>(image[at]) / 255.0f);
      }
    }
  }
  return out;
}

// Algorithm 1 once more, with the random numbers in the order in which the header promises them.
Views reference(const Dataset& data, const PublicPool& pool, const AugmentSettings& s, int64_t id,
                PhiloxStream random) {
  Views out{{}, {}, kShape.size(), data.label_count};
  uint32_t draw = 0;
  const Normalisation unit = unit_range(3);
  const auto add = [&](std::span<const uint8_t> image, int32_t label) {
    const int64_t top = random.below(static_cast<uint32_t>(2 * s.crop_padding + 1));
    const int64_t left = random.below(static_cast<uint32_t>(2 * s.crop_padding + 1));
    const bool flip = random.below(2) == 1 && s.flip;
    std::vector<float> view = transformed(image, s, top, left, flip), room;
    PhiloxStream own = random.part(draw++);
    apply_effect(draw_effect(s.effects, kShape, unit.table(), own), kShape, unit.table(), view.data(), room);
    out.images.insert(out.images.end(), view.begin(), view.end());
    for (int64_t l = 0; l < out.labels; ++l) out.targets.push_back(l == label ? 1.0f : 0.0f);
  };
  for (int64_t v = 0; v < s.base; ++v) add(data.image(id), data.labels[static_cast<size_t>(id)]);
  for (int64_t v = 0; v < s.pool; ++v) {
    const int64_t i = random.below(static_cast<uint32_t>(pool.size()));
    add(pool.image(i), pool.label(i));
  }
  const auto draws = static_cast<uint32_t>(s.base + s.pool);
  for (int64_t v = 0; v < s.mix; ++v) {
    const uint32_t i = random.below(draws);
    uint32_t j = random.below(draws - 1);
    if (j >= i) ++j;
    const double lambda = symmetric_beta(s.mix_alpha, random);
    const auto first = static_cast<float>(lambda), second = static_cast<float>(1.0 - lambda);
    for (int64_t k = 0; k < out.size; ++k) {
      out.images.push_back(first * out.image(i)[static_cast<size_t>(k)] +
                           second * out.image(j)[static_cast<size_t>(k)]);
    }
    for (int64_t l = 0; l < out.labels; ++l) {
      out.targets.push_back(first * out.target(i)[static_cast<size_t>(l)] +
                            second * out.target(j)[static_cast<size_t>(l)]);
    }
  }
  return out;
}

// lambda, and the two draws of S, of which view v is the convex combination; nothing if there are none.
struct Found {
  int64_t first, second;
  double lambda;
};
std::optional<Found> find_mix(const Views& views, int64_t v, int64_t draws) {
  for (int64_t i = 0; i < draws; ++i) {
    for (int64_t j = i + 1; j < draws; ++j) {
      const auto a = views.image(i), b = views.image(j), x = views.image(v);
      double dot = 0, norm = 0;
      for (size_t k = 0; k < x.size(); ++k) {
        const double d = static_cast<double>(a[k]) - static_cast<double>(b[k]);
        dot += d * (static_cast<double>(x[k]) - static_cast<double>(b[k]));
        norm += d * d;
      }
      const double lambda = dot / norm;
      double worst = 0;
      for (size_t k = 0; k < x.size(); ++k) {
        const double mixed = lambda * static_cast<double>(a[k]) + (1 - lambda) * static_cast<double>(b[k]);
        worst = std::max(worst, std::fabs(mixed - static_cast<double>(x[k])));
      }
      if (worst < 1e-5 && lambda > -1e-5 && lambda < 1 + 1e-5) return Found{i, j, lambda};
    }
  }
  return std::nullopt;
}

// Whether the draws of S can be told from each other (two crops may fall on the same place).
bool all_different(const Views& views, int64_t draws) {
  for (int64_t i = 0; i < draws; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      if (same_bits(views.image(i), views.image(j))) return false;
    }
  }
  return true;
}

AugmentSettings dp_mix(int64_t base, int64_t mix, int64_t pool) {
  AugmentSettings s;
  s.base = base, s.mix = mix, s.pool = pool;
  s.crop_padding = 4, s.flip = true;
  return s;
}

// A private black image with label 0 and a pool of one white image with label 1: each mix says its lambda.
Views black_and_white(AugmentSettings s, uint64_t stream, ImageShape shape = {8, 8, 1}) {
  static const auto make = [](ImageShape sh, const std::vector<uint8_t>& bytes) {
    return solid_images(bytes, sh, 2);
  };
  const Dataset data = make(shape, {0, 0});
  Dataset white = make(shape, {255});
  white.labels = {1};
  const PublicPool pool(white, "a white image");
  s.base = s.pool = 1;
  return views_of(augmenter_for(data, s), data, 0, PhiloxStream(11, stream), &pool);
}

TEST(Augmenter, IsAlgorithmOneNumberByNumber) {
  const Dataset data = noise_images(5, kShape, 10);
  const PublicPool pool = noise_pool(7, kShape, 10);
  for (Padding padding : {Padding::reflect, Padding::symmetric}) {
    for (const auto& [base, mix, extra] :
         {std::array{1, 0, 0}, std::array{16, 0, 0}, std::array{4, 6, 3}, std::array{0, 2, 2}}) {
      AugmentSettings s = dp_mix(base, mix, extra);
      s.padding = padding;
      for (const EffectSettings& effects : {EffectSettings{}, all_effects()}) {
        s.effects = effects;
        const Augmenter augmenter = augmenter_for(data, s);
        for (int64_t id = 0; id < data.size(); ++id) {
          const PhiloxStream random = PhiloxStream::of(test_key(), 3, id);
          const Views got = views_of(augmenter, data, id, random, &pool);
          const Views wanted = reference(data, pool, s, id, random);
          EXPECT_TRUE(same_bits(got.images, wanted.images)) << base << " " << mix << " " << extra;
          EXPECT_TRUE(same_bits(got.targets, wanted.targets)) << base << " " << mix << " " << extra;
        }
      }
    }
  }
}

TEST(Augmenter, DefaultsGiveTheImageItself) {
  const Dataset data = noise_images(2, kShape, 10);
  const Views got = views_of(augmenter_for(data, {}), data, 1, PhiloxStream(1, 1));
  for (size_t i = 0; i < got.images.size(); ++i) {
    EXPECT_EQ(got.images[i], static_cast<float>(data.image(1)[i]) / 255.0f);
  }
  EXPECT_EQ(got.target(0)[static_cast<size_t>(data.labels[1])], 1.0f);
}

// What a paired comparison of self-augmentation with DP-Mix needs.
TEST(Augmenter, BaseViewsAreTheSameWithMixesAndWithout) {
  const Dataset data = noise_images(1, kShape, 10);
  const PhiloxStream random(5, 5);
  for (const EffectSettings& effects : {EffectSettings{}, all_effects()}) {
    AugmentSettings self = dp_mix(16, 0, 0), mixed = dp_mix(16, 18, 0);
    self.effects = mixed.effects = effects;
    const Views without = views_of(augmenter_for(data, self), data, 0, random);
    const Views with = views_of(augmenter_for(data, mixed), data, 0, random);
    EXPECT_TRUE(same_bits(without.images, std::span(with.images).first(without.images.size())));
  }
}

TEST(Augmenter, EveryCropOffsetIsEquallyLikely) {
  // Images of 9 x 9 different bytes: with 4 pixels of padding, view pixel (4, 4) names the offset.
  for (Padding padding : {Padding::reflect, Padding::symmetric}) {
    Dataset data = noise_images(1, {9, 9, 1}, 2);
    for (size_t i = 0; i < 81; ++i) data.pixels[i] = static_cast<uint8_t>(i);
    AugmentSettings s;
    s.base = 65536, s.crop_padding = 4, s.padding = padding;
    const Views got = views_of(augmenter_for(data, s), data, 0, PhiloxStream(2, 8));
    std::vector<int64_t> counts(81);
    for (int64_t v = 0; v < s.base; ++v) {
      ++counts[static_cast<size_t>(std::lround(got.image(v)[4 * 9 + 4] * 255.0f))];
    }
    EXPECT_LT(chi_square(counts), chi_square_bound(81));
  }
}

TEST(Augmenter, FlipsEveryOtherView) {
  const Dataset data = noise_images(1, kShape, 2);
  AugmentSettings s;
  s.base = 20000, s.flip = true;
  const Views got = views_of(augmenter_for(data, s), data, 0, PhiloxStream(2, 9));
  const std::vector<float> plain = transformed(data.image(0), s, 0, 0, false);
  const std::vector<float> flipped = transformed(data.image(0), s, 0, 0, true);
  double flips = 0;
  for (int64_t v = 0; v < s.base; ++v) {
    const bool is_flipped = same_bits(got.image(v), flipped);
    ASSERT_TRUE(is_flipped || same_bits(got.image(v), plain));
    flips += is_flipped ? 1 : 0;
  }
  EXPECT_NEAR(flips / 20000, 0.5, mean_bound(20000));
}

TEST(Augmenter, PoolDrawsAreUniformAndKeepTheirLabels) {
  const Dataset data = solid_images({7, 8}, {4, 4, 1}, 20);
  std::vector<uint8_t> bytes(20);
  for (size_t i = 0; i < 20; ++i) bytes[i] = static_cast<uint8_t>(10 * i);
  const PublicPool pool(solid_images(bytes, {4, 4, 1}, 20), "grey");
  AugmentSettings s;
  s.base = 1, s.pool = 20000;
  const Views got = views_of(augmenter_for(data, s), data, 0, PhiloxStream(2, 10), &pool);
  std::vector<int64_t> counts(20);
  for (int64_t v = 1; v < s.views(); ++v) {
    const auto i = static_cast<size_t>(std::lround(got.image(v)[0] * 25.5f));
    ASSERT_EQ(got.target(v)[i], 1.0f);
    ++counts[i];
  }
  EXPECT_LT(chi_square(counts), chi_square_bound(20));
}

TEST(Augmenter, PoolGoesThroughTUnlessToldOtherwise) {
  const Dataset data = noise_images(1, kShape, 10);
  const PublicPool pool = noise_pool(1, kShape, 10);
  AugmentSettings s = dp_mix(1, 0, 50);
  const std::vector<float> plain = transformed(pool.image(0), s, 4, 4, false);
  const auto plain_ones = [&] {
    const Views got = views_of(augmenter_for(data, s), data, 0, PhiloxStream(2, 11), &pool);
    int count = 0;
    for (int64_t v = 1; v < 51; ++v) count += same_bits(got.image(v), plain) ? 1 : 0;
    return count;
  };
  EXPECT_LT(plain_ones(), 10);  // 1 in 162 each
  s.pool_augmented = false;
  EXPECT_EQ(plain_ones(), 50);
}

TEST(Augmenter, MixesAreConvexCombinationsOfTwoDifferentDraws) {
  const Dataset data = noise_images(40, kShape, 10);
  const PublicPool pool = noise_pool(200, kShape, 10);
  AugmentSettings s = dp_mix(3, 18, 2);
  s.mix_alpha = 2;  // keeps away from 0 and 1, where the second draw does not show
  const Augmenter augmenter = augmenter_for(data, s);
  std::map<std::pair<int64_t, int64_t>, int64_t> pairs;
  int64_t between = 0, two_labels = 0;
  for (int64_t id = 0; id < data.size(); ++id) {
    const Views got = views_of(augmenter, data, id, PhiloxStream::of(test_key(), 0, id), &pool);
    if (!all_different(got, 5)) continue;
    std::set<double> lambdas;
    for (int64_t v = 5; v < s.views(); ++v) {
      const std::optional<Found> mix = find_mix(got, v, 5);
      ASSERT_TRUE(mix.has_value()) << "view " << v << " of example " << id << " is no mix of two draws";
      ++pairs[{mix->first, mix->second}];
      lambdas.insert(mix->lambda);
      if (mix->lambda > 1e-3 && mix->lambda < 1 - 1e-3) ++between;
      double sum = 0;
      int64_t nonzero = 0;
      for (size_t l = 0; l < 10; ++l) {
        const float y = got.target(v)[l];
        ASSERT_NEAR(static_cast<double>(y),
                    mix->lambda * static_cast<double>(got.target(mix->first)[l]) +
                        (1 - mix->lambda) * static_cast<double>(got.target(mix->second)[l]),
                    1e-5);
        ASSERT_GE(y, 0.0f);
        sum += static_cast<double>(y);
        nonzero += y > 0 ? 1 : 0;
      }
      ASSERT_NEAR(sum, 1.0, 1e-6);
      two_labels += nonzero == 2 ? 1 : 0;
    }
    EXPECT_EQ(lambdas.size(), 18u) << "lambda is one per mix";
  }
  EXPECT_GT(between, 500);     // a mix is more than a copy
  EXPECT_GT(two_labels, 300);  // labels of the pool differ, so labels are soft
  EXPECT_EQ(pairs.size(), 10u);
  std::vector<int64_t> counts;
  for (const auto& [pair, count] : pairs) counts.push_back(count);
  EXPECT_LT(chi_square(counts), chi_square_bound(10));
}

TEST(Augmenter, PairingWithoutReplacementDealsEachDrawOnce) {
  const Dataset data = noise_images(30, kShape, 10);
  AugmentSettings s = dp_mix(6, 3, 0);
  s.pairing = Pairing::without_replacement, s.mix_alpha = 2;
  const Augmenter augmenter = augmenter_for(data, s);
  for (int64_t id = 0; id < data.size(); ++id) {
    const Views got = views_of(augmenter, data, id, PhiloxStream::of(test_key(), 1, id));
    if (!all_different(got, 6)) continue;
    std::set<int64_t> seen;
    for (int64_t v = 6; v < 9; ++v) {
      const std::optional<Found> mix = find_mix(got, v, 6);
      ASSERT_TRUE(mix.has_value());
      seen.insert(mix->first);
      seen.insert(mix->second);
    }
    EXPECT_EQ(seen.size(), 6u);
  }
}

// A draw that meets itself is a copy, up to the rounding of lambda + (1 - lambda); two different ones come as
// close only if lambda is at its end.
TEST(Augmenter, IndependentPairingMayMeetItself) {
  AugmentSettings s;
  s.mix = 20000, s.mix_alpha = 100, s.pairing = Pairing::independent;
  const Views got = black_and_white(s, 1);
  double copies = 0;
  for (int64_t v = 2; v < s.mix + 2; ++v) {
    const float x = got.image(v)[0];
    copies += x < 1e-6f || x > 1 - 1e-6f ? 1 : 0;
  }
  EXPECT_NEAR(copies / 20000, 0.5, mean_bound(20000));
  s.pairing = Pairing::with_replacement;
  const Views different = black_and_white(s, 1);
  for (int64_t v = 2; v < s.mix + 2; ++v) {
    ASSERT_TRUE(different.image(v)[0] > 1e-6f && different.image(v)[0] < 1 - 1e-6f);
  }
}

TEST(Augmenter, LambdaIsBeta) {
  for (double alpha : {0.2, 1.0, 3.0}) {
    AugmentSettings s;
    s.mix = 50000, s.mix_alpha = alpha;
    const Views got = black_and_white(s, 2, {1, 1, 1});
    std::vector<double> lambdas;
    for (int64_t v = 2; v < s.mix + 2; ++v) {
      ASSERT_FLOAT_EQ(got.image(v)[0], got.target(v)[1]);
      lambdas.push_back(static_cast<double>(got.target(v)[0]));
    }
    std::ranges::sort(lambdas);
    double furthest = 0;
    for (size_t i = 0; i < lambdas.size(); ++i) {
      if (lambdas[i] < 1e-6 || lambdas[i] > 1 - 1e-6) continue;  // where floats tie
      const double p = beta_distribution(alpha, lambdas[i]);
      furthest = std::max(furthest, std::fabs(static_cast<double>(i) / 50000 - p));
    }
    EXPECT_LT(furthest, distribution_bound(50000) + 1e-4) << alpha;
  }
}

TEST(Augmenter, FoldedLambdaIsTheLargerPart) {
  AugmentSettings s;
  s.mix = 1000;
  const Views plain = black_and_white(s, 3);
  s.fold_lambda = true;
  const Views folded = black_and_white(s, 3);
  int64_t kept = 0, turned = 0;
  for (int64_t v = 2; v < s.mix + 2; ++v) {
    const float x = plain.target(v)[0], y = folded.target(v)[0];
    if (std::fabs(x - y) < 1e-6f) {
      ++kept;
    } else {
      ASSERT_NEAR(x, 1 - y, 1e-6f);
      ++turned;
    }
  }
  EXPECT_GT(kept, 300);
  EXPECT_GT(turned, 300);
}

TEST(Augmenter, SharedLambdaIsOnePerExample) {
  AugmentSettings s;
  s.mix = 100, s.share_lambda = true;
  std::set<float> examples;
  for (uint64_t stream = 0; stream < 20; ++stream) {
    const Views got = black_and_white(s, stream);
    const float x = got.target(2)[0];
    for (int64_t v = 2; v < s.mix + 2; ++v) {
      ASSERT_TRUE(std::fabs(got.target(v)[0] - x) < 1e-6f || std::fabs(got.target(v)[1] - x) < 1e-6f);
    }
    examples.insert(x);
  }
  EXPECT_GT(examples.size(), 10u);
}

TEST(Augmenter, DegenerateMixesAreCopies) {
  const Dataset data = noise_images(1, kShape, 10);
  for (int64_t base : {1, 4}) {
    AugmentSettings s = dp_mix(base, 40, 0);
    s.mix_degenerate = true;
    const Views got = views_of(augmenter_for(data, s), data, 0, PhiloxStream(2, 12));
    std::set<int64_t> copied;
    for (int64_t v = base; v < s.views(); ++v) {
      int64_t of = -1;
      for (int64_t i = 0; i < base; ++i) of = same_bits(got.image(v), got.image(i)) ? i : of;
      ASSERT_GE(of, 0);
      ASSERT_TRUE(same_bits(got.target(v), got.target(of)));
      copied.insert(of);
    }
    EXPECT_EQ(std::ssize(copied), base);
  }
}

TEST(Augmenter, CutMixWeighsLabelsByTheAreaThatIsThere) {
  AugmentSettings s;
  s.mix = 20000, s.mix_alpha = 1, s.method = MixMethod::cutmix;
  const Views got = black_and_white(s, 4);
  double minority = 0;
  for (int64_t v = 2; v < s.mix + 2; ++v) {
    const auto image = got.image(v);
    int64_t white = 0, top = 8, bottom = -1, left = 8, right = -1;
    const float inside =
        image[0] == image[7] && image[0] == image[56] && image[0] == image[63] ? 1 - image[0] : -1;
    for (int64_t i = 0; i < 64; ++i) {
      const float x = image[static_cast<size_t>(i)];
      ASSERT_TRUE(x == 0.0f || x == 1.0f);
      white += x == 1.0f ? 1 : 0;
      if (x != inside) continue;
      top = std::min(top, i / 8), bottom = std::max(bottom, i / 8);
      left = std::min(left, i % 8), right = std::max(right, i % 8);
    }
    ASSERT_FLOAT_EQ(got.target(v)[1], static_cast<float>(white) / 64);
    ASSERT_FLOAT_EQ(got.target(v)[0] + got.target(v)[1], 1.0f);
    // Away from the corners, what differs from them is a full rectangle.
    if (inside >= 0 && bottom >= 0) {
      const int64_t area = (bottom - top + 1) * (right - left + 1);
      ASSERT_EQ(area, inside == 1.0f ? white : 64 - white);
    }
    minority += static_cast<double>(std::min(white, 64 - white)) / 64 / 20000;
  }
  // The law of the area, enumerated: lambda in fine steps (alpha = 1 is uniform), every centre.
  double expected = 0;
  const int steps = 20000;
  for (int k = 0; k < steps; ++k) {
    const double half = std::floor(8 * std::sqrt(1 - (k + 0.5) / steps)) / 2;
    const auto h = static_cast<int64_t>(half);
    for (int64_t y = 0; y < 8; ++y) {
      for (int64_t x = 0; x < 8; ++x) {
        const int64_t rows = std::min<int64_t>(8, y + h) - std::max<int64_t>(0, y - h);
        const int64_t columns = std::min<int64_t>(8, x + h) - std::max<int64_t>(0, x - h);
        const int64_t area = rows * columns;
        expected += static_cast<double>(std::min(area, 64 - area)) / 64 / 64 / steps;
      }
    }
  }
  EXPECT_NEAR(minority, expected, mean_bound(20000, 0.5) + 1e-4);
}

TEST(Augmenter, ReadsNothingButItsArguments) {
  const Dataset data = noise_images(2, kShape, 10);
  const Augmenter augmenter = augmenter_for(data, dp_mix(4, 4, 0));
  const Views before = views_of(augmenter, data, 0, PhiloxStream(1, 2));
  views_of(augmenter, data, 1, PhiloxStream(1, 3));
  const Views after = views_of(augmenter, data, 0, PhiloxStream(1, 2));
  EXPECT_TRUE(same_bits(before.images, after.images));
  EXPECT_TRUE(same_bits(before.targets, after.targets));
}

TEST(Augmenter, RefusesInOneLine) {
  const Dataset data = noise_images(1, kShape, 10);
  const auto refuse = [&](const auto& change, const std::string& part) {
    AugmentSettings s = dp_mix(4, 2, 0);
    change(s);
    expect_refusal([&] { augmenter_for(data, s); }, part);
  };
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  refuse([](auto& s) { s.base = 1; }, "augment: mix is 2 but base + pool is 1: no two different draws");
  refuse([](auto& s) { s.base = 0, s.mix = 0; }, "augment: base + pool is 0");
  refuse([](auto& s) { s.base = -1; }, "augment: base is -1");
  refuse([](auto& s) { s.mix = 65537; }, "augment: mix is 65537");
  refuse([](auto& s) { s.pool = -3; }, "augment: pool is -3");
  refuse([](auto& s) { s.method = MixMethod::none; }, "augment: mix is 2 with method \"none\"");
  refuse([&](auto& s) { s.mix_alpha = nan; }, "augment: mix_alpha is nan");
  refuse([&](auto& s) { s.mix_alpha = nan, s.mix = 0; }, "augment: mix_alpha is nan");
  refuse([&](auto& s) { s.mix_alpha = inf; }, "augment: mix_alpha is inf");
  refuse([](auto& s) { s.mix_alpha = 0; }, "augment: mix_alpha is 0");
  refuse([](auto& s) { s.crop_padding = -1; }, "augment: crop_padding is -1, wanted 0 to 8");
  refuse([](auto& s) { s.crop_padding = 9; }, "augment: crop_padding is 9, wanted 0 to 8");
  refuse([](auto& s) { s.crop_padding = 10, s.padding = Padding::symmetric; }, "wanted 0 to 9");
  expect_refusal([] { Augmenter({}, {0, 4, 1}, 2, unit_range(1)); }, "augment: image is [0,4,1]");
  expect_refusal([] { Augmenter({}, {4, 4, 1}, 0, unit_range(1)); }, "augment: label_count is 0");
  expect_refusal([] { Augmenter({}, {4, 4, 3}, 2, unit_range(1)); }, "augment: normalisation for 1 channels");
}

TEST(Augmenter, RefusesExamplesThatDoNotFit) {
  Dataset data = noise_images(1, kShape, 10);
  const Augmenter augmenter = augmenter_for(data, dp_mix(1, 0, 1));
  const PublicPool small(noise_images(3, {4, 4, 3}, 10), "bytes");
  expect_refusal(
      [&] {
        views_of(augmenter, data, 0, {1, 1});
      },
      "augment: pool is 1 but there is no public pool");
  expect_refusal(
      [&] {
        views_of(augmenter, data, 0, {1, 1}, &small);
      },
      "augment: the public pool has another shape");
  std::vector<float> images(static_cast<size_t>(2 * kShape.size())), targets(20);
  expect_refusal(
      [&] {
        augmenter.write_views({data.image(0).first(5), 1}, {1, 1}, nullptr, images, targets);
      },
      "augment: image has 5 bytes, wanted 270");
  expect_refusal(
      [&] {
        augmenter.write_views({data.image(0), 10}, {1, 1}, nullptr, images, targets);
      },
      "augment: label is 10, wanted 0 to 9");
  expect_refusal(
      [&] {
        augmenter.write_views({data.image(0), -1}, {1, 1}, nullptr, images, targets);
      },
      "augment: label is -1");
  targets.pop_back();
  expect_refusal(
      [&] {
        augmenter.write_views({data.image(0), 1}, {1, 1}, nullptr, images, targets);
      },
      "augment: room for 540 numbers and 19 targets, wanted 540 and 20");
}

}  // namespace
}  // namespace pergrad::augment
