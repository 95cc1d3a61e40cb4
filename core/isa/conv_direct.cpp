// Direct convolution micro-kernels, channels last. One source, built for three instruction sets (PG_ISA).
//
// A tile keeps kPixels x kWidth outputs in registers and walks taps and input channels once; a
// weight-gradient tile keeps kPixels rows x kWidth columns of dw and walks pixels. The order of additions in
// each output is the same in every build; builds with fused multiply-add give the same bits as each other.
// Source of the tile sizes: measured on Zen 4 (8 x 32 floats fill AVX-512's 32 registers, 4 x 16 AVX2's 16).
#include "core/conv_direct.h"

#include <cstring>

namespace pergrad {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kPixels = 8;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kPixels = 4;
#else
constexpr int kLanes = 4, kPixels = 4;
#endif
constexpr int kVectors = 2;                // vectors of a wide tile
constexpr int kWidth = kVectors * kLanes;  // its columns
using Vec [[gnu::vector_size(kLanes * 4), gnu::aligned(4), gnu::may_alias]] = float;

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

// Columns of the panel that starts at column n: wide as long as they last, then one vector.
inline int64_t panel_width(int64_t n, int64_t channels) { return n + kWidth <= channels ? kWidth : kLanes; }

void pack(const float* w, int64_t taps, int64_t in_channels, int64_t out_channels, int64_t tap_stride,
          int64_t in_stride, int64_t out_stride, float* panels) {
  for (int64_t n = 0; n < out_channels;) {
    const int64_t width = panel_width(n, out_channels);
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = 0; c < in_channels; ++c)
        for (int64_t j = 0; j < width; ++j)
          *panels++ = w[t * tap_stride + c * in_stride + (n + j) * out_stride];
    n += width;
  }
}

// kTile pixels from `first`, kNv vectors of columns from n.
template <int kTile, int kNv>
[[gnu::always_inline]] inline void gather_tile(const GatherConv& conv, int64_t first, const float* in,
                                               const float* panel, float* out, int64_t n) {
  Vec sum[kTile][kNv] = {};
  const int32_t* const base = conv.in_offset + first;
  for (int64_t t = 0; t < conv.taps; ++t) {
    const float* w = panel + conv.tap_index[t] * conv.in_channels * (kNv * kLanes);
    const float* pixel[kTile];
    for (int m = 0; m < kTile; ++m) pixel[m] = in + base[m] + conv.tap_offset[t];
    for (int64_t c = 0; c < conv.in_channels; ++c, w += kNv * kLanes) {
      Vec column[kNv];
      for (int v = 0; v < kNv; ++v) column[v] = load(w + v * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < kTile; ++m)
        for (int v = 0; v < kNv; ++v) sum[m][v] += pixel[m][c] * column[v];
    }
  }
  for (int m = 0; m < kTile; ++m)
    for (int v = 0; v < kNv; ++v) store(out + conv.out_offset[first + m] + n + v * kLanes, sum[m][v]);
}

template <int kNv>
void gather_panel(const GatherConv& conv, const float* in, const float* panel, float* out, int64_t n) {
  if (conv.pixels < kPixels) {
    for (int64_t p = 0; p < conv.pixels; ++p) gather_tile<1, kNv>(conv, p, in, panel, out, n);
    return;
  }
  int64_t p = 0;
  for (; p + kPixels <= conv.pixels; p += kPixels) gather_tile<kPixels, kNv>(conv, p, in, panel, out, n);
  // The rest: a full tile that ends at the last pixel, writing some pixels a second time with the same
  // values.
  if (p < conv.pixels) gather_tile<kPixels, kNv>(conv, conv.pixels - kPixels, in, panel, out, n);
}

void gather(const GatherConv& conv, const float* in, const float* panels, float* out) {
  for (int64_t n = 0; n < conv.out_channels;) {
    const int64_t width = panel_width(n, conv.out_channels);
    if (width == kWidth)
      gather_panel<kVectors>(conv, in, panels, out, n);
    else
      gather_panel<1>(conv, in, panels, out, n);
    panels += conv.all_taps * conv.in_channels * width;
    n += width;
  }
}

// Rows [r, r + kRows) and kNv vectors of columns of dw, over the pixels of `lines` output rows.
template <int kRows, int kNv>
[[gnu::always_inline]] inline void weight_tile(const WeightGradient& conv, int64_t r, const float* in,
                                               const float* dy, int64_t lines, float* dw) {
  const int64_t channels = conv.out_channels;
  Vec sum[kRows][kNv];
  for (int m = 0; m < kRows; ++m)
    for (int v = 0; v < kNv; ++v) sum[m][v] = load(dw + (r + m) * channels + v * kLanes);
  const float* row[kRows];
  for (int m = 0; m < kRows; ++m) row[m] = in + conv.row_offset[r + m];
  for (int64_t y = 0; y < lines; ++y) {
    const float* g = dy + y * conv.out_w * channels;
    const int64_t line = y * conv.line_step;
    for (int64_t x = 0; x < conv.out_w; ++x, g += channels) {
      const int64_t at = line + x * conv.pixel_step;
      Vec column[kNv];
      for (int v = 0; v < kNv; ++v) column[v] = load(g + v * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m)
        for (int v = 0; v < kNv; ++v) sum[m][v] += row[m][at] * column[v];
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int v = 0; v < kNv; ++v) store(dw + (r + m) * channels + v * kLanes, sum[m][v]);
}

template <int kNv>
void weight_rows(const WeightGradient& conv, const float* in, const float* dy, int64_t lines, float* dw) {
  int64_t r = 0;
  for (; r + kPixels <= conv.rows; r += kPixels) weight_tile<kPixels, kNv>(conv, r, in, dy, lines, dw);
  for (; r + 2 <= conv.rows; r += 2) weight_tile<2, kNv>(conv, r, in, dy, lines, dw);
  for (; r < conv.rows; ++r) weight_tile<1, kNv>(conv, r, in, dy, lines, dw);
}

void weight_gradient(const WeightGradient& conv, const float* in, const float* dy, float* dw) {
  // Bands of output rows whose input stays in the first-level cache; small images in one piece.
  const int64_t band = conv.out_h <= 8 ? conv.out_h : 4;
  for (int64_t y = 0; y < conv.out_h; y += band) {
    const int64_t lines = y + band <= conv.out_h ? band : conv.out_h - y;
    const float* in_band = in + y * conv.line_step;
    const float* dy_band = dy + y * conv.out_w * conv.out_channels;
    for (int64_t n = 0; n < conv.out_channels;) {
      const int64_t width = panel_width(n, conv.out_channels);
      if (width == kWidth)
        weight_rows<kVectors>(conv, in_band, dy_band + n, lines, dw + n);
      else
        weight_rows<1>(conv, in_band, dy_band + n, lines, dw + n);
      n += width;
    }
  }
}

}  // namespace

#define PG_JOIN2(a, b) a##b
#define PG_JOIN(a, b) PG_JOIN2(a, b)
const ConvKernels& PG_JOIN(conv_kernels_, PG_ISA)() {
  static constexpr ConvKernels kKernels{pack, gather, weight_gradient};
  return kKernels;
}

}  // namespace pergrad
