// Kernels on weights and on their gradients for a GPU: weight standardization, and zeros.
#pragma once

#include "core/exec.h"
#include "core/gpu/block.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pergrad::kernels {

constexpr double kStandardizeFloor = 1e-4;  // of var * fan_in; De et al. 2022

// Number i of `size` columns of all rows := 0.
struct ZeroColumns {
  float* first;
  int64_t size, stride;
  PG_HD void operator()(int64_t i) const { first[i / size * stride + i % size] = 0; }
};

// A block owns 32 output channels o of a weight [F, O]; 8 threads a channel share its F numbers.
struct ChannelSlab {
  static constexpr int kThreads = 256, kChannels = 32, kParts = kThreads / kChannels;
  // Sum over the parts of a channel, in order; every thread of the channel gets it. All threads call it.
  template <class Block>
  PG_DEVICE static double sum(Block& block, double mine) {
    double* shared = block.template shared<double>();
    const int t = block.thread();
    block.sync();
    shared[t] = mine;
    block.sync();
    double total = 0;
    for (int part = 0; part < kParts; ++part) total += shared[part * kChannels + t % kChannels];
    return total;
  }
};

// w' = gain u, u = (w - mean) s, s = 1 / sqrt(max(var F, floor)), per output channel.
struct StandardizeForward {
  static constexpr int kThreads = ChannelSlab::kThreads;
  size_t shared_bytes() const { return kThreads * sizeof(double); }
  int64_t blocks() const { return (outputs + ChannelSlab::kChannels - 1) / ChannelSlab::kChannels; }
  const float* w;     // [F, O]
  const float* gain;  // [O]
  float* unit;        // u [F, O]
  float* out;         // w' [F, O]
  float* factor;      // gain s [O]
  float* slope;       // [O]: 1, or 0 where the floor was hit
  int64_t fan_in, outputs;

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread();
    const int64_t o = block.index() * ChannelSlab::kChannels + t % ChannelSlab::kChannels;
    const int64_t first = t / ChannelSlab::kChannels;
    const bool inside = o < outputs;
    double part = 0;
    for (int64_t i = first; inside && i < fan_in; i += ChannelSlab::kParts) part += w[i * outputs + o];
    const double mean = ChannelSlab::sum(block, part) / static_cast<double>(fan_in);
    part = 0;
    for (int64_t i = first; inside && i < fan_in; i += ChannelSlab::kParts) {
      const double d = w[i * outputs + o] - mean;
      part += d * d;
    }
    const double squares = ChannelSlab::sum(block, part);  // var * fan_in
    if (!inside) return;
    const bool floored = squares < kStandardizeFloor;
    const double scale = 1.0 / std::sqrt(floored ? kStandardizeFloor : squares);
    for (int64_t i = first; i < fan_in; i += ChannelSlab::kParts) {
      const double u = (w[i * outputs + o] - mean) * scale;
      unit[i * outputs + o] = static_cast<float>(u);
      out[i * outputs + o] = static_cast<float>(u * gain[o]);
    }
    if (first == 0) {
      factor[o] = static_cast<float>(gain[o] * scale);
      slope[o] = floored ? 0.0f : 1.0f;
    }
  }
};

// Row n: dgain = <u, g>, dw = factor (g - mean(g) - slope u <u, g>), g the gradient by w'. A block owns 32
// channels of one row.
struct StandardizeBackward {
  static constexpr int kThreads = ChannelSlab::kThreads;
  size_t shared_bytes() const { return kThreads * sizeof(double); }
  PG_HD int64_t slabs() const { return (outputs + ChannelSlab::kChannels - 1) / ChannelSlab::kChannels; }
  const float* gradient;  // g: rows [F, O]
  const float* unit;
  const float* factor;
  const float* slope;
  float* dw;
  float* dgain;
  int64_t fan_in, outputs;
  int64_t gradient_stride, dw_stride, dgain_stride;
  bool add_dw, add_dgain;

  template <class Block>
  PG_DEVICE void operator()(Block& block) const {
    const int t = block.thread();
    const int64_t n = block.index() / slabs();
    const int64_t o = block.index() % slabs() * ChannelSlab::kChannels + t % ChannelSlab::kChannels;
    const int64_t first = t / ChannelSlab::kChannels;
    const bool inside = o < outputs;
    const float* g = gradient + n * gradient_stride;
    float sum = 0, dot = 0;
    for (int64_t i = first; inside && i < fan_in; i += ChannelSlab::kParts) {
      const float v = g[i * outputs + o];
      sum += v;
      dot += v * unit[i * outputs + o];
    }
    const double mean = ChannelSlab::sum(block, sum) / static_cast<double>(fan_in);
    const double along = ChannelSlab::sum(block, dot);
    if (!inside) return;
    if (first == 0) {
      float& to = dgain[n * dgain_stride + o];
      to = (add_dgain ? to : 0.0f) + static_cast<float>(along);
    }
    const float m = static_cast<float>(mean), a = static_cast<float>(along) * slope[o], f = factor[o];
    float* out = dw + n * dw_stride;
    for (int64_t i = first; i < fan_in; i += ChannelSlab::kParts) {
      const int64_t at = i * outputs + o;
      const float v = f * (g[at] - m - unit[at] * a);
      out[at] = add_dw ? out[at] + v : v;
    }
  }
};

}  // namespace pergrad::kernels
