// What core/conv.cpp and the three builds of the kernels in core/isa say to each other. Plain pointers and
// integers only: code compiled for a newer processor must not leak inline functions into the rest.
#pragma once

#include <cstdint>

namespace pergrad {

// ---------------------------------------------------------------- direct: core/isa/conv_direct.cpp

// A sum over taps: out[pixel][o] = bias[o] + sum_t sum_c in[in_offset[pixel] + tap_offset[t] + c] *
// panel(t, c, o). Forward is one of these; the input gradient is one per residue class of the stride.
struct GatherConv {
  int64_t pixels;
  const int32_t* in_offset;   // [pixels]
  const int32_t* out_offset;  // [pixels]
  int64_t taps;
  const int32_t* tap_offset;  // [taps]
  const int32_t* tap_index;   // [taps]: which tap of the panel
  int64_t all_taps;           // taps in the panel
  int64_t in_channels;
  int64_t out_channels;  // multiple of 16
};

// A weight gradient: dw[r][o] = or += sum_pixels in[row_offset[r] + pixel] * dy[pixel][o].
struct WeightGradient {
  int64_t rows;               // K * K * C
  const int32_t* row_offset;  // [rows]
  int64_t out_h, out_w;
  int64_t pixel_step;    // input floats from one output pixel to the next in a row
  int64_t line_step;     // input floats from one output row to the next
  int64_t out_channels;  // multiple of 16
};

struct DirectKernels {
  // Weights w(tap, in, out) read at w[tap * tap_stride + in * in_stride + out * out_stride] into panels
  // [out / width][tap][in][width], where width is the kernel's own.
  void (*pack)(const float* w, int64_t taps, int64_t in_channels, int64_t out_channels, int64_t tap_stride,
               int64_t in_stride, int64_t out_stride, float* panels);
  // bias [out_channels], or null for zeros.
  void (*gather)(const GatherConv& conv, const float* in, const float* panels, const float* bias, float* out);
  void (*weight_gradient)(const WeightGradient& conv, const float* in, const float* dy, float* dw,
                          bool accumulate);
};

// ---------------------------------------------------------------- Winograd: core/isa/conv_winograd.cpp

// 3x3, stride 1; channels are multiples of 16.
struct WinogradConv {
  int64_t height, width;  // of the input
  int64_t out_h, out_w;   // height + 2 pad - 2, width + 2 pad - 2
  int64_t pad;
  int64_t in_channels, out_channels;
  int64_t tiles_w, tiles;  // tiles of 2x2 outputs in a row, in all
};

// Tiles at a time, so that what is transformed stays in the second-level cache.
constexpr int64_t kWinogradStrip = 32;
constexpr int64_t kWinogradGradientStrip = 64;

constexpr int64_t kWinogradGap = 16;  // floats between what is kept for one place and the next

// scratch: 16 * (min(strip, tiles) * (in_channels + out_channels) + 2 * gap) floats.
struct WinogradKernels {
  // From packed panels of 9 taps to panels of 16 places: [out / width][place][in][width].
  void (*panels)(const float* packed, int64_t in_channels, int64_t out_channels, bool rotated, float* panels);
  // out = in * w + bias; bias may be null.
  void (*convolve)(const WinogradConv& conv, const float* in, const float* panels, const float* bias,
                   float* out, float* scratch);
  // dw [3, 3, C, O] = or += the gradient.
  void (*weight_gradient)(const WinogradConv& conv, const float* in, const float* dy, float* dw,
                          bool accumulate, float* scratch);
};

// One of each per build; members are never null.
const DirectKernels& direct_kernels_baseline();
const DirectKernels& direct_kernels_x86_64_v3();
const DirectKernels& direct_kernels_x86_64_v4();
const WinogradKernels& winograd_kernels_baseline();
const WinogradKernels& winograd_kernels_x86_64_v3();
const WinogradKernels& winograd_kernels_x86_64_v4();

}  // namespace pergrad
