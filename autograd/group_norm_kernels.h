// Group norm of one image, channels last. One text for both devices: the index is the image (n, v).
#pragma once

#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::kernels {

constexpr double kGroupNormEpsilon = 1e-5;  // De et al. 2022; inside the root
constexpr int64_t kMaxChannels = 1024;      // size of the per-channel sums

// Statistics are taken in two passes (mean, then squares around it), per channel in T over a line of pixels
// and in double over lines: a bright image with little contrast must not lose its variance to cancellation.
template <class T>
struct GroupNormForward {
  int64_t pixels, line, channels, groups;  // pixels = H * W, line = W
  const T* x;
  const T* gamma;
  const T* beta;
  T* y;
  double* mean;  // [images, groups]
  double* rstd;  // [images, groups]

  PG_HD void operator()(int64_t image) const {
    const int64_t width = channels / groups;
    const T* in = x + image * pixels * channels;
    T* out = y + image * pixels * channels;
    double total[kMaxChannels];
    T part[kMaxChannels];
    T centre[kMaxChannels];
    const double count = static_cast<double>(pixels * width);
    for (int64_t c = 0; c < channels; ++c) total[c] = 0, centre[c] = 0;
    add_lines(in, centre, part, total, false);
    for (int64_t g = 0; g < groups; ++g) {
      double sum = 0;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += total[c];
      mean[image * groups + g] = sum / count;
      for (int64_t c = g * width; c < (g + 1) * width; ++c)
        centre[c] = static_cast<T>(sum / count), total[c] = 0;
    }
    add_lines(in, centre, part, total, true);
    T scale[kMaxChannels], shift[kMaxChannels];
    for (int64_t g = 0; g < groups; ++g) {
      double squares = 0;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) squares += total[c];
      const double r = 1.0 / std::sqrt(squares / count + kGroupNormEpsilon);
      rstd[image * groups + g] = r;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        scale[c] = static_cast<T>(r * gamma[c]);
        shift[c] = static_cast<T>(beta[c] - mean[image * groups + g] * r * gamma[c]);
      }
    }
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c)
        out[p * channels + c] = in[p * channels + c] * scale[c] + shift[c];
  }

  // total[c] += sum over pixels of (x - centre) or of its square.
  PG_HD void add_lines(const T* in, const T* centre, T* part, double* total, bool squared) const {
    for (int64_t first = 0; first < pixels; first += line) {
      for (int64_t c = 0; c < channels; ++c) part[c] = 0;
      for (int64_t p = first; p < first + line; ++p)
        for (int64_t c = 0; c < channels; ++c) {
          const T v = in[p * channels + c] - centre[c];
          part[c] += squared ? v * v : v;
        }
      for (int64_t c = 0; c < channels; ++c) total[c] += part[c];
    }
  }
};

// With xh = (x - mean) rstd:  dbeta = sum dy,  dgamma = sum dy xh,
//   dx = rstd (gamma dy - mean(gamma dy) - xh mean(gamma dy xh)),  means over the group of this image.
// dgamma, dbeta: what this image adds; the views of one example follow each other into the same slot.
template <class T>
struct GroupNormBackward {
  int64_t pixels, line, channels, groups;
  const T* x;
  const T* dy;
  const T* gamma;
  const double* mean;
  const double* rstd;
  T* dx;  // may be null: only dgamma and dbeta are wanted

  PG_HD void operator()(int64_t image, T* dgamma, T* dbeta) const {
    const int64_t width = channels / groups;
    const T* in = x + image * pixels * channels;
    const T* g = dy + image * pixels * channels;
    double sum[kMaxChannels], dot[kMaxChannels];
    T part[kMaxChannels], part_dot[kMaxChannels], centre[kMaxChannels];
    for (int64_t c = 0; c < channels; ++c) {
      sum[c] = dot[c] = 0;
      centre[c] = static_cast<T>(mean[image * groups + c / width]);
    }
    for (int64_t first = 0; first < pixels; first += line) {
      for (int64_t c = 0; c < channels; ++c) part[c] = part_dot[c] = 0;
      for (int64_t p = first; p < first + line; ++p)
        for (int64_t c = 0; c < channels; ++c) {
          part[c] += g[p * channels + c];
          part_dot[c] += g[p * channels + c] * (in[p * channels + c] - centre[c]);
        }
      for (int64_t c = 0; c < channels; ++c) sum[c] += part[c], dot[c] += part_dot[c];
    }
    T by_dy[kMaxChannels], by_x[kMaxChannels], constant[kMaxChannels];
    const double count = static_cast<double>(pixels * width);
    for (int64_t group = 0; group < groups; ++group) {
      const double m = mean[image * groups + group], r = rstd[image * groups + group];
      double a = 0, b = 0;
      for (int64_t c = group * width; c < (group + 1) * width; ++c) {
        dot[c] *= r;
        dbeta[c] += static_cast<T>(sum[c]);
        dgamma[c] += static_cast<T>(dot[c]);
        a += gamma[c] * sum[c];
        b += gamma[c] * dot[c];
      }
      a /= count;
      b /= count;
      for (int64_t c = group * width; c < (group + 1) * width; ++c) {
        by_dy[c] = static_cast<T>(r * gamma[c]);
        by_x[c] = static_cast<T>(-r * r * b);
        constant[c] = static_cast<T>(r * (r * b * m - a));
      }
    }
    if (!dx) return;
    T* out = dx + image * pixels * channels;
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = p * channels + c;
        out[at] = by_dy[c] * g[at] + by_x[c] * in[at] + constant[c];
      }
  }
};

}  // namespace pergrad::kernels
