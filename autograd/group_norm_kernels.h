// Group norm of one image, channels last, in plain loops: in any type, for any number of channels, and what
// the vector kernels (isa/row_kernels.cpp) are tested against.
#pragma once

#include "autograd/isa_kernels.h"

#include <cmath>
#include <cstdint>
#include <vector>

namespace pergrad::kernels {

constexpr double kGroupNormEpsilon = 1e-5;  // De et al. 2022; inside the root
constexpr int64_t kMaxChannels = kIsaMaxChannels;

template <class T>
T after_relu(const NormImage& image, T v) {
  return image.relu && v < 0 ? T{0} : v;  // NaN stays NaN
}

// total[c] += sum over pixels of f(pixel, c): in T over a line of pixels, in double over lines.
template <class T, class F>
void add_lines(const NormImage& image, std::vector<double>& total, const F& f) {
  std::vector<T> part(total.size());
  for (int64_t first = 0; first < image.pixels; first += image.line) {
    std::fill(part.begin(), part.end(), T{0});
    for (int64_t p = first; p < first + image.line; ++p)
      for (int64_t c = 0; c < image.channels; ++c)
        part[static_cast<size_t>(c)] += f(p * image.channels + c, c);
    for (size_t c = 0; c < total.size(); ++c) total[c] += part[c];
  }
}

// Statistics are taken in two passes (mean, then squares around it): a bright image with little contrast must
// not lose its variance to cancellation.   mean, rstd [groups].
template <class T>
void group_norm(const NormImage& image, const T* x, const T* gamma, const T* beta, T* y, double* mean,
                double* rstd) {
  const int64_t width = image.channels / image.groups;
  const double count = static_cast<double>(image.pixels * width);
  const auto in = [&](int64_t at) { return after_relu(image, x[at]); };
  std::vector<double> total(static_cast<size_t>(image.channels), 0.0), squares = total;
  const auto over_group = [&](const std::vector<double>& sums, int64_t g) {
    double sum = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += sums[static_cast<size_t>(c)];
    return sum / count;
  };
  add_lines<T>(image, total, [&](int64_t at, int64_t) { return in(at); });
  for (int64_t g = 0; g < image.groups; ++g) mean[g] = over_group(total, g);
  add_lines<T>(image, squares, [&](int64_t at, int64_t c) {
    const T v = in(at) - static_cast<T>(mean[c / width]);
    return v * v;
  });
  for (int64_t g = 0; g < image.groups; ++g)
    rstd[g] = 1.0 / std::sqrt(over_group(squares, g) + image.epsilon);
  for (int64_t c = 0; c < image.channels; ++c) {
    const double m = mean[c / width], r = rstd[c / width];
    const T scale = static_cast<T>(r * gamma[c]), shift = static_cast<T>(beta[c] - m * r * gamma[c]);
    for (int64_t at = c; at < image.pixels * image.channels; at += image.channels)
      y[at] = in(at)*scale + shift;
  }
}

// With xh = (x - mean) rstd, x after the ReLU if there is one:  dbeta += sum dy,  dgamma += sum dy xh,
//   dx = [x > 0] rstd (gamma dy - mean(gamma dy) - xh mean(gamma dy xh)) + more, means over the group.
// dx may be null: only dgamma and dbeta are wanted. more may be null.
template <class T>
void group_norm_backward(const NormImage& image, const T* x, const T* dy, const T* more, const T* gamma,
                         const double* mean, const double* rstd, T* dx, T* dgamma, T* dbeta) {
  const int64_t width = image.channels / image.groups;
  const double count = static_cast<double>(image.pixels * width);
  const auto in = [&](int64_t at) { return after_relu(image, x[at]); };
  std::vector<double> sum(static_cast<size_t>(image.channels), 0.0), dot = sum;
  add_lines<T>(image, sum, [&](int64_t at, int64_t) { return dy[at]; });
  add_lines<T>(image, dot,
               [&](int64_t at, int64_t c) { return dy[at] * (in(at) - static_cast<T>(mean[c / width])); });
  for (int64_t g = 0; g < image.groups; ++g) {
    const double m = mean[g], r = rstd[g];
    double a = 0, b = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) {
      const double total = sum[static_cast<size_t>(c)], along = dot[static_cast<size_t>(c)] * r;
      dbeta[c] += static_cast<T>(total);
      dgamma[c] += static_cast<T>(along);
      a += gamma[c] * total / count;
      b += gamma[c] * along / count;
    }
    if (!dx) continue;
    const T by_x = static_cast<T>(-r * r * b), constant = static_cast<T>(r * (r * b * m - a));
    for (int64_t c = g * width; c < (g + 1) * width; ++c) {
      const T by_dy = static_cast<T>(r * gamma[c]);
      for (int64_t at = c; at < image.pixels * image.channels; at += image.channels) {
        T d = by_dy * dy[at] + by_x * in(at) + constant;
        if (image.relu && !(in(at) > 0)) d = 0;
        dx[at] = more ? d + more[at] : d;
      }
    }
  }
}

}  // namespace pergrad::kernels
