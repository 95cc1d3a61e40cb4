// Image operations: pure functions on one image f32 [H, W, C], made of the kernels of image_kernels.h.
//
// T(x) = flip(crop(pad(normalise(x)))): an image is normalised and padded once; each view is then H row
// copies.
#pragma once

#include "augment/image_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace pergrad::augment {

struct ImageShape {
  int64_t height = 0;    // H, pixels
  int64_t width = 0;     // W, pixels
  int64_t channels = 0;  // C
  int64_t size() const { return height * width * channels; }
  bool operator==(const ImageShape&) const = default;
  // The canvas of an image padded by p pixels on every side.
  ImageShape padded(int64_t p) const { return {height + 2 * p, width + 2 * p, channels}; }
};

// f.operator()<C>() where the compiler can make use of knowing C, else <0>.
template <class F>
void with_channels(int64_t channels, const F& f) {
  if (channels == 1) return f.template operator()<1>();
  if (channels == 3) return f.template operator()<3>();
  return f.template operator()<0>();
}

// kernel(y) for every row y of [0, rows).
template <class Kernel>
void each_row(int64_t rows, const Kernel& kernel) {
  for (int64_t y = 0; y < rows; ++y) kernel(y);
}

// normalise(bytes, table, shape, p, out): bytes [H,W,C] to numbers, in the middle of a canvas (p = 0: the
// image).
//   table [C,256], see normalisation.h; out [H+2p,W+2p,C], whose border is left as it was.
//   Cost: one table look-up a number.
inline void normalise(const uint8_t* bytes, const float* table, const ImageShape& shape, int64_t p,
                      float* out) {
  const int64_t pitch = (shape.width + 2 * p) * shape.channels;
  float* first = out + p * pitch + p * shape.channels;
  with_channels(shape.channels, [&]<int64_t kChannels>() {
    each_row(shape.height, NormaliseRow<kChannels>{bytes, table, first, shape.width, shape.channels, pitch});
  });
}

// pad(canvas, shape, p, mode): fills the border of a canvas [H+2p,W+2p,C] by mirroring the image in its
// middle.
//   REQUIRES: p < min(H, W) (reflect), p <= min(H, W) (symmetric).
inline void pad(float* canvas, const ImageShape& shape, int64_t p, Padding mode) {
  each_row(shape.height, PadColumns{canvas, shape.width, shape.channels, p, mode});
  each_row(2 * p, PadRows{canvas, shape.height, (shape.width + 2 * p) * shape.channels, p, mode});
}

// flip(in, shape, out): in [H,W,C] mirrored left to right.   REQUIRES: in and out do not overlap.
inline void flip(const float* in, const ImageShape& shape, float* out) {
  with_channels(shape.channels, [&]<int64_t kChannels>() {
    each_row(shape.height, FlipRow<kChannels>{in, out, shape.width, shape.channels});
  });
}

// crop(canvas, shape, p, top, left, out): the window [H,W,C] of a canvas padded by p.
//   REQUIRES: 0 <= top, left <= 2p; (p, p) is the image itself.
inline void crop(const float* canvas, const ImageShape& shape, int64_t p, int64_t top, int64_t left,
                 float* out) {
  const int64_t pitch = (shape.width + 2 * p) * shape.channels;
  each_row(shape.height,
           CropRow{canvas + top * pitch + left * shape.channels, out, pitch, shape.width * shape.channels});
}

// mix(a, b, first, second, size, out): out = first * a + second * b.
inline void mix(const float* a, const float* b, float first, float second, int64_t size, float* out) {
  const Mix kernel{a, b, out, first, second};
  for (int64_t i = 0; i < size; ++i) kernel(i);
}

// mix(a, b, lambda, size, out): out = lambda * a + (1 - lambda) * b, for images and for soft labels alike.
//   REQUIRES: lambda in [0, 1].   Source: Zhang et al. 2018 (mixup), eq. 1.
inline void mix(const float* a, const float* b, double lambda, int64_t size, float* out) {
  mix(a, b, static_cast<float>(lambda), static_cast<float>(1.0 - lambda), size, out);
}

// Pixels [top, bottom) x [left, right).
struct Box {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int64_t area() const { return (bottom - top) * (right - left); }
};

// cutmix_box(lambda, row, column, shape): the box of side ratio sqrt(1 - lambda) around a centre, cut off at
// the border of the image, so that it may cover less than 1 - lambda of it.
//   REQUIRES: lambda in [0, 1]; the centre is in the image.
//   Source: Yun et al. 2019 (CutMix), appendix A, algorithm A1: sides rounded down, half of each on either
//   side.
inline Box cutmix_box(double lambda, int64_t row, int64_t column, const ImageShape& shape) {
  const double ratio = std::sqrt(1.0 - lambda);
  const auto half_height = static_cast<int64_t>(static_cast<double>(shape.height) * ratio) / 2;
  const auto half_width = static_cast<int64_t>(static_cast<double>(shape.width) * ratio) / 2;
  return {std::max<int64_t>(row - half_height, 0), std::max<int64_t>(column - half_width, 0),
          std::min(row + half_height, shape.height), std::min(column + half_width, shape.width)};
}

// What the first image keeps beside a box: the weight of its label.
inline double cutmix_share(const Box& box, const ImageShape& shape) {
  return 1.0 - static_cast<double>(box.area()) / static_cast<double>(shape.height * shape.width);
}

// cutmix(a, b, box, shape, out): a with the box taken from b.   Returns cutmix_share of the box.
inline double cutmix(const float* a, const float* b, const Box& box, const ImageShape& shape, float* out) {
  std::copy(a, a + shape.size(), out);
  for (int64_t y = box.top; y < box.bottom; ++y) {
    const int64_t row = y * shape.width;
    std::copy(b + (row + box.left) * shape.channels, b + (row + box.right) * shape.channels,
              out + (row + box.left) * shape.channels);
  }
  return cutmix_share(box, shape);
}

}  // namespace pergrad::augment
