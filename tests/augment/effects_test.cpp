// Effects one by one against what they say they are; which of them a draw gets; that nothing else moves.
#include "augment/effects.h"
#include "tests/augment/examples.h"

#include <gmock/gmock.h>

#include <array>
#include <map>
#include <numbers>
#include <set>

namespace pergrad::augment {
namespace {

constexpr ImageShape kGrey{4, 5, 1}, kColour{6, 7, 3};

// One view of `image` with this recipe.
std::vector<float> applied(const EffectRecipe& recipe, const ImageShape& shape, std::vector<float> image,
                           const Normalisation& normalisation) {
  std::vector<float> room;
  apply_effect(recipe, shape, normalisation.table(), image.data(), room);
  return image;
}
std::vector<float> ramp(const ImageShape& shape) {
  std::vector<float> image;
  for (int64_t i = 0; i < shape.size(); ++i) image.push_back(static_cast<float>((7 * i) % 11) / 16.0f);
  return image;
}
EffectRecipe recipe(Effect effect, std::initializer_list<float> numbers) {
  EffectRecipe r;
  r.effect = effect;
  std::copy(numbers.begin(), numbers.end(), r.numbers);
  return r;
}
// So many recipes of these settings.
std::vector<EffectRecipe> drawn(const EffectSettings& settings, const ImageShape& shape, int n,
                                const Normalisation& normalisation) {
  PhiloxStream random(5, 6);
  std::vector<EffectRecipe> out;
  for (int i = 0; i < n; ++i) out.push_back(draw_effect(settings, shape, normalisation.table(), random));
  return out;
}

TEST(Effects, CutoutIsASquareOfThePublicMean) {
  const std::vector<float> image = ramp(kGrey);
  const std::vector<float> cut = applied(recipe(Effect::cutout, {1, -1, 3, 2}), kGrey, image, unit_range(1));
  for (int64_t y = 0; y < 4; ++y)
    for (int64_t x = 0; x < 5; ++x) {
      const auto i = static_cast<size_t>(y * 5 + x);
      EXPECT_EQ(cut[i], (y == 1 || y == 2) && x < 2 ? 0.0f : image[i]);
    }
  // Of every drawn one the side is as set, and its middle lies in the image.
  for (const EffectRecipe& r : drawn({.cutout = 3}, kGrey, 1000, unit_range(1))) {
    EXPECT_EQ(r.numbers[2] - r.numbers[0], 3);
    EXPECT_EQ(r.numbers[3] - r.numbers[1], 3);
    EXPECT_TRUE(0 <= r.numbers[0] + 1 && r.numbers[0] + 1 < 4 && 0 <= r.numbers[1] + 1 &&
                r.numbers[1] + 1 < 5);
  }
}

TEST(Effects, AffineMovesTurnsAndInterpolates) {
  const std::vector<float> image = ramp(kGrey);
  EXPECT_EQ(applied(recipe(Effect::affine, {1, 0, 0, 0, 1, 0}), kGrey, image, unit_range(1)), image);
  // One to the right: the first column comes from beyond the image.
  const std::vector<float> moved =
      applied(recipe(Effect::affine, {1, 0, -1, 0, 1, 0}), kGrey, image, unit_range(1));
  const std::vector<float> half =
      applied(recipe(Effect::affine, {1, 0, 0.5f, 0, 1, 0}), kGrey, image, unit_range(1));
  const std::vector<float> turned =
      applied(recipe(Effect::affine, {-1, 0, 4, 0, -1, 3}), kGrey, image, unit_range(1));
  for (size_t y = 0; y < 4; ++y)
    for (size_t x = 0; x < 5; ++x) {
      EXPECT_EQ(moved[y * 5 + x], x == 0 ? 0.0f : image[y * 5 + x - 1]);
      EXPECT_EQ(turned[y * 5 + x], image[(3 - y) * 5 + 4 - x]);
      EXPECT_FLOAT_EQ(half[y * 5 + x], (image[y * 5 + x] + (x == 4 ? 0.0f : image[y * 5 + x + 1])) / 2);
    }
  // The drawn ones keep the middle within the stated move, and areas within the stated scale.
  for (const EffectRecipe& r : drawn({.affine = true}, kColour, 1000, unit_range(3))) {
    const float* n = r.numbers;
    EXPECT_NEAR(n[0] * 3 + n[1] * 2.5f + n[2], 3, 0.1 * 7 + 1e-5);
    EXPECT_NEAR(n[3] * 3 + n[4] * 2.5f + n[5], 2.5, 0.1 * 6 + 1e-5);
    const float area = n[0] * n[4] - n[1] * n[3];
    EXPECT_TRUE(1 / (1.1 * 1.1) - 1e-5 < area && area < 1 / (0.9 * 0.9) + 1e-5) << area;
  }
}

// Every centre is as likely as any other.
TEST(Effects, CutoutIsAnywhere) {
  std::vector<int64_t> rows(4), columns(5);
  for (const EffectRecipe& r : drawn({.cutout = 3}, kGrey, 20000, unit_range(1)))
    ++rows.at(static_cast<size_t>(r.numbers[0] + 1)), ++columns.at(static_cast<size_t>(r.numbers[1] + 1));
  EXPECT_LT(chi_square(rows), chi_square_bound(4));
  EXPECT_LT(chi_square(columns), chi_square_bound(5));
}

// Step by step from the same random numbers: shear, turn, scale, move. A ramp is what a look-up between
// pixels gets exactly right.
TEST(Effects, AffineStepByStep) {
  const ImageShape shape{20, 30, 1};
  std::vector<float> ramp_of_both;
  for (int y = 0; y < 20; ++y)
    for (int x = 0; x < 30; ++x) ramp_of_both.push_back(static_cast<float>(10 + 2 * x + 3 * y));
  int64_t inside = 0, outside = 0;
  for (uint64_t n = 0; n < 200; ++n) {
    PhiloxStream random(7, n), same(7, n);
    same.uniform(), same.below(1);  // that there is one, and which
    const auto between = [&](double low, double high) { return low + (high - low) * same.uniform(); };
    const double degree = std::numbers::pi / 180, turn = between(-15, 15) * degree;
    const double shear = std::tan(between(-10, 10) * degree), scale = between(0.9, 1.1);
    const double right = between(-3, 3), down = between(-2, 2);
    const std::vector<float> got =
        applied(draw_effect({.affine = true}, shape, unit_range(1).table(), random), shape, ramp_of_both,
                unit_range(1));
    for (int y = 0; y < 20; ++y)
      for (int x = 0; x < 30; ++x) {
        const double v = y - 9.5, u = (x - 14.5) + shear * v;
        const double from_x = 14.5 + right + (std::cos(turn) * u - std::sin(turn) * v) / scale;
        const double from_y = 9.5 + down + (std::sin(turn) * u + std::cos(turn) * v) / scale;
        const auto value = static_cast<double>(got[30 * static_cast<size_t>(y) + static_cast<size_t>(x)]);
        if (from_x >= 0 && from_x <= 29 && from_y >= 0 && from_y <= 19) {
          ASSERT_NEAR(value, 10 + 2 * from_x + 3 * from_y, 1e-3);
          ++inside;
        } else if (from_x < -1.001 || from_x > 30.001 || from_y < -1.001 || from_y > 20.001) {
          ASSERT_EQ(value, 0);
          ++outside;
        }
      }
  }
  EXPECT_GT(inside, 60000);
  EXPECT_GT(outside, 5000);
}

TEST(Effects, BlurIsAsWideAsStated) {
  double narrowest = 9, widest = 0;
  for (const EffectRecipe& r : drawn({.blur = true}, kGrey, 2000, unit_range(1))) {
    if (r.numbers[1] < 1e-30f) continue;  // too narrow to be told
    const double ratio = static_cast<double>(r.numbers[1]) / static_cast<double>(r.numbers[0]);
    const double deviation = std::sqrt(-1 / (2 * std::log(ratio)));
    narrowest = std::min(narrowest, deviation), widest = std::max(widest, deviation);
  }
  EXPECT_NEAR(narrowest, 0.1, 0.02);
  EXPECT_NEAR(widest, 2, 0.02);
  EXPECT_LE(widest, 2.0001);
}

TEST(Effects, BlurKeepsWhatIsFlatAndSpreadsAPoint) {
  const std::vector<float> flat(20, 0.75f);
  for (const EffectRecipe& r : drawn({.blur = true}, kGrey, 100, unit_range(1))) {
    for (float v : applied(r, kGrey, flat, unit_range(1))) EXPECT_NEAR(v, 0.75f, 1e-6);
    std::vector<float> point(20, 0.0f);
    point[7] = 1;  // row 1, column 2
    const std::vector<float> spread = applied(r, kGrey, point, unit_range(1));
    EXPECT_EQ(spread[7], r.numbers[0]);
    for (size_t i : {2, 6, 8, 12}) EXPECT_EQ(spread[i], r.numbers[1]);
    for (size_t i : {1, 3, 11, 13}) EXPECT_EQ(spread[i], r.numbers[2]);
    EXPECT_EQ(spread[17], 0);
    EXPECT_NEAR(r.numbers[0] * r.numbers[2], r.numbers[1] * r.numbers[1], 1e-6);  // Gaussian: separable
  }
}

TEST(Effects, SobelIsTheSlope) {
  std::vector<float> slope;
  for (int64_t y = 0; y < 4; ++y)
    for (int64_t x = 0; x < 5; ++x)
      slope.push_back(0.25f * static_cast<float>(x) + 0.5f * static_cast<float>(y));
  const std::vector<float> got = applied(recipe(Effect::sobel, {}), kGrey, slope, unit_range(1));
  for (size_t y = 1; y < 3; ++y)
    for (size_t x = 1; x < 4; ++x) EXPECT_FLOAT_EQ(got[y * 5 + x], std::sqrt(0.25f * 0.25f + 0.5f * 0.5f));
  for (float v : applied(recipe(Effect::sobel, {}), kGrey, std::vector<float>(20, 3.0f), unit_range(1)))
    EXPECT_EQ(v, 0);
}

// Eight uniforms: mean 0, variance 1, kurtosis 3 - 6/5/8; and no two numbers go together.
TEST(Effects, NoiseHasTheStatedLaw) {
  const uint32_t seed[2] = {1, 2}, other[2] = {1, 3};
  constexpr int kN = 400'000;
  double sum = 0, squares = 0, fourth = 0, lag = 0, across = 0, before = 0;
  for (int i = 0; i < kN; ++i) {
    const auto v = static_cast<double>(noise_number(seed, i));
    sum += v, squares += v * v, fourth += v * v * v * v, lag += v * before;
    across += v * static_cast<double>(noise_number(other, i));
    before = v;
  }
  const double five = 5 / std::sqrt(kN);  // five deviations: 5.7e-7 each
  EXPECT_NEAR(sum / kN, 0, five);
  EXPECT_NEAR(squares / kN, 1, five * std::sqrt(1.85));
  EXPECT_NEAR(fourth / kN, 2.85, five * 8.5);
  EXPECT_NEAR(lag / kN, 0, five);
  EXPECT_NEAR(across / kN, 0, five);
  EffectRecipe r = recipe(Effect::gaussian_noise, {0.5f});
  r.seed[0] = 1, r.seed[1] = 2;
  const std::vector<float> noisy = applied(r, kGrey, std::vector<float>(20, 1.0f), unit_range(1));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(noisy[static_cast<size_t>(i)], 1 + 0.5f * noise_number(seed, i));
}

// In pixels of [0, 1]: brightness, contrast about the public mean, saturation about the luma, hue.
TEST(Effects, ColourJitterStaysWithinItsStrengths) {
  const Normalisation normalisation({0.4, 0.5, 0.6}, {0.2, 0.25, 0.3});
  const double mean[3] = {0.4, 0.5, 0.6}, deviation[3] = {0.2, 0.25, 0.3};
  double least = 1, most = 0;
  for (const EffectRecipe& r : drawn({.color_jitter = true}, kColour, 2000, normalisation)) {
    // The mean colour is moved by the brightness alone, as far as its luma goes: (mean + b) is mapped by hue
    // and saturation, which keep the luma.
    double luma = 0, before = 0;
    const double weights[3] = {0.299, 0.587, 0.114};
    for (int c = 0; c < 3; ++c) {
      luma += weights[c] * (mean[c] + deviation[c] * static_cast<double>(r.numbers[9 + c]));
      before += weights[c] * mean[c];
    }
    EXPECT_TRUE(std::abs(luma - before) < 0.1501) << luma - before;
    // A grey step of 0.1 becomes a grey step of contrast x 0.1, whatever saturation and hue.
    double step[3];
    for (int i = 0; i < 3; ++i) {
      step[i] = 0;
      for (int j = 0; j < 3; ++j) step[i] += static_cast<double>(r.numbers[3 * i + j]) * 0.1 / deviation[j];
      step[i] *= deviation[i] / 0.1;
    }
    EXPECT_NEAR(step[0], step[1], 2e-3);
    EXPECT_NEAR(step[0], step[2], 2e-3);
    least = std::min(least, step[1]), most = std::max(most, step[1]);
    for (float v : applied(r, kColour, std::vector<float>(126, 2.0f), normalisation))
      EXPECT_TRUE(-2 <= v && v <= 3);  // nothing darker than black or lighter than white
  }
  EXPECT_GT(least, 0.699);
  EXPECT_LT(least, 0.71);
  EXPECT_LT(most, 1.301);
  EXPECT_GT(most, 1.29);
  const Normalisation grey({0.5}, {0.25});
  for (const EffectRecipe& r : drawn({.color_jitter = true}, kGrey, 1000, grey)) {
    EXPECT_TRUE(0.7f <= r.numbers[0] && r.numbers[0] <= 1.3f);
    EXPECT_TRUE(std::abs(r.numbers[9]) <= 0.6001f);
  }
}

// The same step by step, from the same random numbers; back from I and Q by the published, rounded matrix.
TEST(Effects, ColourJitterStepByStep) {
  const ImageShape shape{4, 4, 3};
  const std::vector<double> mean{0.49, 0.48, 0.45}, deviation{0.25, 0.2, 0.3};
  const Normalisation normalisation(mean, deviation);
  int64_t beyond = 0;
  for (uint64_t n = 0; n < 300; ++n) {
    PhiloxStream random(7, n), same(7, n);
    same.uniform(), same.below(1);  // that there is one, and which
    const auto between = [&](double low, double high) { return low + (high - low) * same.uniform(); };
    const double brightness = between(-0.15, 0.15), contrast = between(0.7, 1.3);
    const double saturation = between(0.6, 1.6), angle = 2 * std::numbers::pi * between(-0.1, 0.1);
    const EffectRecipe r = draw_effect({.color_jitter = true}, shape, normalisation.table(), random);
    const Dataset data = noise_images(1, shape, 2, n);
    std::vector<float> in;
    for (size_t i = 0; i < 48; ++i) in.push_back(normalisation.table()[(i % 3) * 256 + data.pixels[i]]);
    const std::vector<float> got = applied(r, shape, in, normalisation);
    for (size_t i = 0; i < 48; i += 3) {
      double p[3];
      for (size_t c = 0; c < 3; ++c)
        p[c] = mean[c] + contrast * (data.pixels[i + c] / 255.0 - mean[c]) + brightness;
      const double luma = 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
      const double i0 = saturation * (0.5959 * p[0] - 0.2746 * p[1] - 0.3213 * p[2]);
      const double q0 = saturation * (0.2115 * p[0] - 0.5227 * p[1] + 0.3112 * p[2]);
      const double i1 = std::cos(angle) * i0 - std::sin(angle) * q0;
      const double q1 = std::sin(angle) * i0 + std::cos(angle) * q0;
      const double wanted[3] = {luma + 0.956 * i1 + 0.619 * q1, luma - 0.272 * i1 - 0.647 * q1,
                                luma - 1.106 * i1 + 1.703 * q1};
      for (size_t c = 0; c < 3; ++c) {
        const double pixel = static_cast<double>(got[i + c]) * deviation[c] + mean[c];
        ASSERT_NEAR(pixel, std::clamp(wanted[c], 0.0, 1.0), 4e-3) << n;
        beyond += wanted[c] < 0 || wanted[c] > 1 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(beyond, 500);
}

TEST(Effects, EachThatIsOnComesAsOftenAsTheOthers) {
  EffectSettings all = all_effects();
  constexpr int kN = 60'000;
  std::map<Effect, int64_t> counts;
  for (const EffectRecipe& r : drawn(all, kColour, kN, unit_range(3))) ++counts[r.effect];
  EXPECT_NEAR(static_cast<double>(counts[Effect::none]) / kN, 0.2, mean_bound(kN));
  counts.erase(Effect::none);
  std::vector<int64_t> cells;
  for (const auto& [effect, count] : counts) cells.push_back(count);
  ASSERT_EQ(cells.size(), 6);
  EXPECT_LT(chi_square(cells), chi_square_bound(6));
  all.probability = 0;
  for (const EffectRecipe& r : drawn(all, kColour, 100, unit_range(3))) EXPECT_EQ(r.effect, Effect::none);
}

// With effects and without, everything else about the views is drawn alike; mixes join views with their
// effects.
TEST(Effects, LeaveCropsFlipsAndMixesAsTheyAre) {
  const Dataset data = noise_images(3, kColour, 4), images = noise_images(5, kColour, 4, 2);
  const PublicPool pool(images, "random bytes");
  AugmentSettings plain;
  plain.base = 3, plain.pool = 2, plain.mix = 4, plain.crop_padding = 2, plain.flip = true;
  AugmentSettings with = plain;
  with.effects = {
      .color_jitter = true, .affine = true, .cutout = 3, .gaussian_noise = 0.1, .blur = true, .sobel = true};
  for (const bool pool_augmented : {true, false}) {
    plain.pool_augmented = with.pool_augmented = pool_augmented;
    std::vector<ViewRecipe> before(9), after(9);
    augmenter_for(data, plain).draw(PhiloxStream(1, 2), &pool, before);
    augmenter_for(data, with).draw(PhiloxStream(1, 2), &pool, after);
    AugmentSettings unmixed = with;
    unmixed.mix = 0;
    std::vector<ViewRecipe> alone(5);
    augmenter_for(data, unmixed).draw(PhiloxStream(1, 2), &pool, alone);
    EXPECT_TRUE(same_bits(alone, std::span(after).first(5)));
    for (size_t v = 0; v < 9; ++v) {
      const bool is_draw = v < 5, transformed = v < 3 || (is_draw && pool_augmented);
      EXPECT_EQ(after[v].effect.effect != Effect::none, transformed) << v;
      after[v].effect = {};
    }
    EXPECT_TRUE(same_bits(before, after));
    const Views views = views_of(augmenter_for(data, with), data, 1, PhiloxStream(1, 2), &pool);
    for (size_t v = 5; v < 9; ++v)
      for (size_t i = 0; i < 126; ++i)
        ASSERT_EQ(views.image(static_cast<int64_t>(v))[i],
                  after[v].first_share * views.image(after[v].first)[i] +
                      after[v].second_share * views.image(after[v].second)[i]);
  }
}

TEST(Effects, Refusals) {
  const Dataset data = noise_images(2, {4, 5, 4}, 2);
  const auto refused = [&](const EffectSettings& effects, const std::string& part) {
    AugmentSettings s;
    s.effects = effects;
    expect_refusal([&] { augmenter_for(data, s); }, part);
  };
  refused({.color_jitter = true}, "color_jitter of 4 channels, wanted 1 or 3");
  refused({.cutout = 6}, "cutout is 6, wanted 0 to 5");
  refused({.cutout = -1}, "cutout is -1");
  refused({.gaussian_noise = NAN}, "gaussian_noise is nan");
  refused({.gaussian_noise = -0.1}, "gaussian_noise is -0.1");
  refused({.probability = 1.5}, "effect_probability is 1.5, wanted 0 to 1");
}

}  // namespace
}  // namespace pergrad::augment
