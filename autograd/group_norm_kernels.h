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
T positive(T v) {
  return v < 0 ? T{0} : v;  // NaN stays NaN
}

// What group norm multiplies channel c with, and adds.
template <class T>
struct ScaleAndShift {
  ScaleAndShift(T gamma, T beta, double mean, double rstd)
      : scale(static_cast<T>(rstd * gamma)), shift(static_cast<T>(beta - mean * rstd * gamma)) {}
  T scale, shift;
};

// total[c] += sum over pixels of f(pixel, c): in T over a run of pixels, in double over runs.
template <class T, class F>
void add_runs(const NormImage& image, std::vector<double>& total, const F& f) {
  std::vector<T> part(total.size());
  for (int64_t first = 0; first < image.pixels; first += kNormRun) {
    std::fill(part.begin(), part.end(), T{0});
    for (int64_t p = first; p < first + kNormRun && p < image.pixels; ++p)
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
  const auto in = [&](int64_t at) { return image.relu == NormRelu::before ? positive(x[at]) : x[at]; };
  std::vector<double> total(static_cast<size_t>(image.channels), 0.0), squares = total;
  const auto over_group = [&](const std::vector<double>& sums, int64_t g) {
    double sum = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += sums[static_cast<size_t>(c)];
    return sum / count;
  };
  add_runs<T>(image, total, [&](int64_t at, int64_t) { return in(at); });
  for (int64_t g = 0; g < image.groups; ++g) mean[g] = over_group(total, g);
  add_runs<T>(image, squares, [&](int64_t at, int64_t c) {
    const T v = in(at) - static_cast<T>(mean[c / width]);
    return v * v;
  });
  for (int64_t g = 0; g < image.groups; ++g)
    rstd[g] = 1.0 / std::sqrt(over_group(squares, g) + image.epsilon);
  for (int64_t c = 0; c < image.channels; ++c) {
    const ScaleAndShift<T> by(gamma[c], beta[c], mean[c / width], rstd[c / width]);
    for (int64_t at = c; at < image.pixels * image.channels; at += image.channels) {
      const T v = in(at)*by.scale + by.shift;
      y[at] = image.relu == NormRelu::after ? positive(v) : v;
    }
  }
}

// With xh = (x - mean) rstd, x after a ReLU before, g = dy behind a ReLU after (dy where y > 0, else 0):
//   dbeta += sum g,  dgamma += sum g xh,
//   dx = rstd (gamma g - mean(gamma g) - xh mean(gamma g xh)) + more, means over the group;
// with a ReLU before, what comes before `+ more` is 0 where x <= 0.
// dx may be null: only dgamma and dbeta are wanted. more may be null.
template <class T>
void group_norm_backward(const NormImage& image, const T* x, const T* dy, const T* more, const T* gamma,
                         const T* beta, const double* mean, const double* rstd, T* dx, T* dgamma, T* dbeta) {
  const int64_t width = image.channels / image.groups;
  const double count = static_cast<double>(image.pixels * width);
  const auto in = [&](int64_t at) { return image.relu == NormRelu::before ? positive(x[at]) : x[at]; };
  std::vector<ScaleAndShift<T>> by;
  for (int64_t c = 0; c < image.channels; ++c)
    by.emplace_back(gamma[c], beta[c], mean[c / width], rstd[c / width]);
  const auto arriving = [&](int64_t at, int64_t c) {
    const ScaleAndShift<T>& y = by[static_cast<size_t>(c)];
    return image.relu != NormRelu::after || in(at)*y.scale + y.shift > 0 ? dy[at] : T{0};
  };
  std::vector<double> sum(static_cast<size_t>(image.channels), 0.0), dot = sum;
  add_runs<T>(image, sum, arriving);
  add_runs<T>(image, dot, [&](int64_t at, int64_t c) {
    return arriving(at, c) * (in(at) - static_cast<T>(mean[c / width]));
  });
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
        T d = by_dy * arriving(at, c) + by_x * in(at) + constant;
        if (image.relu == NormRelu::before && !(in(at) > 0)) d = 0;
        dx[at] = more ? d + more[at] : d;
      }
    }
  }
}

}  // namespace pergrad::kernels
