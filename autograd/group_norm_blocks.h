// Group norm on a GPU, with the ReLU before it in the same pass: one read and one write a tensor.
//
// A block owns one image and a slab of whole groups; the slab lies in shared memory between statistics and
// use, where it fits. Statistics in two passes (mean, then squares around it), float sums in a fixed order.
// kVector: channels that a thread moves at once (16 bytes), or 1.
#pragma once

#include "core/bf16.h"
#include "core/exec.h"
#include "core/gpu/block.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pergrad::kernels {

// How images are dealt to blocks, and what a block keeps in shared memory.
struct SlabPlan {
  int pixels, channels, groups;
  int slab;     // channels of a block: whole groups, a multiple of the vector
  bool staged;  // the slab is kept in shared memory
  PG_HD int slabs() const { return channels / slab; }
  // Of one staged tensor; what lies behind it in shared memory is aligned to 16.
  PG_HD size_t stage_bytes(size_t element) const {
    return staged ? (static_cast<size_t>(pixels) * static_cast<size_t>(slab) * element + 15) / 16 * 16 : 0;
  }
  PG_HD int group_width() const { return channels / groups; }
};

constexpr int kNormThreads = 256;
constexpr int kNormWarps = kNormThreads / 32;

// Sums over the pixels of a block, channel by channel: thread t holds those of channels
// [t % lanes * kVector, ...) over pixels t / lanes, t / lanes + parts, ...; lanes = slab / kVector.
template <int kVector>
struct ChannelSums {
  static constexpr size_t bytes() { return kNormThreads * kVector * sizeof(float); }
  // total[c] := sum over all threads. All threads call it; `scratch` has bytes().
  template <class Block>
  PG_DEVICE static void reduce(Block& block, float (&mine)[kVector], int slab, float* scratch, float* total) {
    const int t = block.thread(), lanes = slab / kVector;
    int parts = kNormThreads / lanes, part = t / lanes;
    bool writes = part < parts;
    if (32 % lanes == 0) {  // threads of a warp that hold the same channels first
      for (int mask = lanes; mask < 32; mask *= 2) {
        PG_UNROLL
        for (int j = 0; j < kVector; ++j) mine[j] += block.shuffle_xor(mine[j], mask);
      }
      parts = kNormWarps;
      part = t / 32;
      writes = t % 32 < lanes;
    }
    block.sync();
    if (writes) {
      PG_UNROLL
      for (int j = 0; j < kVector; ++j) scratch[part * slab + t % lanes * kVector + j] = mine[j];
    }
    block.sync();
    for (int c = t; c < slab; c += kNormThreads) {
      float sum = 0;
      for (int p = 0; p < parts; ++p) sum += scratch[p * slab + c];
      total[c] = sum;
    }
    block.sync();
  }
};

template <class A, int kVector, bool kRelu>
struct GroupNormForwardBlock {
  static constexpr int kThreads = kNormThreads;
  using Vector = Pack<A, kVector>;
  size_t shared_bytes() const {
    return plan.stage_bytes(sizeof(A)) + ChannelSums<kVector>::bytes() +
           static_cast<size_t>(3 * plan.slab) * sizeof(float);
  }
  SlabPlan plan;
  const A* x;
  const float* gamma;
  const float* beta;
  A* y;
  float* mean;  // [images, groups]
  float* rstd;  // [images, groups]

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread(), slab = plan.slab, lanes = slab / kVector, width = plan.group_width();
    const int parts = kNormThreads / lanes, lane = t % lanes;
    const int first_pixel = t / lanes < parts ? t / lanes : plan.pixels;  // threads left over have none
    const int64_t image = block.index() / plan.slabs();
    const int c0 = static_cast<int>(block.index() % plan.slabs()) * slab;
    const A* in = x + image * plan.pixels * plan.channels + c0 + lane * kVector;
    A* out = y + image * plan.pixels * plan.channels + c0 + lane * kVector;

    unsigned char* shared = block.template shared<unsigned char>();
    A* stage = reinterpret_cast<A*>(shared) + lane * kVector;
    const size_t staged = plan.stage_bytes(sizeof(A));
    float* scratch = reinterpret_cast<float*>(shared + staged);
    float* total = scratch + kNormThreads * kVector;  // [slab]
    float* centre = total + slab;                     // mean of the group of each channel
    float* scale = centre + slab;                     // rstd likewise

    // Channels of pixel p, after the ReLU if there is one.
    const auto read = [&](int p, bool from_stage) {
      Vector v = from_stage ? *reinterpret_cast<const Vector*>(stage + static_cast<int64_t>(p) * slab)
                            : *reinterpret_cast<const Vector*>(in + static_cast<int64_t>(p) * plan.channels);
      if (kRelu && !from_stage) {
        PG_UNROLL
        for (int j = 0; j < kVector; ++j) v.v[j] = to_float(v.v[j]) < 0 ? from_float<A>(0.0f) : v.v[j];
      }
      return v;
    };

    float sum[kVector] = {};
    PG_UNROLL_4
    for (int p = first_pixel; p < plan.pixels; p += parts) {
      const Vector v = read(p, false);
      if (plan.staged) *reinterpret_cast<Vector*>(stage + static_cast<int64_t>(p) * slab) = v;
      PG_UNROLL
      for (int j = 0; j < kVector; ++j) sum[j] += to_float(v.v[j]);
    }
    ChannelSums<kVector>::reduce(block, sum, slab, scratch, total);
    const float count = static_cast<float>(plan.pixels) * static_cast<float>(width);
    const auto over_group = [&](int c) {  // mean over the group of channel c of what `total` holds
      float s = 0;
      for (int k = c / width * width; k < c / width * width + width; ++k) s += total[k];
      return s / count;
    };
    for (int c = t; c < slab; c += kNormThreads) centre[c] = over_group(c);
    block.sync();

    float about[kVector];
    PG_UNROLL
    for (int j = 0; j < kVector; ++j) about[j] = centre[lane * kVector + j], sum[j] = 0;
    PG_UNROLL_4
    for (int p = first_pixel; p < plan.pixels; p += parts) {
      const Vector v = read(p, plan.staged);
      PG_UNROLL
      for (int j = 0; j < kVector; ++j)
        sum[j] += (to_float(v.v[j]) - about[j]) * (to_float(v.v[j]) - about[j]);
    }
    ChannelSums<kVector>::reduce(block, sum, slab, scratch, total);
    for (int c = t; c < slab; c += kNormThreads) {
      scale[c] = 1.0f / std::sqrt(over_group(c) + 1e-5f);
      if (c % width == 0) {
        mean[image * plan.groups + (c0 + c) / width] = centre[c];
        rstd[image * plan.groups + (c0 + c) / width] = scale[c];
      }
    }
    block.sync();

    float by[kVector], plus[kVector];
    PG_UNROLL
    for (int j = 0; j < kVector; ++j) {
      const int c = lane * kVector + j;
      by[j] = scale[c] * gamma[c0 + c];
      plus[j] = beta[c0 + c] - centre[c] * by[j];
    }
    PG_UNROLL_4
    for (int p = first_pixel; p < plan.pixels; p += parts) {
      Vector v = read(p, plan.staged);
      PG_UNROLL
      for (int j = 0; j < kVector; ++j) v.v[j] = from_float<A>(to_float(v.v[j]) * by[j] + plus[j]);
      *reinterpret_cast<Vector*>(out + static_cast<int64_t>(p) * plan.channels) = v;
    }
  }
};

// With xh = (x - mean) rstd, x after the ReLU:  dbeta = sum dy,  dgamma = sum dy xh  (of this image),
//   dx = [x > 0] rstd (gamma dy - mean(gamma dy) - xh mean(gamma dy xh)) + more.
template <class A, int kVector, bool kRelu>
struct GroupNormBackwardBlock {
  static constexpr int kThreads = kNormThreads;
  using Vector = Pack<A, kVector>;
  size_t shared_bytes() const {
    const size_t stage = plan.stage_bytes(sizeof(A));
    return 2 * stage + ChannelSums<kVector>::bytes() + static_cast<size_t>(4 * plan.slab) * sizeof(float);
  }
  SlabPlan plan;
  const A* x;  // before the ReLU
  const A* dy;
  const A* more;  // gradient gathered before; may be null
  const float* gamma;
  const float* mean;
  const float* rstd;
  A* dx;          // may be null: only dgamma and dbeta are wanted
  float* dgamma;  // [images, C]
  float* dbeta;   // [images, C]

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread(), slab = plan.slab, lanes = slab / kVector, width = plan.group_width();
    const int parts = kNormThreads / lanes, lane = t % lanes;
    const int first_pixel = t / lanes < parts ? t / lanes : plan.pixels;
    const int64_t image = block.index() / plan.slabs();
    const int c0 = static_cast<int>(block.index() % plan.slabs()) * slab;
    const int64_t corner = image * plan.pixels * plan.channels + c0 + lane * kVector;

    unsigned char* shared = block.template shared<unsigned char>();
    const size_t staged = plan.stage_bytes(sizeof(A));
    A* stage_x = reinterpret_cast<A*>(shared) + lane * kVector;
    A* stage_dy = reinterpret_cast<A*>(shared + staged) + lane * kVector;
    float* scratch = reinterpret_cast<float*>(shared + 2 * staged);
    float* sums = scratch + kNormThreads * kVector;  // [slab] of dy
    float* dots = sums + slab;                       // [slab] of dy xh
    float* by_one = dots + slab;                     // [slab] mean(gamma dy) over the group
    float* by_xh = by_one + slab;                    // [slab] mean(gamma dy xh) over the group

    const auto read = [&](const A* global, const A* stage, int p, bool from_stage) {
      return from_stage ? *reinterpret_cast<const Vector*>(stage + static_cast<int64_t>(p) * slab)
                        : *reinterpret_cast<const Vector*>(global + corner +
                                                           static_cast<int64_t>(p) * plan.channels);
    };
    const auto after_relu = [](A v) {
      const float f = to_float(v);
      return kRelu && f < 0 ? 0.0f : f;
    };
    float m[kVector], r[kVector];
    PG_UNROLL
    for (int j = 0; j < kVector; ++j) {
      const int64_t g = image * plan.groups + (c0 + lane * kVector + j) / width;
      m[j] = mean[g];
      r[j] = rstd[g];
    }
    float sum[kVector] = {}, dot[kVector] = {};
    PG_UNROLL_4
    for (int p = first_pixel; p < plan.pixels; p += parts) {
      const Vector vx = read(x, stage_x, p, false), vg = read(dy, stage_dy, p, false);
      if (plan.staged) {
        *reinterpret_cast<Vector*>(stage_x + static_cast<int64_t>(p) * slab) = vx;
        *reinterpret_cast<Vector*>(stage_dy + static_cast<int64_t>(p) * slab) = vg;
      }
      PG_UNROLL
      for (int j = 0; j < kVector; ++j) {
        sum[j] += to_float(vg.v[j]);
        dot[j] += to_float(vg.v[j]) * ((after_relu(vx.v[j]) - m[j]) * r[j]);
      }
    }
    ChannelSums<kVector>::reduce(block, sum, slab, scratch, sums);
    ChannelSums<kVector>::reduce(block, dot, slab, scratch, dots);
    const float count = static_cast<float>(plan.pixels) * static_cast<float>(width);
    for (int c = t; c < slab; c += kNormThreads) {
      float one = 0, xh = 0;
      for (int k = c / width * width; k < c / width * width + width; ++k) {
        one += gamma[c0 + k] * sums[k];
        xh += gamma[c0 + k] * dots[k];
      }
      by_one[c] = one / count;
      by_xh[c] = xh / count;
      dbeta[image * plan.channels + c0 + c] = sums[c];
      dgamma[image * plan.channels + c0 + c] = dots[c];
    }
    block.sync();
    if (!dx) return;

    float g[kVector], k1[kVector], k2[kVector];
    PG_UNROLL
    for (int j = 0; j < kVector; ++j) {
      const int c = lane * kVector + j;
      g[j] = gamma[c0 + c], k1[j] = by_one[c], k2[j] = by_xh[c];
    }
    PG_UNROLL_4
    for (int p = first_pixel; p < plan.pixels; p += parts) {
      const Vector vx = read(x, stage_x, p, plan.staged), vg = read(dy, stage_dy, p, plan.staged);
      const int64_t at = corner + static_cast<int64_t>(p) * plan.channels;
      Vector before{};
      if (more) before = *reinterpret_cast<const Vector*>(more + at);
      Vector out;
      PG_UNROLL
      for (int j = 0; j < kVector; ++j) {
        const float xr = after_relu(vx.v[j]), xh = (xr - m[j]) * r[j];
        float d = r[j] * (g[j] * to_float(vg.v[j]) - k1[j] - xh * k2[j]);
        if (kRelu && !(xr > 0)) d = 0;
        out.v[j] = from_float<A>(more ? d + to_float(before.v[j]) : d);
      }
      *reinterpret_cast<Vector*>(dx + at) = out;
    }
  }
};

// Row n of a weight's gradient: the sum over the V images of example n, in order. Number i of [N, C].
struct SumOverViews {
  const float* images;  // [N, V, C]
  float* rows;
  int64_t views, channels, stride;
  bool accumulate;
  PG_HD void operator()(int64_t i) const {
    const int64_t n = i / channels, c = i % channels;
    float sum = 0;
    for (int64_t v = 0; v < views; ++v) sum += images[(n * views + v) * channels + c];
    float& out = rows[n * stride + c];
    out = accumulate ? out + sum : sum;
  }
};

}  // namespace pergrad::kernels
