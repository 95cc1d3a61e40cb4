// Direct convolution, channels last: any kernel, any stride. One source, built for three instruction sets
// (PG_ISA).
//
// A tile keeps kTile pixels x kWidth outputs (or kTall x kLanes) in registers and walks taps and input
// channels once; a weight-gradient tile keeps kTile rows x kWidth columns of dw and walks pixels.
#include "core/conv_builds.h"
#include "core/cpu.h"
#include "core/isa/tiles.h"

namespace pergrad {
namespace {

void pack(const float* w, int64_t taps, int64_t in_channels, int64_t out_channels, int64_t tap_stride,
          int64_t in_stride, int64_t out_stride, float* panels) {
  for_each_panel(out_channels, [&]<int kNv>(int64_t n) {
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = 0; c < in_channels; ++c)
        for (int64_t j = 0; j < kNv * kLanes; ++j)
          *panels++ = w[t * tap_stride + c * in_stride + (n + j) * out_stride];
  });
}

// kPixels pixels from `first`, kNv vectors of columns from n.
template <int kPixels, int kNv>
[[gnu::always_inline]] inline void gather_tile(const GatherConv& conv, int64_t first, const float* in,
                                               const float* panel, const float* bias, float* out, int64_t n) {
  Vec sum[kPixels][kNv] = {};
  const float* pixel[kPixels];
  for (int m = 0; m < kPixels; ++m) pixel[m] = in + conv.in_offset[first + m];
  for (int64_t t = 0; t < conv.taps; ++t)
    add_product(pixel, conv.tap_offset[t], conv.in_channels,
                panel + conv.tap_index[t] * conv.in_channels * (kNv * kLanes), sum);
  for (int v = 0; v < kNv; ++v) {
    const Vec b = bias ? load(bias + n + v * kLanes) : Vec{};
    for (int m = 0; m < kPixels; ++m) store(out + conv.out_offset[first + m] + n + v * kLanes, sum[m][v] + b);
  }
}

void gather(const GatherConv& conv, const float* in, const float* panels, const float* bias, float* out) {
  for_each_panel(conv.out_channels, [&]<int kNv>(int64_t n) {
    const int64_t pixels = conv.pixels;
    int64_t p = 0;
    if constexpr (kNv == 1)
      for (; p + kTall <= pixels; p += kTall) gather_tile<kTall, 1>(conv, p, in, panels, bias, out, n);
    if (pixels % kTile != 0 && pixels % (kTile - 1) == 0)  // 7 x 7: no pixel twice
      for (; p < pixels; p += kTile - 1) gather_tile<kTile - 1, kNv>(conv, p, in, panels, bias, out, n);
    for (; p + kTile <= pixels; p += kTile) gather_tile<kTile, kNv>(conv, p, in, panels, bias, out, n);
    if (p < pixels && pixels < kTile) {
      for (; p < pixels; ++p) gather_tile<1, kNv>(conv, p, in, panels, bias, out, n);
    } else if (p < pixels) {
      // The rest: a full tile that ends at the last pixel and writes some pixels again, with the same values.
      gather_tile<kTile, kNv>(conv, pixels - kTile, in, panels, bias, out, n);
    }
    panels += conv.all_taps * conv.in_channels * kNv * kLanes;
  });
}

// Rows [r, r + kRows) and kNv vectors of columns of dw, over the pixels of `lines` output rows.
template <int kRows, int kNv>
[[gnu::always_inline]] inline void weight_tile(const WeightGradient& conv, int64_t r, const float* in,
                                               const float* dy, int64_t lines, float* dw, bool accumulate) {
  const int64_t channels = conv.out_channels;
  Vec sum[kRows][kNv] = {};
  if (accumulate)
    for (int m = 0; m < kRows; ++m)
      for (int v = 0; v < kNv; ++v) sum[m][v] = load(dw + (r + m) * channels + v * kLanes);
  const float* row[kRows];
  for (int m = 0; m < kRows; ++m) row[m] = in + conv.row_offset[r + m];
  for (int64_t y = 0; y < lines; ++y)
    add_outer_products(row, y * conv.line_step, conv.pixel_step, dy + y * conv.out_w * channels, channels,
                       conv.out_w, sum);
  for (int m = 0; m < kRows; ++m)
    for (int v = 0; v < kNv; ++v) store(dw + (r + m) * channels + v * kLanes, sum[m][v]);
}

void weight_gradient(const WeightGradient& conv, const float* in, const float* dy, float* dw,
                     bool accumulate) {
  // Bands of output rows whose input stays in the first-level cache; small images in one piece.
  const int64_t band = conv.out_h <= 8 ? conv.out_h : 4;
  for (int64_t y = 0; y < conv.out_h; y += band) {
    const int64_t lines = y + band <= conv.out_h ? band : conv.out_h - y;
    const float* in_band = in + y * conv.line_step;
    const float* dy_band = dy + y * conv.out_w * conv.out_channels;
    for_each_panel(conv.out_channels, [&]<int kNv>(int64_t n) {
      const bool add = accumulate || y > 0;
      int64_t r = 0;
      for (; r + kTile <= conv.rows; r += kTile)
        weight_tile<kTile, kNv>(conv, r, in_band, dy_band + n, lines, dw + n, add);
      for (; r + 2 <= conv.rows; r += 2)
        weight_tile<2, kNv>(conv, r, in_band, dy_band + n, lines, dw + n, add);
      for (; r < conv.rows; ++r) weight_tile<1, kNv>(conv, r, in_band, dy_band + n, lines, dw + n, add);
    });
  }
}

}  // namespace

const DirectKernels& PG_FOR_ISA(direct_kernels_)() {
  static constexpr DirectKernels kKernels{pack, gather, weight_gradient};
  return kKernels;
}

}  // namespace pergrad
