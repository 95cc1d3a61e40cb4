// Kernels that exist for tests only; listed for cuda:i in kernels_cuda.cu beside this file.
#pragma once

#include "core/exec.h"
#include "core/gpu/block.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pergrad::test {

struct Square {
  const float* x;
  float* y;
  PG_HD void operator()(int64_t i) const { y[i] = x[i] * x[i]; }
};

// Each block reverses its 64 numbers through shared memory, and adds up those of each warp.
struct ReverseBlock {
  static constexpr int kThreads = 64;
  size_t shared_bytes() const { return kThreads * sizeof(float); }
  const float* x;
  float* reversed;
  float* sums;  // [blocks, 2]

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread();
    float* shared = block.template shared<float>();
    shared[t] = x[block.index() * kThreads + t];
    block.sync();
    const float mine = shared[kThreads - 1 - t];
    reversed[block.index() * kThreads + t] = mine;
    float sum = mine;
    for (int mask = 16; mask > 0; mask /= 2) sum += block.shuffle_xor(sum, mask);
    if (t % 32 == 0) sums[block.index() * 2 + t / 32] = sum;
  }
};

// One warp: c [16,8] = a [16,16] b [16,8], both bf16; a [k][m] and b [k][n] come through shared memory by
// asynchronous copies and transposed loads.
struct MatrixProduct {
  static constexpr int kThreads = 32;
  size_t shared_bytes() const { return 16 * 16 * 2 + 16 * 16 * 2; }
  const uint16_t* a;  // [16 k][16 m]
  const uint16_t* b;  // [16 k][16 n], of which the first 8 columns count
  float* c;           // [16 m][8 n]

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    unsigned char* shared = block.template shared<unsigned char>();
    const int lane = block.thread();
    block.copy16_async(shared + lane * 16, a + lane * 8, true);
    block.copy16_async(shared + 512 + lane * 16, b + lane * 8, lane % 2 == 0);  // the other columns: zeros
    block.commit();
    block.template wait<0>();
    block.sync();
    uint32_t fa[4], fb[4];
    // Matrix i of a: rows k = 8 (i / 2) + r, columns m = 8 (i % 2) + ...
    const int matrix = lane / 8, r = lane % 8;
    const auto offset_of = [&](int k, int column) { return static_cast<uint32_t>(k * 32 + column * 2); };
    block.load_transposed(fa, shared, offset_of(8 * (matrix / 2) + r, 8 * (matrix % 2)));
    block.load_transposed(fb, shared + 512, offset_of(8 * (matrix % 2) + r, 8 * (matrix / 2)));
    float sum[4] = {0, 0, 0, 0};
    block.mma_bf16(sum, fa, fb[0], fb[1]);
    float ignored[4] = {0, 0, 0, 0};
    block.mma_bf16(ignored, fa, fb[2], fb[3]);
    for (int i = 0; i < 4; ++i)
      c[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = sum[i] + ignored[i];
  }
};

// What dp/ needs of a device's arithmetic, on any doubles.
struct Arithmetic {
  static constexpr int64_t kResults = 8;
  const double* x;
  const double* y;
  double* out;     // [n, kResults]
  int64_t* whole;  // [n]: x truncated toward zero, where it fits

  PG_HD void operator()(int64_t i) const {
    const double a = x[i], b = y[i];
    double* o = out + i * kResults;
    o[0] = a + b;
    o[1] = a * b;
    o[2] = a / b;
    o[3] = a < 0 ? 0 : std::sqrt(a);
    o[4] = a < HUGE_VAL ? 1 : 0;  // the guard against rows that are not finite
    o[5] = a * b + a;             // two roundings: not contracted
    o[6] = static_cast<double>(static_cast<float>(a));
    o[7] = a > b ? a : b;
    whole[i] = a > -0x1p62 && a < 0x1p62 ? static_cast<int64_t>(a) : 0;
  }
};

// A bug on purpose: half of the threads leave before the barrier.
struct LostThreads {
  static constexpr int kThreads = 64;
  size_t shared_bytes() const { return 16; }
  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    if (block.thread() < 32) block.sync();
  }
};

// A bug on purpose: reads what another thread writes, without a barrier.
struct MissingBarrier {
  static constexpr int kThreads = 64;
  size_t shared_bytes() const { return kThreads * sizeof(float); }
  float* y;
  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    float* shared = block.template shared<float>();
    shared[block.thread()] = 1;
    y[block.thread()] = shared[kThreads - 1 - block.thread()];
  }
};

}  // namespace pergrad::test
