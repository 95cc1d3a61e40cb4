// Image kernels: what happens to one row of one image, written once for both devices.
//
// 1. An image is f32 [H, W, C] without gaps. A canvas is an image with room around it: [H+2p, W+2p, C].
// 2. A functor writes one row of its output (or one element) and reads only the images that it names.
// 3. Inner loops are copies and sums without branches: mirrored borders are made once per image, not per
// view.
// 4. kChannels is C where the compiler may know it (1 or 3), and 0 where it is read at run time.
#pragma once

#include "core/exec.h"

#include <cstdint>

namespace pergrad::augment {

// What lies outside of an image that is cropped beyond its border, "dcb|abcd|cba" against "cba|abcd|dcb".
enum class Padding {
  reflect,    // the edge is the mirror and is not repeated (PyTorch, TAN, DP-Mix)
  symmetric,  // the edge is repeated (numpy's name; De et al. 2022)
};

// Where place i of the padded axis looks inside [0, n).
//   REQUIRES: -n < i < 2n - 1 (reflect), -n <= i < 2n (symmetric).
PG_HD inline int64_t mirror(int64_t i, int64_t n, Padding mode) {
  const int64_t edge = mode == Padding::symmetric ? 1 : 0;
  if (i < 0) return -i - edge;
  if (i >= n) return 2 * (n - 1) - i + edge;
  return i;
}

// Bytes to normalised numbers, row y of H: out[x,c] = table[c][byte].
template <int64_t kChannels>
struct NormaliseRow {
  const uint8_t* bytes;  // [H,W,C]
  const float* table;    // [C,256]
  float* out;            // where pixel (0,0) goes
  int64_t width, channels;
  int64_t pitch;  // floats from one row of out to the next

  PG_HD void operator()(int64_t y) const {
    const int64_t count = kChannels ? kChannels : channels;
    const uint8_t* __restrict from = bytes + y * width * count;
    float* __restrict to = out + y * pitch;
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < count; ++c) to[x * count + c] = table[c * 256 + from[x * count + c]];
    }
  }
};

// The left and right border of row y of H of a canvas whose inner pixels are there.
struct PadColumns {
  float* canvas;
  int64_t width, channels, padding;
  Padding mode;

  PG_HD void operator()(int64_t y) const {
    float* row = canvas + ((y + padding) * (width + 2 * padding) + padding) * channels;
    for (int64_t j = 1; j <= padding; ++j) {
      const int64_t left = mirror(-j, width, mode);
      const int64_t right = mirror(width - 1 + j, width, mode);
      for (int64_t c = 0; c < channels; ++c) {
        row[-j * channels + c] = row[left * channels + c];
        row[(width - 1 + j) * channels + c] = row[right * channels + c];
      }
    }
  }
};

// Row y of the 2p border rows of a canvas (first those above, then those below), after PadColumns.
struct PadRows {
  float* canvas;
  int64_t height, pitch, padding;
  Padding mode;

  PG_HD void operator()(int64_t y) const {
    const int64_t outside = y < padding ? y - padding : height + y - padding;
    const float* __restrict from = canvas + (padding + mirror(outside, height, mode)) * pitch;
    float* __restrict to = canvas + (padding + outside) * pitch;
    for (int64_t i = 0; i < pitch; ++i) to[i] = from[i];
  }
};

// Row y seen in a mirror: out[x] = in[W-1-x], pixel by pixel.
template <int64_t kChannels>
struct FlipRow {
  const float* in;
  float* out;
  int64_t width, channels;

  PG_HD void operator()(int64_t y) const {
    const int64_t count = kChannels ? kChannels : channels;
    const float* __restrict from = in + (y + 1) * width * count;
    float* __restrict to = out + y * width * count;
    for (int64_t x = 0; x < width; ++x) {
      from -= count;
      for (int64_t c = 0; c < count; ++c) to[x * count + c] = from[c];
    }
  }
};

// Row y of the window of a canvas whose first element is `corner`.
struct CropRow {
  const float* corner;
  float* out;
  int64_t pitch;     // floats in a row of the canvas
  int64_t row_size;  // floats in a row of the window

  PG_HD void operator()(int64_t y) const {
    const float* __restrict from = corner + y * pitch;
    float* __restrict to = out + y * row_size;
    for (int64_t i = 0; i < row_size; ++i) to[i] = from[i];
  }
};

// Element i of a convex combination: out = first * a + second * b with first + second = 1.
struct Mix {
  const float* a;
  const float* b;
  float* out;
  float first, second;

  PG_HD void operator()(int64_t i) const { out[i] = first * a[i] + second * b[i]; }
};

}  // namespace pergrad::augment
