// What core/conv.cpp and the three builds of core/isa/conv_direct.cpp say to each other. Plain pointers and
// integers only: code compiled for a newer processor must not leak inline functions into the rest.
#pragma once

#include <cstdint>

namespace pergrad {

// A sum over taps: out[pixel][o] = sum_t sum_c in[in_offset[pixel] + tap_offset[t] + c] * panel(t, c, o).
// Forward is one of these; the input gradient is one per residue class of the stride.
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

// A weight gradient: dw[r][o] += sum_pixels in[row_offset[r] + pixel] * dy[pixel][o].
struct WeightGradient {
  int64_t rows;               // K * K * C
  const int32_t* row_offset;  // [rows]
  int64_t out_h, out_w;
  int64_t pixel_step;    // input floats from one output pixel to the next in a row
  int64_t line_step;     // input floats from one output row to the next
  int64_t out_channels;  // multiple of 16
};

struct ConvKernels {
  // Weights w(tap, in, out) read at w[tap * tap_stride + in * in_stride + out * out_stride] into panels
  // [out / width][tap][in][width], where width is the kernel's own.
  void (*pack)(const float* w, int64_t taps, int64_t in_channels, int64_t out_channels, int64_t tap_stride,
               int64_t in_stride, int64_t out_stride, float* panels);
  void (*gather)(const GatherConv& conv, const float* in, const float* panels, float* out);
  void (*weight_gradient)(const WeightGradient& conv, const float* in, const float* dy, float* dw);
};

// One per build; nullptr members never.
const ConvKernels& conv_kernels_baseline();
const ConvKernels& conv_kernels_x86_64_v3();
const ConvKernels& conv_kernels_x86_64_v4();

}  // namespace pergrad
