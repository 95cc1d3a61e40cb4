// Group norm, weight standardization, the weights of a classifier: channels last, vectors of channels at a
// time. One source, built for three instruction sets (PG_ISA).
#include "autograd/isa_kernels.h"
#include "core/cpu.h"
#include "core/isa/tiles.h"

#include <cmath>
#include <cstring>

// NOLINTBEGIN(clang-analyzer-core.*): it does not see that two loops over the channels are as long
namespace pergrad {
namespace {

[[gnu::always_inline]] inline Vec positive(Vec v) { return v < 0 ? Vec{} : v; }  // NaN stays NaN

// a b + c, rounded as vectors do it in this build: what is left over for single numbers gets the same bits.
[[gnu::always_inline]] inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

using Half [[gnu::vector_size(kLanes * 2)]] = float;  // of a Vec: as many numbers as doubles fill a register
using Doubles [[gnu::vector_size(kLanes * 4)]] = double;
using LooseDoubles [[gnu::vector_size(kLanes * 4), gnu::aligned(8), gnu::may_alias]] = double;  // in memory

// total[i] += lane i of v.
[[gnu::always_inline]] inline void add_lanes(Vec v, double* total) {
  Half halves[2];
  std::memcpy(halves, &v, sizeof(v));
  for (const Half& half : halves) {
    const Doubles sum = *reinterpret_cast<LooseDoubles*>(total) + __builtin_convertvector(half, Doubles);
    *reinterpret_cast<LooseDoubles*>(total) = sum;
    total += kLanes / 2;
  }
}

template <int kSums>
void zero_sums(int64_t channels, double (&total)[kSums][kIsaMaxChannels]) {
  for (auto& sums : total)
    for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
}
// total[c .. c + kN vectors) += sums of f(pixel, c), a vector, over a run of pixels, by kChains chains:
// a chain has every kChains-th pixel, so that an addition need not wait for the one before.
template <int kSums, int kN, int kChains, class F>
[[gnu::always_inline]] inline void add_sums_of_run(int64_t first, int64_t last, int64_t c, const F& f,
                                                   double (*total)[kIsaMaxChannels]) {
  Vec sum[kChains][kSums][kN] = {};
  const auto add = [&](int64_t p, Vec(&chain)[kSums][kN]) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int v = 0; v < kN; ++v) {
      Vec terms[kSums];
      f(p, c + v * kLanes, terms);
#pragma GCC unroll 2
      for (int s = 0; s < kSums; ++s) chain[s][v] += terms[s];
    }
  };
  int64_t p = first;
  for (; p + kChains <= last; p += kChains)
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) add(p + k, sum[k]);
#pragma GCC unroll 4
  for (int k = 0; k + 1 < kChains; ++k)
    if (p + k < last) add(p + k, sum[k]);
#pragma GCC unroll 2
  for (int s = 0; s < kSums; ++s)
#pragma GCC unroll 4
    for (int v = 0; v < kN; ++v) {
#pragma GCC unroll 4
      for (int k = 1; k < kChains; ++k) sum[0][s][v] += sum[k][s][v];
      add_lanes(sum[0][s][v], total[s] + c + v * kLanes);
    }
}
// total[c] += sums of f(pixel, c), run by run. How many chains depends on the image alone.
template <int kSums, class F>
[[gnu::always_inline]] inline void add_run_sums(const NormImage& image, const F& f,
                                                double (*total)[kIsaMaxChannels]) {
  constexpr int kN = 4, kChains = 4;
  for (int64_t first = 0; first < image.pixels; first += kNormRun) {
    const int64_t last = first + kNormRun < image.pixels ? first + kNormRun : image.pixels;
    if (image.channels % (kN * kIsaChannels) == 0)
      for (int64_t c = 0; c < image.channels; c += kN * kLanes)
        add_sums_of_run<kSums, kN, 1>(first, last, c, f, total);
    else
      for (int64_t c = 0; c < image.channels; c += kLanes)
        add_sums_of_run<kSums, 1, kChains>(first, last, c, f, total);
  }
}

// scale[c], shift[c]: what group norm multiplies channel c with, and adds.
void scale_and_shift(const NormImage& image, const float* gamma, const float* beta, const double* mean,
                     const double* rstd, float* scale, float* shift) {
  const int64_t width = image.channels / image.groups;
  for (int64_t g = 0; g < image.groups; ++g)
    for (int64_t c = g * width; c < (g + 1) * width; ++c) {
      const double by = rstd[g] * static_cast<double>(gamma[c]);
      scale[c] = static_cast<float>(by);
      shift[c] = static_cast<float>(static_cast<double>(beta[c]) - mean[g] * by);
    }
}

// f.operator()<relu>().
template <class F>
void with_relu(NormRelu relu, const F& f) {
  switch (relu) {
    case NormRelu::none:
      return f.template operator()<NormRelu::none>();
    case NormRelu::before:
      return f.template operator()<NormRelu::before>();
    case NormRelu::after:
      return f.template operator()<NormRelu::after>();
  }
}

template <NormRelu kRelu>
void forward(const NormImage& image, const float* x, const float* gamma, const float* beta, float* y,
             double* mean, double* rstd) {
  const int64_t channels = image.channels, width = channels / image.groups;
  const double count = static_cast<double>(image.pixels * width);
  const auto value = [&](int64_t p, int64_t c) __attribute__((always_inline)) {
    const Vec v = load(x + p * channels + c);
    return kRelu == NormRelu::before ? positive(v) : v;
  };
  double total[1][kIsaMaxChannels];
  zero_sums(channels, total);
  float centre[kIsaMaxChannels];
  add_run_sums<1>(
      image,
      [&](int64_t p, int64_t c, Vec * terms) __attribute__((always_inline)) { terms[0] = value(p, c); },
      total);
  for (int64_t g = 0; g < image.groups; ++g) {
    double sum = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += total[0][c];
    mean[g] = sum / count;
    for (int64_t c = g * width; c < (g + 1) * width; ++c)
      centre[c] = static_cast<float>(mean[g]), total[0][c] = 0;
  }
  add_run_sums<1>(
      image,
      [&](int64_t p, int64_t c, Vec * terms) __attribute__((always_inline)) {
        const Vec v = value(p, c) - load(centre + c);
        terms[0] = v * v;
      },
      total);
  for (int64_t g = 0; g < image.groups; ++g) {
    double squares = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) squares += total[0][c];
    rstd[g] = 1.0 / std::sqrt(squares / count + image.epsilon);
  }
  float scale[kIsaMaxChannels], shift[kIsaMaxChannels];
  scale_and_shift(image, gamma, beta, mean, rstd, scale, shift);
  for (int64_t p = 0; p < image.pixels; ++p)
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Vec v = value(p, c) * load(scale + c) + load(shift + c);
      store(y + p * channels + c, kRelu == NormRelu::after ? positive(v) : v);
    }
}

void group_norm(const NormImage& image, const float* x, const float* gamma, const float* beta, float* y,
                double* mean, double* rstd) {
  with_relu(image.relu, [&]<NormRelu kRelu>() { forward<kRelu>(image, x, gamma, beta, y, mean, rstd); });
}

template <NormRelu kRelu>
void backward(const NormImage& image, const float* x, const float* dy, const float* more, const float* gamma,
              const float* beta, const double* mean, const double* rstd, float* dx, float* dgamma,
              float* dbeta) {
  const int64_t channels = image.channels, width = channels / image.groups;
  const double count = static_cast<double>(image.pixels * width);
  const auto value = [&](int64_t p, int64_t c) __attribute__((always_inline)) {
    const Vec v = load(x + p * channels + c);
    return kRelu == NormRelu::before ? positive(v) : v;
  };
  float scale[kIsaMaxChannels], shift[kIsaMaxChannels];
  if (kRelu == NormRelu::after) scale_and_shift(image, gamma, beta, mean, rstd, scale, shift);
  const auto arriving = [&](int64_t p, int64_t c, Vec v) __attribute__((always_inline)) {
    const Vec g = load(dy + p * channels + c);
    if constexpr (kRelu == NormRelu::after) return v * load(scale + c) + load(shift + c) > 0 ? g : Vec{};
    return g;
  };
  double total[2][kIsaMaxChannels];  // of what arrives at the norm, of that times (x - mean)
  zero_sums(channels, total);
  float centre[kIsaMaxChannels];
  for (int64_t g = 0; g < image.groups; ++g)
    for (int64_t c = g * width; c < (g + 1) * width; ++c) centre[c] = static_cast<float>(mean[g]);
  add_run_sums<2>(
      image,
      [&](int64_t p, int64_t c, Vec * terms) __attribute__((always_inline)) {
        const Vec v = value(p, c), g = arriving(p, c, v);
        terms[0] = g;
        terms[1] = g * (v - load(centre + c));
      },
      total);
  float by_dy[kIsaMaxChannels], by_x[kIsaMaxChannels], constant[kIsaMaxChannels];
  for (int64_t g = 0; g < image.groups; ++g) {
    const double m = mean[g], r = rstd[g];
    double a = 0, b = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) {
      const double dot = total[1][c] * r;
      dbeta[c] += static_cast<float>(total[0][c]);
      dgamma[c] += static_cast<float>(dot);
      a += static_cast<double>(gamma[c]) * total[0][c];
      b += static_cast<double>(gamma[c]) * dot;
    }
    a /= count;
    b /= count;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) {
      by_dy[c] = static_cast<float>(r * static_cast<double>(gamma[c]));
      by_x[c] = static_cast<float>(-r * r * b);
      constant[c] = static_cast<float>(r * (r * b * m - a));
    }
  }
  if (!dx) return;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Vec of_dy = load(by_dy + c), of_x = load(by_x + c), plus = load(constant + c);
    for (int64_t p = 0; p < image.pixels; ++p) {
      const int64_t at = p * channels + c;
      const Vec v = value(p, c);
      Vec d = of_dy * arriving(p, c, v) + of_x * v + plus;
      if (kRelu == NormRelu::before) d = v > 0 ? d : Vec{};
      store(dx + at, more ? d + load(more + at) : d);
    }
  }
}

void group_norm_backward(const NormImage& image, const float* x, const float* dy, const float* more,
                         const float* gamma, const float* beta, const double* mean, const double* rstd,
                         float* dx, float* dgamma, float* dbeta) {
  with_relu(image.relu, [&]<NormRelu kRelu>() {
    backward<kRelu>(image, x, dy, more, gamma, beta, mean, rstd, dx, dgamma, dbeta);
  });
}

// Along memory: both tensors may be too large for any cache.
void column_sums(const float* g, const float* u, int64_t fan_in, int64_t outputs, double* sum, double* dot) {
  constexpr int64_t kRows = 8;  // that are added in float
  for (int64_t o = 0; o < outputs; ++o) sum[o] = dot[o] = 0;
  for (int64_t first = 0; first < fan_in; first += kRows) {
    const int64_t end = (first + kRows < fan_in ? first + kRows : fan_in) * outputs;
    for (int64_t o = 0; o < outputs; o += kLanes) {
      Vec s = {}, d = {};
      for (int64_t at = first * outputs + o; at < end; at += outputs) {
        s += load(g + at);
        d += load(g + at) * load(u + at);
      }
      add_lanes(s, sum + o);
      add_lanes(d, dot + o);
    }
  }
}

void add_columns(const float* g, int64_t rows, int64_t columns, float* sum) {
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    Vec total = {};
    for (int64_t i = 0; i < rows; ++i) total += load(g + i * columns + c);
    store(sum + c, load(sum + c) + total);
  }
  for (; c < columns; ++c) {
    float total = 0;
    for (int64_t i = 0; i < rows; ++i) total += g[i * columns + c];
    sum[c] += total;
  }
}

// Few outputs vector by vector, whose factors stay in registers; many along memory.
void project(float* g, const float* u, int64_t fan_in, int64_t outputs, const float* factor,
             const float* mean, const float* along) {
  const auto one = [&](int64_t at, Vec by, Vec less, Vec times) __attribute__((always_inline)) {
    store(g + at, by * (load(g + at) - less - load(u + at) * times));
  };
  if (outputs < 4 * kIsaChannels) {
    for (int64_t o = 0; o < outputs; o += kLanes) {
      const Vec by = load(factor + o), less = load(mean + o), times = load(along + o);
      for (int64_t at = o; at < fan_in * outputs; at += outputs) one(at, by, less, times);
    }
  } else {
    for (int64_t first = 0; first < fan_in * outputs; first += outputs)
      for (int64_t o = 0; o < outputs; o += kLanes)
        one(first + o, load(factor + o), load(mean + o), load(along + o));
  }
}

// y[l] = x w[l] + bias[l] for kCount labels; w [kCount, features]. 64 partial sums each, in the same order in
// every build.
template <int kCount>
[[gnu::always_inline]] inline void classify_some(const float* x, const float* w, const float* bias,
                                                 int64_t features, float* y) {
  constexpr int kWide = 16, kChains = 4, kN = kWide / kLanes;
  Vec sum[kCount][kChains][kN] = {};
  // kWide features from `in`, the weights of label l from column + l * step.
  const auto add = [&](const float* in, const float* column, int64_t step, int chain)
      __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int i = 0; i < kN; ++i) {
      const Vec some = load(in + i * kLanes);
#pragma GCC unroll 2
      for (int l = 0; l < kCount; ++l) sum[l][chain][i] += some * load(column + l * step + i * kLanes);
    }
  };
  int64_t f = 0;
  for (; f + kChains * kWide <= features; f += kChains * kWide)
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) add(x + f + k * kWide, w + f + k * kWide, features, k);
  for (; f + kWide <= features; f += kWide) add(x + f, w + f, features, 0);
  if (f < features) {  // what is left, and zeros
    float in[kWide] = {}, columns[kCount][kWide] = {};
    for (int64_t rest = f; rest < features; ++rest) {
      in[rest - f] = x[rest];
      for (int l = 0; l < kCount; ++l) columns[l][rest - f] = w[l * features + rest];
    }
    add(in, &columns[0][0], kWide, 0);
  }
#pragma GCC unroll 2
  for (int l = 0; l < kCount; ++l) {
    float lanes[kWide];
#pragma GCC unroll 4
    for (int i = 0; i < kN; ++i)
      store(lanes + i * kLanes, (sum[l][0][i] + sum[l][1][i]) + (sum[l][2][i] + sum[l][3][i]));
    for (int half = kWide / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    y[l] = lanes[0] + bias[l];
  }
}
void classify(const float* x, const float* transposed_w, const float* bias, int64_t views, int64_t features,
              int64_t labels, float* y) {
  for (int64_t v = 0; v < views; ++v, x += features, y += labels) {
    int64_t l = 0;
    for (; l + 2 <= labels; l += 2)
      classify_some<2>(x, transposed_w + l * features, bias + l, features, y + l);
    if (l < labels) classify_some<1>(x, transposed_w + l * features, bias + l, features, y + l);
  }
}

// kLanes features at a time: their rows are `labels` vectors of numbers without a gap, where a matrix product
// of so few columns over so few views takes many times as long. Number t of them is x[t / labels] g[t %
// labels]. kLabels: of one view, whose vectors then stay in registers; 0: any number, any views.
template <int kLabels>
void outer_products_of(const float* x, const float* g, int64_t views, int64_t features, int64_t any_labels,
                       float* dw) {
  const int64_t labels = kLabels > 0 ? kLabels : any_labels;
  Lanes feature[kIsaLabels];
  float repeated[kIsaViews * kIsaLabels * kLanes];
  for (int64_t t = 0; t < labels * kLanes; ++t) {
    feature[t / kLanes][t % kLanes] = static_cast<int32_t>(t / labels);
    for (int64_t v = 0; v < views; ++v) repeated[v * labels * kLanes + t] = g[v * labels + t % labels];
  }
  int64_t f = 0;
  if constexpr (kLabels > 0) {
    Lanes from[kLabels];
    Vec by[kLabels];
#pragma GCC unroll 16
    for (int l = 0; l < kLabels; ++l) from[l] = feature[l], by[l] = load(repeated + l * kLanes);
    for (; f + kLanes <= features; f += kLanes, dw += kLabels * kLanes) {
      const Vec some = load(x + f);
#pragma GCC unroll 16
      for (int l = 0; l < kLabels; ++l) store(dw + l * kLanes, Vec{} + permuted(some, from[l]) * by[l]);
    }
  }
  for (; f + kLanes <= features; f += kLanes, dw += labels * kLanes)
    for (int64_t l = 0; l < labels; ++l) {
      Vec sum = {};
      for (int64_t v = 0; v < views; ++v)
        sum += permuted(load(x + v * features + f), feature[l]) * load(repeated + (v * labels + l) * kLanes);
      store(dw + l * kLanes, sum);
    }
  for (; f < features; ++f, dw += labels)
    for (int64_t l = 0; l < labels; ++l) {
      float sum = 0;
      for (int64_t v = 0; v < views; ++v) sum = multiply_add(x[v * features + f], g[v * labels + l], sum);
      dw[l] = sum;
    }
}
void outer_products(const float* x, const float* g, int64_t views, int64_t features, int64_t labels,
                    float* dw) {
  (labels == 10 && views == 1 ? outer_products_of<10> : outer_products_of<0>)(x, g, views, features, labels,
                                                                              dw);
}

void classify_backward(const float* g, const float* transposed_w, int64_t views, int64_t features,
                       int64_t labels, float* dx) {
  constexpr int kN = 4;
  for (int64_t v = 0; v < views; ++v, g += labels, dx += features) {
    int64_t f = 0;
    for (; f + kN * kLanes <= features; f += kN * kLanes) {
      Vec sum[kN] = {};
      for (int64_t l = 0; l < labels; ++l)
        for (int i = 0; i < kN; ++i) sum[i] += g[l] * load(transposed_w + l * features + f + i * kLanes);
      for (int i = 0; i < kN; ++i) store(dx + f + i * kLanes, sum[i]);
    }
    for (; f < features; ++f) {
      float sum = 0;
      for (int64_t l = 0; l < labels; ++l) sum = multiply_add(g[l], transposed_w[l * features + f], sum);
      dx[f] = sum;
    }
  }
}

}  // namespace

const IsaKernels& PG_FOR_ISA(isa_kernels_)() {
  static constexpr IsaKernels kKernels{group_norm, group_norm_backward, column_sums,       add_columns,
                                       classify,   outer_products,      classify_backward, project};
  return kKernels;
}

}  // namespace pergrad
// NOLINTEND(clang-analyzer-core.*)
