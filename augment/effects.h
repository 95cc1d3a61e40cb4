// Effects: what a view may get beside crop and flip, at most one of six, each a function of one drawn view.
//
// 1. Number (y, x, c) of the view with its effect reads the view without it and the recipe's numbers, nothing
//    else: on the processor from an image, on a device from the functor that makes its pixels.
// 2. Whatever needs sines, exponentials or a random number is worked out when the recipe is drawn, on the
//    processor. What is left are sums, products and one square root, the same bits on every device.
// 3. How the paper combined several we do not know. Here a view gets exactly one, each as likely as another.
//   Source: Bao et al. 2023, table 4; strengths of colour jitter from De et al.'s code, others ours.
#pragma once

#include "augment/image_ops.h"
#include "core/exec.h"
#include "core/philox.h"

#include <cmath>
#include <cstdint>
#include <vector>

namespace pergrad::augment {

enum class Effect : int32_t { none, color_jitter, affine, cutout, gaussian_noise, blur, sobel };

// Off unless set.
struct EffectSettings {
  // Brightness +-0.15, contrast 0.7 to 1.3, saturation 0.6 to 1.6, hue +-0.1 turns.
  bool color_jitter = false;
  bool affine = false;        // rotated +-15 degrees, sheared +-10, scaled 0.9 to 1.1, moved +-10 % of a side
  int64_t cutout = 0;         // side of a square of the public mean, pixels (DeVries and Taylor 2017)
  double gaussian_noise = 0;  // standard deviation, in normalised units
  bool blur = false;          // Gaussian, 3 x 3, sigma 0.1 to 2 pixels
  bool sobel = false;         // size of the gradient in place of each channel
  double probability = 1;     // that a draw gets one of those that are on

  std::vector<Effect> on() const;
  // THROWS: Error, in one line, for settings that mean nothing for such images.
  void check(const ImageShape& shape) const;
};

struct EffectRecipe {
  Effect effect = Effect::none;
  // color_jitter: a row of 3 for each channel, then 3 offsets (grey: factor [0], offset [9]). affine: source
  // column x [0] + y [1] + [2], source row x [3] + y [4] + [5]. cutout: top, left, bottom, right.
  // gaussian_noise: standard deviation. blur: weights of centre, edges, corners.
  float numbers[12] = {};
  uint32_t seed[2] = {};  // of the noise
};

// Which effect a draw gets, and its numbers.   table [C,256]: of the normalisation.
EffectRecipe draw_effect(const EffectSettings& settings, const ImageShape& shape, const float* table,
                         PhiloxStream& random);

// Number `at` of a noise image: the sum of eight uniforms of 16 bits, with mean 0 and variance 1 (Irwin and
// Hall: within 0.006 of the normal distribution function; whole numbers, hence the same everywhere).
PG_HD inline float noise_number(const uint32_t seed[2], int64_t at) {
  uint32_t words[4];
  philox4x32_10(seed[0] | uint64_t{seed[1]} << 32, static_cast<uint64_t>(at), 0, words);
  uint32_t sum = 0;
  for (uint32_t word : words) sum += (word & 0xFFFF) + (word >> 16);
  constexpr float kDeviation = 53509.92f;  // sqrt(8 (2^32 - 1) / 12)
  return (static_cast<float>(sum) - 262140.0f) / kDeviation;
}

// Number (y, x, c) of a view [H,W,C] with its effect. at(y, x, c): of the view without, for places inside.
template <class At>
PG_HD float with_effect(const EffectRecipe& e, int64_t height, int64_t width, int64_t channels,
                        const float* table, const At& at, int64_t y, int64_t x, int64_t c) {
  const float* n = e.numbers;
  const int64_t up = y > 0 ? y - 1 : 0, down = y + 1 < height ? y + 1 : y;
  const int64_t left = x > 0 ? x - 1 : 0, right = x + 1 < width ? x + 1 : x;
  switch (e.effect) {
    case Effect::none:
      break;
    case Effect::color_jitter: {
      float value = channels == 1 ? n[0] * at(y, x, 0) + n[9] : n[9 + c];
      if (channels == 3)
        for (int64_t k = 0; k < 3; ++k) value += n[3 * c + k] * at(y, x, k);
      const float black = table[c * 256], white = table[c * 256 + 255];
      return value < black ? black : value > white ? white : value;
    }
    case Effect::affine: {
      const auto fx = static_cast<float>(x), fy = static_cast<float>(y);
      const float column = n[0] * fx + n[1] * fy + n[2], row = n[3] * fx + n[4] * fy + n[5];
      const float first_column = floorf(column), first_row = floorf(row);
      const float share_x = column - first_column, share_y = row - first_row;
      const auto inside = [&](int64_t r, int64_t k) {  // beyond the image is the public mean
        return 0 <= r && r < height && 0 <= k && k < width ? at(r, k, c) : 0.0f;
      };
      const auto r = static_cast<int64_t>(first_row), k = static_cast<int64_t>(first_column);
      const float above = (1.0f - share_x) * inside(r, k) + share_x * inside(r, k + 1);
      const float below = (1.0f - share_x) * inside(r + 1, k) + share_x * inside(r + 1, k + 1);
      return (1.0f - share_y) * above + share_y * below;
    }
    case Effect::cutout: {
      const auto fx = static_cast<float>(x), fy = static_cast<float>(y);
      if (n[0] <= fy && fy < n[2] && n[1] <= fx && fx < n[3]) return 0.0f;
      break;
    }
    case Effect::gaussian_noise:
      return at(y, x, c) + n[0] * noise_number(e.seed, (y * width + x) * channels + c);
    case Effect::blur:
      return n[0] * at(y, x, c) + n[1] * (at(up, x, c) + at(down, x, c) + at(y, left, c) + at(y, right, c)) +
             n[2] * (at(up, left, c) + at(up, right, c) + at(down, left, c) + at(down, right, c));
    case Effect::sobel: {
      const float across = (at(up, right, c) - at(up, left, c)) + 2.0f * (at(y, right, c) - at(y, left, c)) +
                           (at(down, right, c) - at(down, left, c));
      const float along = (at(down, left, c) - at(up, left, c)) + 2.0f * (at(down, x, c) - at(up, x, c)) +
                          (at(down, right, c) - at(up, right, c));
      return sqrtf(across * across + along * along) / 8.0f;
    }
  }
  return at(y, x, c);
}

// The same for a whole view [H,W,C], in place. `before`: room for a copy.
void apply_effect(const EffectRecipe& recipe, const ImageShape& shape, const float* table, float* view,
                  std::vector<float>& before);

}  // namespace pergrad::augment
