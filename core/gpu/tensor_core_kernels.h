// The per-example weight gradient on tensor cores: an implicit product without im2col.
//
//   dw[n][r][q][ci][co] = sum over views v, output pixels (y, x) of
//                         X[n,v, S y + r - pad, S x + q - pad, ci] * dY[n,v,y,x,co]
//
// 1. A block owns kCo output channels x kCi input channels x all taps of ONE example: the sums stay in
//    registers while it walks through views and bands of rows. No atomics, one order of addition.
// 2. A band of X with its halo and the band of dY are staged once in shared memory (asynchronous copies that
//    write zeros for the padding); the K x K shifted views of X are read from there by ldmatrix, which takes
//    a row address per thread: stride and shift are only another address. dY fragments serve all taps.
// 3. Rows of 16 bytes are swizzled so that the eight rows of a matrix lie in different banks. The swizzle
//    depends on the column alone.
// 4. Few blocks (small channel counts): the views are split among `splits` blocks, whose parts are added in
//    order (SumOfParts). The split depends on shape and V only, never on N.
// Source: the warp-level product is PTX's mma.m16n8k16 (bf16, float sums).
#pragma once

#include "core/bf16.h"
#include "core/gpu/block.h"

#include <cstddef>
#include <cstdint>

namespace pergrad::kernels {

// kWidth: output columns, a multiple of 8. kCi: 8, 16 or 64; kCo: 16 or 64.
template <int kWidth, int kStride, int kKernel, int kCi, int kCo>
struct TensorCoreWeightGradient {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  static constexpr int kRows = kWidth == 32 || (kStride == 2 && kWidth == 16) ? 4 : 8;  // of a band of output
  static constexpr int kPixels = kRows * kWidth;
  // A 1x1 kernel skips the pixels that it does not read; others stage them.
  static constexpr int kStep = kKernel == 1 ? 1 : kStride;  // NOLINT(bugprone-branch-clone)
  static constexpr int kXRows = (kRows - 1) * kStep + kKernel, kXColumns = (kWidth - 1) * kStep + kKernel;
  static constexpr int kXPixel = kCi * 2, kYPixel = kCo * 2;  // bytes
  static constexpr int kXChunks = kXPixel / 16, kYChunks = kYPixel / 16;
  static constexpr int kXBytes = (kXRows * kXColumns * kXPixel + 127) / 128 * 128;
  static constexpr int kStage = kXBytes + kPixels * kYPixel;
  static constexpr int kStages = 96 * 1024 / kStage >= 4 ? 4 : 96 * 1024 / kStage;
  static constexpr int kOctets = kKernel * kKernel * kCi / 8;  // columns of 8: (tap, ci / 8)
  static constexpr int kPerWarp = (kOctets + kWarps - 1) / kWarps;
  static constexpr int kTiles = kCo / 16;
  static_assert(kStages >= 2 && kWidth % 8 == 0 && kPixels % 32 == 0);

  size_t shared_bytes() const { return static_cast<size_t>(kStages) * kStage; }
  int64_t blocks() const { return rows * splits * (outputs / kCo) * (padded / kCi); }

  const bf16* x;             // [N,V,H,W,Cp]
  const bf16* dy;            // [N,V,out_h,out_w,O]
  float* out;                // a part [splits,N,K,K,C,O], or the rows themselves where splits is 1
  int64_t rows, out_stride;  // N; numbers from one example of `out` to the next
  int views, splits;
  int height, width, channels, padded;  // of the input: H, W, C, Cp
  int outputs, out_h, pad;
  bool accumulate;

  // Which 16-byte chunk holds chunk c of a pixel whose column (in steps of the stride) is `column`.
  template <int kChunks>
  PG_DEVICE static uint32_t swizzle(uint32_t c, uint32_t column) {
    if constexpr (kChunks == 1) return c;
    return c ^ (column * kChunks / 8 & (kChunks - 1));
  }

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    unsigned char* shared = block.template shared<unsigned char>();
    const int t = block.thread(), warp = t / 32, lane = t % 32;
    int64_t b = block.index();
    const int ci0 = static_cast<int>(b % (padded / kCi)) * kCi;
    b /= padded / kCi;
    const int co0 = static_cast<int>(b % (outputs / kCo)) * kCo;
    b /= outputs / kCo;
    const int split = static_cast<int>(b % splits);
    const int64_t n = b / splits;
    const int first = views * split / splits, last = views * (split + 1) / splits;
    const int bands = out_h / kRows, steps = (last - first) * bands;

    const auto load = [&](int step) {
      if (step < steps) {
        unsigned char* stage = shared + step % kStages * kStage;
        const int64_t image = n * views + first + step / bands;
        const int y0 = step % bands * kRows;
        const bf16* from = x + image * height * width * padded + ci0;
        for (int i = t; i < kXRows * kXColumns * kXChunks; i += kThreads) {
          const int c = i % kXChunks, column = i / kXChunks % kXColumns, row = i / (kXChunks * kXColumns);
          const int y = (y0 * kStep + row) * (kStride / kStep) - pad;
          const int xx = column * (kStride / kStep) - pad;
          const bool inside = y >= 0 && y < height && xx >= 0 && xx < width;
          const uint32_t chunk =
              swizzle<kXChunks>(static_cast<uint32_t>(c), static_cast<uint32_t>(column / kStep));
          block.copy16_async(stage + (row * kXColumns + column) * kXPixel + chunk * 16,
                             inside ? from + (static_cast<int64_t>(y) * width + xx) * padded + c * 8 : from,
                             inside);
        }
        const bf16* gradient = dy + (image * out_h + y0) * kWidth * outputs + co0;
        for (int i = t; i < kPixels * kYChunks; i += kThreads) {
          const int c = i % kYChunks, p = i / kYChunks;
          const uint32_t chunk = swizzle<kYChunks>(static_cast<uint32_t>(c), static_cast<uint32_t>(p));
          block.copy16_async(stage + kXBytes + p * kYPixel + chunk * 16,
                             gradient + static_cast<int64_t>(p) * outputs + c * 8, true);
        }
      }
      block.commit();
    };

    float sum[kTiles][kPerWarp][4];
    PG_UNROLL
    for (int m = 0; m < kTiles; ++m) PG_UNROLL
    for (int j = 0; j < kPerWarp; ++j) PG_UNROLL
    for (int e = 0; e < 4; ++e) sum[m][j][e] = 0;

    // Thread 8 m + l names row l of matrix m: pixel l of a group of eight.
    const int matrix = lane / 8, l = lane % 8;
    // Where the row of this thread lies for tap (r, q) and chunk c of X, relative to its group of pixels.
    const auto x_offset = [&](int r, int q, int c) {
      const uint32_t chunk =
          swizzle<kXChunks>(static_cast<uint32_t>(c), static_cast<uint32_t>(l + q / kStep));
      return static_cast<uint32_t>((r * kXColumns + l * kStep + q) * kXPixel) + chunk * 16;
    };
    // For column j of this warp. With 64 channels j is the tap: all but kKernel numbers are constants.
    constexpr bool kTapIsColumn = kCi == 64;
    constexpr int kOffsets = kTapIsColumn ? kKernel : kPerWarp;
    uint32_t known[kOffsets];
    PG_UNROLL
    for (int j = 0; j < kOffsets; ++j) {
      const int octet = warp + kWarps * j, tap = octet / (kCi / 8);
      known[j] =
          kTapIsColumn ? x_offset(0, j, warp) : x_offset(tap / kKernel, tap % kKernel, octet % (kCi / 8));
    }
    const auto offset = [&](int j) {
      if constexpr (kTapIsColumn)
        return known[j % kKernel] + static_cast<uint32_t>(j / kKernel * kXColumns * kXPixel);
      return known[j];
    };
    const auto y_offset = [&](int pixel, int tile) {  // rows of dY: matrices (channel half, pixel half)
      const auto p = static_cast<uint32_t>(pixel + matrix / 2 * 8 + l);
      const uint32_t chunk =
          swizzle<kYChunks>(static_cast<uint32_t>(tile * 2 + matrix % 2), static_cast<uint32_t>(l));
      return static_cast<uint32_t>(kXBytes) + p * kYPixel + chunk * 16;
    };
    static_assert(kYChunks == 8 || kYChunks == 2);  // the swizzle of pixel p is that of l = p % 8

    for (int step = 0; step < kStages - 1; ++step) load(step);
    for (int step = 0; step < steps; ++step) {
      block.template wait<kStages - 2>();
      block.sync();
      load(step + kStages - 1);
      const unsigned char* stage = shared + step % kStages * kStage;
      PG_NO_UNROLL
      for (int pixel = 0; pixel < kPixels; pixel += 32) {
        uint32_t a[2][kTiles][4];
        PG_UNROLL
        for (int half = 0; half < 2; ++half) PG_UNROLL
        for (int m = 0; m < kTiles; ++m)
          block.load_transposed(a[half][m], stage, y_offset(pixel + half * 16, m));
        const int group = pixel + matrix * 8;
        const auto base =
            static_cast<uint32_t>((group / kWidth * kStep * kXColumns + group % kWidth * kStep) * kXPixel);
        PG_UNROLL
        for (int j = 0; j < kPerWarp; ++j) {
          if constexpr (kOctets % kWarps != 0) {
            if (warp + kWarps * j >= kOctets) break;  // the same for all threads of a warp
          }
          uint32_t f[4];
          block.load_transposed(f, stage, base + offset(j));
          PG_UNROLL
          for (int m = 0; m < kTiles; ++m) block.mma_bf16(sum[m][j], a[0][m], f[0], f[1]);
          PG_UNROLL
          for (int m = 0; m < kTiles; ++m) block.mma_bf16(sum[m][j], a[1][m], f[2], f[3]);
        }
      }
    }

    float* to = out + (splits == 1 ? n : split * rows + n) * out_stride;
    PG_UNROLL
    for (int j = 0; j < kPerWarp; ++j) {
      const int octet = warp + kWarps * j;
      if (octet >= kOctets) break;
      const int tap = octet / (kCi / 8);
      PG_UNROLL
      for (int m = 0; m < kTiles; ++m) PG_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int co = co0 + m * 16 + lane / 4 + 8 * (e / 2);
        const int ci = ci0 + octet % (kCi / 8) * 8 + lane % 4 * 2 + e % 2;
        if (ci >= channels) continue;
        float& place = to[(static_cast<int64_t>(tap) * channels + ci) * outputs + co];
        place = accumulate && splits == 1 ? place + sum[m][j][e] : sum[m][j][e];
      }
    }
  }
};

}  // namespace pergrad::kernels
