// What the kernels of core/isa are made of: a vector of the build's width, and the two products of tiles that
// stay in registers. Everything is in an unnamed namespace: each build has its own.
//
// The order of additions in each output is the same in every build; builds with fused multiply-add give the
// same bits as each other.
// Source of the tile sizes: measured on Zen 4 (8 x 32 floats fill AVX-512's 32 registers, 4 x 16 AVX2's 16;
// of one vector 14 or 6 rows, since some rows more have no register for their addresses).
#pragma once

#include <cstdint>

namespace pergrad {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kTile = 8;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kTile = 4;
#else
constexpr int kLanes = 4, kTile = 4;
#endif
constexpr int kVectors = 2;                          // vectors of a wide tile
constexpr int kWidth = kVectors * kLanes;            // its columns
constexpr int kTall = 2 * (kTile - 1);               // rows of a tile of one vector
using Vec [[gnu::vector_size(kLanes * 4)]] = float;  // in registers
// In memory, anywhere. Only here: where a template's parameter is such a type, clang forgets its alignment.
using LooseVec [[gnu::vector_size(kLanes * 4), gnu::aligned(4), gnu::may_alias]] = float;

[[gnu::always_inline]] inline Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
[[gnu::always_inline]] inline void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }

// Lane i of the result is lane from[i] of v.
using Lanes [[gnu::vector_size(kLanes * 4)]] = int32_t;
[[gnu::always_inline]] inline Vec permuted(Vec v, Lanes from) {
#if !defined(__clang__)
  return __builtin_shuffle(v, from);
#else
  Vec lanes;
  for (int i = 0; i < kLanes; ++i) lanes[i] = v[from[i]];
  return lanes;
#endif
}

// Columns of the panel that starts at column n: wide as long as they last, then one vector.
inline int64_t panel_width(int64_t n, int64_t channels) { return n + kWidth <= channels ? kWidth : kLanes; }
// f.operator()<vectors>(n, width) for each panel of `channels` columns.
template <class F>
[[gnu::always_inline]] inline void for_each_panel(int64_t channels, const F& f) {
  for (int64_t n = 0; n < channels;) {
    if (panel_width(n, channels) == kWidth)
      f.template operator()<kVectors>(n), n += kWidth;
    else
      f.template operator()<1>(n), n += kLanes;
  }
}

// sum[m][v] += row[m][first + c] * w[c][v] over c in [0, depth): rows of numbers times a panel [depth][kNv
// vectors].
template <int kRows, int kNv>
[[gnu::always_inline]] inline void add_product(const float* const (&row)[kRows], int64_t first, int64_t depth,
                                               const float* w, Vec (&sum)[kRows][kNv]) {
  for (int64_t c = first; c < first + depth; ++c, w += kNv * kLanes) {
    Vec column[kNv];
    for (int v = 0; v < kNv; ++v) column[v] = load(w + v * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
      for (int v = 0; v < kNv; ++v) sum[m][v] += row[m][c] * column[v];
  }
}

// sum[m][v] += row[m][first + x * row_step] * g[x * g_step + v] over x in [0, count): columns of numbers
// times rows of vectors.
template <int kRows, int kNv>
[[gnu::always_inline]] inline void add_outer_products(const float* const (&row)[kRows], int64_t first,
                                                      int64_t row_step, const float* g, int64_t g_step,
                                                      int64_t count, Vec (&sum)[kRows][kNv]) {
  for (int64_t x = 0, at = first; x < count; ++x, at += row_step, g += g_step) {
    Vec column[kNv];
    for (int v = 0; v < kNv; ++v) column[v] = load(g + v * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
      for (int v = 0; v < kNv; ++v) sum[m][v] += row[m][at] * column[v];
  }
}

}  // namespace
}  // namespace pergrad
