// Convolution with 3x3 kernels at stride 1 by 2x2 outputs at a time: F(2x2, 3x3) of Winograd (Lavin and Gray
// 2015, section 4.1), channels last. One source, built for three instruction sets (PG_ISA).
//
// A tile of 2x2 outputs sees 4x4 inputs. With d the inputs and g the kernel of one pair of channels,
//   y = A^T [(G g G^T) * (B^T d B)] A
// takes 16 products in place of 36, and its transforms only additions and halves. Over channels the product
// becomes 16 small matrix products, one a position: [tiles, C] x [C, O].
//   forward:          y  = A^T [ U V ] A           U = G g G^T,  V = B^T d B
//   input gradient:   the same, of dy with the kernels rotated by 180 degrees
//   weight gradient:  dg = G^T [ V^T (A dy A^T) ] G, the adjoint of forward in g
//
// The error is that of three sums of four instead of one of nine: within a small factor of the direct sum's,
// and tested against the same bound.
#include "core/conv_builds.h"
#include "core/cpu.h"
#include "core/isa/tiles.h"

namespace pergrad {
namespace {

constexpr int kPlaces = 16;  // of a 4x4 tile, row by row

// Floats from one place to the next: not a power of two, whose cache lines would all want the same few sets.
int64_t place_step(int64_t count, int64_t channels) { return count * channels + kWinogradGap; }
int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }

// One row or column of each transform: four (three, two) numbers in, as many out; kStep apart.
template <int kStep>
[[gnu::always_inline]] inline void input_line(Vec* d) {  // B^T
  const Vec a = d[0] - d[2 * kStep], b = d[kStep] + d[2 * kStep], c = d[2 * kStep] - d[kStep],
            e = d[kStep] - d[3 * kStep];
  d[0] = a, d[kStep] = b, d[2 * kStep] = c, d[3 * kStep] = e;
}
[[gnu::always_inline]] inline void weight_line(Vec a, Vec b, Vec c, Vec* out, int step) {  // G
  const Vec outer = 0.5f * (a + c), inner = 0.5f * b;
  out[0] = a, out[step] = outer + inner, out[2 * step] = outer - inner, out[3 * step] = c;
}
[[gnu::always_inline]] inline void output_line(Vec a, Vec b, Vec c, Vec d, Vec* out, int step) {  // A^T
  out[0] = a + b + c, out[step] = b - c - d;
}
[[gnu::always_inline]] inline void gradient_line(Vec a, Vec b, Vec* out, int step) {  // A
  out[0] = a, out[step] = a + b, out[2 * step] = a - b, out[3 * step] = -b;
}
[[gnu::always_inline]] inline void kernel_line(Vec a, Vec b, Vec c, Vec d, Vec* out, int step) {  // G^T
  const Vec half = 0.5f * (b + c);
  out[0] = a + half, out[step] = 0.5f * (b - c), out[2 * step] = half + d;
}

// Where the pixels of a tile are: those outside the image are read from zeros, or written to a bin.
template <int kSide>
struct TilePixels {
  int64_t at[kSide * kSide];  // number of the pixel, or -1
  TilePixels(int64_t top, int64_t left, int64_t height, int64_t width) {
    for (int64_t r = 0; r < kSide; ++r)
      for (int64_t q = 0; q < kSide; ++q) {
        const int64_t y = top + r, x = left + q;
        at[r * kSide + q] = y < 0 || y >= height || x < 0 || x >= width ? -1 : y * width + x;
      }
  }
};

// Tiles [first, first + count) of an image, transformed, place by place: the vectors of a tile's channels are
// `vector_step` apart, the tiles `tile_step`.
void transform_inputs(const WinogradConv& conv, int64_t first, int64_t count, const float* in, float* v,
                      int64_t tile_step, int64_t vector_step) {
  const int64_t channels = conv.in_channels, step = place_step(count, channels);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t tile = first + t;
    const TilePixels<4> pixels(tile / conv.tiles_w * 2 - conv.pad, tile % conv.tiles_w * 2 - conv.pad,
                               conv.height, conv.width);
    for (int64_t c = 0; c < channels; c += kLanes) {
      Vec d[kPlaces];
      for (int i = 0; i < kPlaces; ++i)
        d[i] = pixels.at[i] < 0 ? Vec{} : load(in + pixels.at[i] * channels + c);
      for (int i = 0; i < 4; ++i) input_line<4>(d + i);
      for (int i = 0; i < 4; ++i) input_line<1>(d + 4 * i);
      float* at = v + t * tile_step + c / kLanes * vector_step;
      for (int i = 0; i < kPlaces; ++i) store(at + i * step, d[i]);
    }
  }
}

// The same of the gradient of the outputs, A dy A^T, for channels from n: m[place][tile][kNv vectors].
template <int kNv>
void transform_gradients(const WinogradConv& conv, int64_t first, int64_t count, const float* dy, int64_t n,
                         float* m) {
  const int64_t step = place_step(count, kNv * kLanes);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t tile = first + t;
    const TilePixels<2> pixels(tile / conv.tiles_w * 2, tile % conv.tiles_w * 2, conv.out_h, conv.out_w);
    for (int j = 0; j < kNv; ++j) {
      Vec g[4], rows[8], all[kPlaces];
      for (int i = 0; i < 4; ++i)
        g[i] = pixels.at[i] < 0 ? Vec{} : load(dy + pixels.at[i] * conv.out_channels + n + j * kLanes);
      for (int i = 0; i < 2; ++i) gradient_line(g[i], g[2 + i], rows + i, 2);
      for (int i = 0; i < 4; ++i) gradient_line(rows[2 * i], rows[2 * i + 1], all + 4 * i, 1);
      for (int i = 0; i < kPlaces; ++i) store(m + i * step + (t * kNv + j) * kLanes, all[i]);
    }
  }
}

// Products m[place][tile][n..n + kNv vectors], back to pixels.
template <int kNv>
void transform_outputs(const WinogradConv& conv, int64_t first, int64_t count, const float* m,
                       const float* bias, float* out, int64_t n) {
  const int64_t step = place_step(count, kNv * kLanes);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t tile = first + t;
    const TilePixels<2> pixels(tile / conv.tiles_w * 2, tile % conv.tiles_w * 2, conv.out_h, conv.out_w);
    for (int v = 0; v < kNv; ++v) {
      const Vec b = bias ? load(bias + n + v * kLanes) : Vec{};
      Vec d[kPlaces], rows[8], y[4];
      for (int i = 0; i < kPlaces; ++i) d[i] = load(m + i * step + (t * kNv + v) * kLanes);
      for (int i = 0; i < 4; ++i) output_line(d[i], d[4 + i], d[8 + i], d[12 + i], rows + i, 4);
      for (int i = 0; i < 2; ++i)
        output_line(rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3], y + 2 * i, 1);
      for (int i = 0; i < 4; ++i)
        if (pixels.at[i] >= 0) store(out + pixels.at[i] * conv.out_channels + n + v * kLanes, y[i] + b);
    }
  }
}

// m[tile][kNv vectors] = v[tile][channels] x panel[channels][kNv vectors], for one place.
template <int kNv>
void multiply(const float* v, int64_t count, int64_t channels, const float* panel, float* m) {
  const auto some = [&]<int kRows>(int64_t t) {
    Vec sum[kRows][kNv] = {};
    const float* row[kRows];
    for (int i = 0; i < kRows; ++i) row[i] = v + (t + i) * channels;
    add_product(row, 0, channels, panel, sum);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kNv; ++j) store(m + ((t + i) * kNv + j) * kLanes, sum[i][j]);
  };
  int64_t t = 0;
  for (; t + kTile <= count; t += kTile) some.template operator()<kTile>(t);
  for (; t < count; ++t) some.template operator()<1>(t);
}

void panels(const float* w, int64_t in_channels, int64_t out_channels, bool rotated, float* out) {
  for_each_panel(out_channels, [&]<int kNv>(int64_t n) {
    const float* from = w + n * 9 * in_channels;  // [tap][in][vectors]
    float* to = out + n * kPlaces * in_channels;
    const int64_t step = in_channels * kNv * kLanes;
    for (int64_t c = 0; c < step; c += kLanes) {
      Vec rows[12], u[kPlaces];
      const auto tap = [&](int i) { return load(from + (rotated ? 8 - i : i) * step + c); };
      for (int i = 0; i < 3; ++i) weight_line(tap(i), tap(3 + i), tap(6 + i), rows + i, 3);
      for (int i = 0; i < 4; ++i) weight_line(rows[3 * i], rows[3 * i + 1], rows[3 * i + 2], u + 4 * i, 1);
      for (int i = 0; i < kPlaces; ++i) store(to + i * step + c, u[i]);
    }
  });
}

void convolve(const WinogradConv& conv, const float* in, const float* panels_of_w, const float* bias,
              float* out, float* scratch) {
  for (int64_t first = 0; first < conv.tiles; first += kWinogradStrip) {
    const int64_t count = shorter(kWinogradStrip, conv.tiles - first);
    float* v = scratch;
    float* m = v + kPlaces * place_step(count, conv.in_channels);
    transform_inputs(conv, first, count, in, v, conv.in_channels, kLanes);
    for_each_panel(conv.out_channels, [&]<int kNv>(int64_t n) {
      const float* panel = panels_of_w + n * kPlaces * conv.in_channels;
      for (int place = 0; place < kPlaces; ++place)
        multiply<kNv>(v + place * place_step(count, conv.in_channels), count, conv.in_channels,
                      panel + place * conv.in_channels * kNv * kLanes,
                      m + place * place_step(count, kNv * kLanes));
      transform_outputs<kNv>(conv, first, count, m, bias, out, n);
    });
  }
}

void winograd_weight_gradient(const WinogradConv& conv, const float* in, const float* dy, float* dw,
                              bool accumulate, float* scratch) {
  constexpr int kRows = 8;
  const int64_t in_channels = conv.in_channels, out_channels = conv.out_channels;
  for (int64_t first = 0; first < conv.tiles; first += kWinogradGradientStrip) {
    const int64_t count = shorter(kWinogradGradientStrip, conv.tiles - first);
    const bool add = accumulate || first > 0;
    float* v = scratch;
    float* m = v + kPlaces * place_step(count, in_channels);
    transform_inputs(conv, first, count, in, v, kLanes, count * kLanes);
    for_each_panel(out_channels, [&]<int kNv>(int64_t n) {
      transform_gradients<kNv>(conv, first, count, dy, n, m);
      for (int64_t c = 0; c < in_channels; c += kRows) {
        Vec products[kPlaces][kRows][kNv];  // stays in the first-level cache
        for (int place = 0; place < kPlaces; ++place)
          for (int k = 0; k < kRows; k += kTile) {
            Vec sum[kTile][kNv] = {};
            const int64_t from = c + k;  // its tiles lie one after the other
            const float* row[kTile];
            for (int i = 0; i < kTile; ++i)
              row[i] = v + place * place_step(count, in_channels) + from / kLanes * count * kLanes +
                       from % kLanes + i;
            add_outer_products(row, 0, kLanes, m + place * place_step(count, kNv * kLanes), kNv * kLanes,
                               count, sum);
            for (int i = 0; i < kTile; ++i)
              for (int j = 0; j < kNv; ++j) products[place][k + i][j] = sum[i][j];
          }
        for (int i = 0; i < kRows; ++i)
          for (int j = 0; j < kNv; ++j) {
            Vec rows[12], g[9];
            for (int q = 0; q < 4; ++q)
              kernel_line(products[q][i][j], products[4 + q][i][j], products[8 + q][i][j],
                          products[12 + q][i][j], rows + q, 4);
            for (int r = 0; r < 3; ++r)
              kernel_line(rows[4 * r], rows[4 * r + 1], rows[4 * r + 2], rows[4 * r + 3], g + 3 * r, 1);
            for (int tap = 0; tap < 9; ++tap) {
              float* at = dw + (tap * in_channels + c + i) * out_channels + n + j * kLanes;
              store(at, add ? load(at) + g[tap] : g[tap]);
            }
          }
      }
    });
  }
}

}  // namespace

const WinogradKernels& PG_FOR_ISA(winograd_kernels_)() {
  static constexpr WinogradKernels kKernels{panels, convolve, winograd_weight_gradient};
  return kKernels;
}

}  // namespace pergrad
