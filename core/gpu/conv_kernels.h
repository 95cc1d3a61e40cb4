// Kernels around the convolutions of a GPU. A: type of activations (float or bf16). Sums are in float, in an
// order that depends on the shape of one example only.
#pragma once

#include "core/bf16.h"
#include "core/exec.h"
#include "core/gpu/block.h"

#include <cstddef>
#include <cstdint>

namespace pergrad::kernels {

// w [K,K,C,O] f32 to [O,K,K,Cp], as the library reads it: element i of the result. Channels beyond C are 0.
template <class A>
struct PackConvWeights {
  const float* w;
  A* packed;
  int64_t taps, channels, padded, outputs;  // K*K, C, Cp, O
  PG_HD void operator()(int64_t i) const {
    const int64_t c = i % padded, tap = i / padded % taps, o = i / (padded * taps);
    packed[i] = c < channels ? from_float<A>(w[(tap * channels + c) * outputs + o]) : from_float<A>(0.0f);
  }
};

// Pixels of `from` channels to pixels of `to` channels, in another type: element i of the result. Channels
// that are new are 0, those beyond `to` are dropped.
template <class In, class Out>
struct ConvertChannels {
  const In* in;
  Out* out;
  int64_t from, to;
  PG_HD void operator()(int64_t i) const {
    const int64_t c = i % to, pixel = i / to;
    out[i] = from_float<Out>(c < from ? to_float(in[pixel * from + c]) : 0.0f);
  }
};

// y[.., o] += bias[o], in place: pack i of kVector outputs.
template <class A, int kVector>
struct AddBias {
  Pack<A, kVector>* y;
  const float* bias;
  int64_t outputs;
  PG_HD void operator()(int64_t i) const {
    Pack<A, kVector> v = y[i];
    const float* b = bias + i * kVector % outputs;
    for (int j = 0; j < kVector; ++j) v.v[j] = from_float<A>(to_float(v.v[j]) + b[j]);
    y[i] = v;
  }
};

// ---------------------------------------------------------------- weight gradient, the plain way

// dw[n] [K,K,C,O]: number i of all rows, one after the other. The reference of the two faster ways.
template <class A>
struct PlainWeightGradient {
  const A* x;   // [N,V,H,W,Cp]
  const A* dy;  // [N,V,out_h,out_w,O]
  int64_t views, height, width, channels, padded, outputs, kernel, stride, pad, out_h, out_w;
  float* dw;
  int64_t dw_stride;  // numbers from one row of dw to the next
  bool accumulate;
  PG_HD void operator()(int64_t i) const {
    const int64_t size = kernel * kernel * channels * outputs;
    const int64_t n = i / size, o = i % outputs, c = i / outputs % channels;
    const int64_t tap = i % size / (outputs * channels), r = tap / kernel, q = tap % kernel;
    float sum = 0;
    for (int64_t image = n * views; image < (n + 1) * views; ++image)
      for (int64_t oy = 0; oy < out_h; ++oy)
        for (int64_t ox = 0; ox < out_w; ++ox) {
          const int64_t y = oy * stride + r - pad, xx = ox * stride + q - pad;
          if (y < 0 || y >= height || xx < 0 || xx >= width) continue;
          sum += to_float(x[((image * height + y) * width + xx) * padded + c]) *
                 to_float(dy[((image * out_h + oy) * out_w + ox) * outputs + o]);
        }
    float& out = dw[n * dw_stride + i % size];
    out = accumulate ? out + sum : sum;
  }
};

// ---------------------------------------------------------------- weight gradient as matrix products

// Input and output on one grid of pixels, so that a tap is a shift of a pointer and views and rows need no
// loop: dw[tap] = sum over grid pixels p of x(p + shift of the tap)^T dy(p). With stride S the input is dealt
// into S x S planes by the parity of its pixels, and a tap reads one plane.
//
// Tap row r reads input row S (oy + offset(r)) + phase(r), r - pad = S offset + phase, 0 <= phase < S. A grid
// has out + span rows and columns, span = largest offset - smallest; dy is zero on the last `span` of them,
// so what a shifted read finds beyond its own line counts nothing. Behind each example lie zeros of its own
// (`tail`): no read reaches another example, whose NaN would survive a product with zero.
struct TapGrid {
  int64_t stride, first, span;  // first: smallest offset
  int64_t rows, columns;        // of the grid
  int64_t length;               // pixels of one example: V images
  int64_t tail;                 // zero pixels behind them

  PG_HD static int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
  PG_HD int64_t offset(int64_t r, int64_t pad) const { return floor_div(r - pad, stride) - first; }
  PG_HD int64_t phase(int64_t r, int64_t pad) const { return r - pad - floor_div(r - pad, stride) * stride; }
};

// Planes [S*S, examples, length + tail, Cp] of x: element i.
template <class A>
struct FillPlanes {
  const A* x;  // [examples,V,H,W,Cp]
  A* planes;
  TapGrid grid;
  int64_t examples, views, height, width, padded;
  PG_HD void operator()(int64_t i) const {
    const int64_t c = i % padded, whole = grid.length + grid.tail;
    const int64_t p = i / padded % whole, n = i / (padded * whole) % examples;
    const int64_t plane = i / (padded * whole * examples);
    const int64_t area = grid.rows * grid.columns, v = p / area;
    const int64_t y = (p % area / grid.columns + grid.first) * grid.stride + plane / grid.stride;
    const int64_t xx = (p % grid.columns + grid.first) * grid.stride + plane % grid.stride;
    const bool inside = p < grid.length && y >= 0 && y < height && xx >= 0 && xx < width;
    planes[i] = inside ? x[(((n * views + v) * height + y) * width + xx) * padded + c] : from_float<A>(0.0f);
  }
};

// dy on the grid [examples, length, O]: element i.
template <class A>
struct FillOutputGrid {
  const A* dy;  // [examples,V,out_h,out_w,O]
  A* out;
  TapGrid grid;
  int64_t views, out_h, out_w, outputs;
  PG_HD void operator()(int64_t i) const {
    const int64_t o = i % outputs, p = i / outputs % grid.length, n = i / (outputs * grid.length);
    const int64_t area = grid.rows * grid.columns, v = p / area;
    const int64_t y = p % area / grid.columns, x = p % grid.columns;
    const bool inside = y < out_h && x < out_w;
    out[i] = inside ? dy[(((n * views + v) * out_h + y) * out_w + x) * outputs + o] : from_float<A>(0.0f);
  }
};

// ---------------------------------------------------------------- bias gradient

// db[n][o] = sum over views and pixels of dy. A block owns 32 channels of one example, kVector of them a
// thread: each thread sums some of the pixels, then one fixed order.
template <class A, int kVector>
struct BiasGradientBlock {
  static constexpr int kThreads = 256, kChannels = 32, kLanes = kChannels / kVector;
  static constexpr int kParts = kThreads / kLanes;
  size_t shared_bytes() const { return kThreads * kVector * sizeof(float); }
  PG_HD int64_t slabs() const { return (outputs + kChannels - 1) / kChannels; }
  const A* dy;              // [N, pixels, O]
  int64_t pixels, outputs;  // pixels of all views of one example
  float* db;
  int64_t db_stride;
  bool accumulate;

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    float* shared = block.template shared<float>();  // [parts, channels]
    const int t = block.thread(), lane = t % kLanes;
    const int64_t n = block.index() / slabs(), first = block.index() % slabs() * kChannels;
    float sum[kVector] = {};
    if (first + lane * kVector < outputs) {  // outputs are a multiple of kVector
      PG_UNROLL_4
      for (int64_t p = t / kLanes; p < pixels; p += kParts) {
        const auto v = *reinterpret_cast<const Pack<A, kVector>*>(dy + (n * pixels + p) * outputs + first +
                                                                  lane * kVector);
        PG_UNROLL
        for (int j = 0; j < kVector; ++j) sum[j] += to_float(v.v[j]);
      }
    }
    PG_UNROLL
    for (int j = 0; j < kVector; ++j) shared[t * kVector + j] = sum[j];
    block.sync();
    if (t >= kChannels || first + t >= outputs) return;
    float total = 0;
    for (int part = 0; part < kParts; ++part) total += shared[part * kChannels + t];
    float& out = db[n * db_stride + first + t];
    out = accumulate ? out + total : total;
  }
};

// out[n][i] (+)= sum over s of parts[s][n][i], in the order of s: number j of all rows.
struct SumOfParts {
  const float* parts;  // [splits, N, size]
  float* out;
  int64_t splits, rows, size, out_stride;
  bool accumulate;
  PG_HD void operator()(int64_t j) const {
    float sum = 0;
    for (int64_t s = 0; s < splits; ++s) sum += parts[s * rows * size + j];
    float& to = out[j / size * out_stride + j % size];
    to = accumulate ? to + sum : sum;
  }
};

}  // namespace pergrad::kernels
