// Which effects are on, what is drawn for one, and a whole view at a time.
#include "augment/effects.h"

#include "core/error.h"

#include <algorithm>
#include <array>
#include <numbers>

namespace pergrad::augment {
namespace {

using Matrix = std::array<std::array<double, 3>, 3>;

Matrix times(const Matrix& a, const Matrix& b) {
  Matrix out{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j)
      for (size_t k = 0; k < 3; ++k) out[i][j] += a[i][k] * b[k][j];
  return out;
}

Matrix inverse(const Matrix& m) {
  const auto minor = [&](size_t i, size_t j) {  // of the transposed matrix, with its sign
    const size_t r = (j + 1) % 3, s = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
    return m[r][c] * m[s][d] - m[r][d] * m[s][c];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(1, 0) + m[0][2] * minor(2, 0);
  Matrix out{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) out[i][j] = minor(i, j) / determinant;
  return out;
}

// Luma and chroma of NTSC (YIQ): a turn of hue is a rotation of (I, Q).
constexpr Matrix kToYiq = {{{0.299, 0.587, 0.114}, {0.5959, -0.2746, -0.3213}, {0.2115, -0.5227, 0.3112}}};

double between(PhiloxStream& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

// p in [0, 1]: p := mean + contrast (p - mean) + brightness, then saturation about the luma, then hue; all of
// it on normalised numbers v = (p - mean) / deviation.
void draw_color_jitter(const float* table, int64_t channels, PhiloxStream& random, float* numbers) {
  const double brightness = between(random, -0.15, 0.15), contrast = between(random, 0.7, 1.3);
  const double saturation = between(random, 0.6, 1.6);
  const double hue = 2 * std::numbers::pi * between(random, -0.1, 0.1);
  std::array<double, 3> mean{}, deviation{};
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double black = static_cast<double>(table[c * 256]),
                 white = static_cast<double>(table[c * 256 + 255]);
    deviation[c] = 1 / (white - black);
    mean[c] = -black * deviation[c];
  }
  if (channels == 1) {
    numbers[0] = static_cast<float>(contrast);
    numbers[9] = static_cast<float>(brightness / deviation[0]);
    return;
  }
  const Matrix turn = {{{1, 0, 0}, {0, std::cos(hue), -std::sin(hue)}, {0, std::sin(hue), std::cos(hue)}}};
  Matrix saturate{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j)
      saturate[i][j] = (i == j ? saturation : 0) + (1 - saturation) * kToYiq[0][j];
  const Matrix m = times(times(inverse(kToYiq), times(turn, kToYiq)), saturate);
  for (size_t i = 0; i < 3; ++i) {
    double offset = -mean[i];
    for (size_t j = 0; j < 3; ++j) {
      numbers[3 * i + j] = static_cast<float>(m[i][j] * contrast * deviation[j] / deviation[i]);
      offset += m[i][j] * (mean[j] + brightness);
    }
    numbers[9 + i] = static_cast<float>(offset / deviation[i]);
  }
}

// From places of the view to places of its source, about the middle.
void draw_affine(const ImageShape& shape, PhiloxStream& random, float* numbers) {
  const double degree = std::numbers::pi / 180;
  const double turn = between(random, -15, 15) * degree, shear = std::tan(between(random, -10, 10) * degree);
  const double scale = 1 / between(random, 0.9, 1.1);
  const auto width = static_cast<double>(shape.width), height = static_cast<double>(shape.height);
  const double move_x = between(random, -0.1, 0.1) * width, move_y = between(random, -0.1, 0.1) * height;
  const double xx = scale * std::cos(turn), yx = scale * std::sin(turn);
  const double xy = shear * xx - scale * std::sin(turn), yy = shear * yx + scale * std::cos(turn);
  const double middle_x = (width - 1) / 2, middle_y = (height - 1) / 2;
  const double wanted[6] = {xx, xy, middle_x + move_x - xx * middle_x - xy * middle_y,
                            yx, yy, middle_y + move_y - yx * middle_x - yy * middle_y};
  std::transform(wanted, wanted + 6, numbers, [](double v) { return static_cast<float>(v); });
}

void draw_cutout(int64_t side, const ImageShape& shape, PhiloxStream& random, float* numbers) {
  const int64_t top = random.below(static_cast<uint32_t>(shape.height)) - side / 2;
  const int64_t left = random.below(static_cast<uint32_t>(shape.width)) - side / 2;
  numbers[0] = static_cast<float>(top), numbers[1] = static_cast<float>(left);
  numbers[2] = static_cast<float>(top + side), numbers[3] = static_cast<float>(left + side);
}

void draw_blur(PhiloxStream& random, float* numbers) {
  const double sigma = between(random, 0.1, 2.0);
  const double edge = std::exp(-0.5 / (sigma * sigma)), corner = edge * edge, sum = 1 + 4 * edge + 4 * corner;
  numbers[0] = static_cast<float>(1 / sum), numbers[1] = static_cast<float>(edge / sum);
  numbers[2] = static_cast<float>(corner / sum);
}

}  // namespace

std::vector<Effect> EffectSettings::on() const {
  std::vector<Effect> effects;
  for (const auto& [effect, is_on] : {std::pair{Effect::color_jitter, color_jitter},
                                      {Effect::affine, affine},
                                      {Effect::cutout, cutout > 0},
                                      {Effect::gaussian_noise, gaussian_noise > 0},
                                      {Effect::blur, blur},
                                      {Effect::sobel, sobel}})
    if (is_on) effects.push_back(effect);
  return effects;
}

void EffectSettings::check(const ImageShape& shape) const {
  const int64_t side = std::max(shape.height, shape.width);
  PG_CHECK(0 <= cutout && cutout <= side, "augment: cutout is ", cutout, ", wanted 0 to ", side);
  PG_CHECK(0 <= gaussian_noise && gaussian_noise <= 100, "augment: gaussian_noise is ", gaussian_noise,
           ", wanted 0 to 100");
  PG_CHECK(0 <= probability && probability <= 1, "augment: effect_probability is ", probability,
           ", wanted 0 to 1");
  PG_CHECK(!color_jitter || shape.channels == 1 || shape.channels == 3, "augment: color_jitter of ",
           shape.channels, " channels, wanted 1 or 3");
}

EffectRecipe draw_effect(const EffectSettings& settings, const ImageShape& shape, const float* table,
                         PhiloxStream& random) {
  EffectRecipe recipe;
  const std::vector<Effect> effects = settings.on();
  if (effects.empty() || random.uniform() >= settings.probability) return recipe;
  recipe.effect = effects[random.below(static_cast<uint32_t>(effects.size()))];
  switch (recipe.effect) {
    case Effect::color_jitter:
      draw_color_jitter(table, shape.channels, random, recipe.numbers);
      break;
    case Effect::affine:
      draw_affine(shape, random, recipe.numbers);
      break;
    case Effect::cutout:
      draw_cutout(settings.cutout, shape, random, recipe.numbers);
      break;
    case Effect::gaussian_noise:
      recipe.numbers[0] = static_cast<float>(settings.gaussian_noise);
      for (uint32_t& word : recipe.seed) word = random.next_u32();
      break;
    case Effect::blur:
      draw_blur(random, recipe.numbers);
      break;
    case Effect::sobel:
    case Effect::none:
      break;
  }
  return recipe;
}

void apply_effect(const EffectRecipe& recipe, const ImageShape& shape, const float* table, float* view,
                  std::vector<float>& before) {
  if (recipe.effect == Effect::none) return;
  before.assign(view, view + shape.size());
  const auto at = [&](int64_t y, int64_t x, int64_t c) {
    return before[static_cast<size_t>((y * shape.width + x) * shape.channels + c)];
  };
  for (int64_t y = 0; y < shape.height; ++y)
    for (int64_t x = 0; x < shape.width; ++x)
      for (int64_t c = 0; c < shape.channels; ++c)
        *view++ = with_effect(recipe, shape.height, shape.width, shape.channels, table, at, y, x, c);
}

}  // namespace pergrad::augment
