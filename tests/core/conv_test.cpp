// Convolution: the fast float kernels against the double reference over many shapes; the three builds
// against each other; the reference against a definition written differently.
#include "core/conv.h"
#include "core/philox.h"
#include "core/conv_builds.h"
#include "core/cpu.h"
#include "tests/support/compare.h"
#include "tests/support/guards.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <numeric>

namespace pergrad::test {
namespace {

int64_t pick(PhiloxStream& random, std::initializer_list<int64_t> values) {
  return values.begin()[random.below(static_cast<uint32_t>(values.size()))];
}

ConvShape random_shape(PhiloxStream& random) {
  ConvShape s;
  do {
    s.kernel = pick(random, {1, 1, 2, 3, 3, 3, 4, 5, 8});
    s.stride = pick(random, {1, 1, 2, 2, 3});
    s.pad = pick(random, {0, 1, 1, 2, 3});
    s.height = 1 + random.below(11);
    s.width = 1 + random.below(11);
    s.channels = pick(random, {1, 3, 5, 16, 16, 32, 48});
    s.outputs = pick(random, {1, 7, 10, 16, 16, 32, 48, 64, 80});
  } while (s.height + 2 * s.pad < s.kernel || s.width + 2 * s.pad < s.kernel);
  return s;
}

std::string text(const ConvShape& s) {
  return concat(s.height, 'x', s.width, " C", s.channels, " O", s.outputs, " k", s.kernel, " s", s.stride,
                " p", s.pad);
}

Tensor as_tensor(const std::vector<float>& v) {
  return Tensor::of<float>({static_cast<int64_t>(v.size())}, v);
}

TEST(Conv, FastKernelsAgreeWithTheDoubleReference) {
  PhiloxStream random(2024, 1);
  Workspace workspace;
  for (int trial = 0; trial < 300; ++trial) {
    const ConvShape s = random_shape(random);
    SCOPED_TRACE(text(s));
    const auto seed = static_cast<uint64_t>(trial) * 10;
    const Tensor x = random_tensor({s.input_size()}, DType::f32, seed);
    const Tensor w = random_tensor({s.kernel, s.kernel, s.channels, s.outputs}, DType::f32, seed + 1);
    const Tensor dy = random_tensor({s.output_size()}, DType::f32, seed + 2);
    const Tensor dw = random_tensor({s.weight_size()}, DType::f32, seed + 3);  // what was there before
    const bool accumulate = trial % 2 == 0;
    const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64),
                 dw64 = accumulate ? dw.to(DType::f64) : Tensor::zeros(dw.shape(), DType::f64),
                 y64 = Tensor::empty({s.output_size()}, DType::f64),
                 dx64 = Tensor::empty({s.input_size()}, DType::f64);
    conv_reference::forward(s, x64.data<double>(), w64.data<double>(), y64.data<double>());
    conv_reference::input_gradient(s, dy64.data<double>(), w64.data<double>(), dx64.data<double>());
    conv_reference::weight_gradient(s, x64.data<double>(), dy64.data<double>(), dw64.data<double>());

    const ConvWeights weights(s, w, true);
    Guarded<float> y(s.output_size(), 99), dx(s.input_size(), 99), sum(s.weight_size());
    std::copy_n(dw.data<float>(), dw.size(), sum.data());
    const Tensor in = weights.input(x.reshape({s.height, s.width, s.channels}), workspace);
    weights.forward(in.data<float>(), nullptr, y.data(), workspace);
    weights.input_gradient(dy.data<float>(), dx.data(), workspace);
    weights.weight_gradient(in.data<float>(), dy.data<float>(), sum.data(), accumulate, workspace);
    EXPECT_TRUE(y.intact() && dx.intact() && sum.intact());
    EXPECT_LE(normalised_error(as_tensor(y.values()), y64), kFloatOpTolerance);
    EXPECT_LE(normalised_error(as_tensor(dx.values()), dx64), kFloatOpTolerance);
    EXPECT_LE(normalised_error(as_tensor(sum.values()), dw64), kFloatOpTolerance);
  }
}

TEST(Conv, ReferenceIsTheTextbookSum) {
  // y[i, j, o] = sum_{r, q, c} x[i s + r - p, j s + q - p, c] w[r, q, c, o], read off the definition.
  const ConvShape s{5, 4, 2, 3, 3, 2, 1};
  const Tensor x = random_tensor({s.height, s.width, s.channels}, DType::f64, 1);
  const Tensor w = random_tensor({s.kernel, s.kernel, s.channels, s.outputs}, DType::f64, 2);
  std::vector<double> y(static_cast<size_t>(s.output_size()));
  conv_reference::forward(s, x.data<double>(), w.data<double>(), y.data());
  const auto pixel = [&](int64_t i, int64_t j, int64_t c) {
    return i < 0 || j < 0 || i >= 5 || j >= 4 ? 0.0 : x.data<double>()[(i * 4 + j) * 2 + c];
  };
  EXPECT_EQ(s.out_h(), 3);
  EXPECT_EQ(s.out_w(), 2);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t o = 0; o < 3; ++o) {
        double sum = 0;
        for (int64_t r = 0; r < 3; ++r)
          for (int64_t q = 0; q < 3; ++q)
            for (int64_t c = 0; c < 2; ++c)
              sum += pixel(2 * i + r - 1, 2 * j + q - 1, c) * w.data<double>()[((r * 3 + q) * 2 + c) * 3 + o];
        EXPECT_NEAR(y[static_cast<size_t>((i * 2 + j) * 3 + o)], sum, 1e-13);
      }
}

TEST(Conv, GradientsAreTheAdjointsOfForward) {
  // <conv(x, w), dy> is linear in x and in w: it equals <x, dx> and <w, dw>.
  PhiloxStream random(7, 7);
  for (int trial = 0; trial < 50; ++trial) {
    const ConvShape s = random_shape(random);
    const auto seed = static_cast<uint64_t>(trial);
    const Tensor x = random_tensor({s.input_size()}, DType::f64, seed),
                 w = random_tensor({s.weight_size()}, DType::f64, seed + 100),
                 dy = random_tensor({s.output_size()}, DType::f64, seed + 200),
                 y = Tensor::zeros({s.output_size()}, DType::f64),
                 dx = Tensor::zeros({s.input_size()}, DType::f64),
                 dw = Tensor::zeros({s.weight_size()}, DType::f64);
    conv_reference::forward(s, x.data<double>(), w.data<double>(), y.data<double>());
    conv_reference::input_gradient(s, dy.data<double>(), w.data<double>(), dx.data<double>());
    conv_reference::weight_gradient(s, x.data<double>(), dy.data<double>(), dw.data<double>());
    const auto dot = [](const Tensor& a, const Tensor& b) {
      return std::inner_product(a.data<double>(), a.data<double>() + a.size(), b.data<double>(), 0.0);
    };
    const double value = dot(y, dy), scale = std::sqrt(dot(y, y) * dot(dy, dy)) + 1e-300;
    EXPECT_NEAR(dot(x, dx) / scale, value / scale, 1e-12) << text(s);
    EXPECT_NEAR(dot(w, dw) / scale, value / scale, 1e-12) << text(s);
  }
}

TEST(Conv, AStepThatWantsNoInputGradientStillHasOne) {
  // Laying out less changes speed, not results (double always runs the reference).
  const ConvShape s{4, 4, 16, 16, 3, 1, 1};
  const Tensor w = random_tensor({3, 3, 16, 16}, DType::f32, 1),
               dy = random_tensor({s.output_size()}, DType::f32, 2);
  Workspace workspace;
  std::vector<float> a(static_cast<size_t>(s.input_size())), b(a.size());
  ConvWeights(s, w, true).input_gradient(dy.data<float>(), a.data(), workspace);
  ConvWeights(s, w, false).input_gradient(dy.data<float>(), b.data(), workspace);
  EXPECT_LE(normalised_error(as_tensor(a), as_tensor(b)), kFloatOpTolerance);
}

// ------------------------------------------------ the three builds of the kernels

struct Build {
  const char* name;
  const DirectKernels& kernels;
  const WinogradKernels& winograd;
  bool fused;  // with fused multiply-add: these give the same bits as each other
};

std::vector<Build> builds() {
  std::vector<Build> all = {{"baseline", direct_kernels_baseline(), winograd_kernels_baseline(), false}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    all.push_back({"x86-64-v3", direct_kernels_x86_64_v3(), winograd_kernels_x86_64_v3(), true});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    all.push_back({"x86-64-v4", direct_kernels_x86_64_v4(), winograd_kernels_x86_64_v4(), true});
  return all;
}

TEST(ConvBuilds, TheBestOneOfThisProcessorIsChosen) {
  EXPECT_EQ(instruction_set_name(), builds().back().name);
}

// A gather with random tables: any pixels, any taps, outputs in any order.
TEST(ConvBuilds, GatherDoesWhatItsContractSays) {
  if (builds().size() < 3) std::puts("[ note     ] this processor runs only some of the builds");
  PhiloxStream random(11, 1);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t pixels = pick(random, {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 40});
    const int64_t all_taps = 1 + random.below(9), in_channels = pick(random, {1, 3, 9, 16, 17, 48});
    const int64_t out_channels = pick(random, {16, 32, 48, 64, 80});
    const int64_t in_size = 600;
    std::vector<int32_t> in_offset, out_offset, tap_offset, tap_index;
    for (int64_t p = 0; p < pixels; ++p) {
      in_offset.push_back(static_cast<int32_t>(random.below(300)));
      out_offset.push_back(static_cast<int32_t>(p * out_channels));
    }
    for (size_t i = out_offset.size(); i > 1; --i)
      std::swap(out_offset[i - 1], out_offset[random.below(static_cast<uint32_t>(i))]);
    for (int64_t t = 0; t < all_taps; ++t)
      if (random.below(4) != 0) {  // some taps are left out, perhaps all
        tap_index.push_back(static_cast<int32_t>(t));
        tap_offset.push_back(static_cast<int32_t>(random.below(250)));
      }
    const auto taps = static_cast<int64_t>(tap_index.size());
    const GatherConv conv{pixels,   in_offset.data(),  out_offset.data(),
                          taps,     tap_offset.data(), tap_index.data(),
                          all_taps, in_channels,       out_channels};
    const auto seed = static_cast<uint64_t>(trial);
    const Tensor in = random_tensor({in_size}, DType::f32, seed);
    const Tensor w = random_tensor({all_taps, in_channels, out_channels}, DType::f32, seed + 1000);
    const Tensor wanted = Tensor::zeros({pixels * out_channels}, DType::f64);
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < in_channels; ++c)
          for (int64_t o = 0; o < out_channels; ++o)
            wanted.data<double>()[out_offset[static_cast<size_t>(p)] + o] +=
                static_cast<double>(in.data<float>()[in_offset[static_cast<size_t>(p)] +
                                                     tap_offset[static_cast<size_t>(t)] + c]) *
                w.data<float>()[(tap_index[static_cast<size_t>(t)] * in_channels + c) * out_channels + o];
    std::vector<float> fused;
    for (const Build& build : builds()) {
      SCOPED_TRACE(
          concat(build.name, " pixels ", pixels, " taps ", taps, " in ", in_channels, " out ", out_channels));
      Guarded<float> panels(w.size()), out(pixels * out_channels, 99);
      build.kernels.pack(w.data<float>(), all_taps, in_channels, out_channels, in_channels * out_channels,
                         out_channels, 1, panels.data());
      build.kernels.gather(conv, in.data<float>(), panels.data(), nullptr, out.data());
      EXPECT_TRUE(panels.intact() && out.intact());
      EXPECT_LE(normalised_error(as_tensor(out.values()), wanted), kFloatOpTolerance);
      if (!build.fused) continue;
      if (fused.empty()) fused = out.values();
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(out.values())));
    }
  }
}

TEST(ConvBuilds, WeightGradientDoesWhatItsContractSays) {
  PhiloxStream random(12, 1);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t rows = 1 + random.below(40), out_h = 1 + random.below(13), out_w = 1 + random.below(7);
    const int64_t channels = pick(random, {16, 32, 48, 64, 80});
    const int64_t pixel_step = 1 + random.below(5), line_step = pixel_step * out_w + random.below(3);
    std::vector<int32_t> row_offset;
    for (int64_t r = 0; r < rows; ++r) row_offset.push_back(static_cast<int32_t>(random.below(50)));
    const WeightGradient conv{rows, row_offset.data(), out_h, out_w, pixel_step, line_step, channels};
    const auto seed = static_cast<uint64_t>(trial);
    const Tensor in = random_tensor({line_step * out_h + 50}, DType::f32, seed);
    const Tensor dy = random_tensor({out_h, out_w, channels}, DType::f32, seed + 1000);
    const Tensor before = random_tensor({rows, channels}, DType::f32, seed + 2000);
    const bool accumulate = trial % 2 == 0;
    const Tensor wanted = accumulate ? before.to(DType::f64).reshape({rows * channels})
                                     : Tensor::zeros({rows * channels}, DType::f64);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t y = 0; y < out_h; ++y)
        for (int64_t x = 0; x < out_w; ++x)
          for (int64_t o = 0; o < channels; ++o)
            wanted.data<double>()[r * channels + o] +=
                static_cast<double>(
                    in.data<float>()[row_offset[static_cast<size_t>(r)] + y * line_step + x * pixel_step]) *
                dy.data<float>()[(y * out_w + x) * channels + o];
    std::vector<float> fused;
    for (const Build& build : builds()) {
      SCOPED_TRACE(concat(build.name, " rows ", rows, " pixels ", out_h, 'x', out_w, " out ", channels));
      Guarded<float> dw(rows * channels);
      std::copy_n(before.data<float>(), before.size(), dw.data());
      build.kernels.weight_gradient(conv, in.data<float>(), dy.data<float>(), dw.data(), accumulate);
      EXPECT_TRUE(dw.intact());
      EXPECT_LE(normalised_error(as_tensor(dw.values()), wanted), kFloatOpTolerance);
      if (!build.fused) continue;
      if (fused.empty()) fused = dw.values();
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(dw.values())));
    }
  }
}

// Small integers: every number on the way is a multiple of 1/4 that float holds, so Winograd's way must give
// the integers of the plain loops, not only numbers near them.
TEST(ConvBuilds, WinogradIsExactOnSmallIntegers) {
  PhiloxStream random(13, 1);
  const auto integers = [&](int64_t n) {
    Tensor t = Tensor::empty({n}, DType::f32);
    for (float& v : t.values<float>()) v = static_cast<float>(random.below(7)) - 3;
    return t;
  };
  for (int trial = 0; trial < 60; ++trial) {
    ConvShape s{1 + random.below(19),
                1 + random.below(19),
                pick(random, {16, 32, 48}),
                pick(random, {16, 32, 48, 80}),
                3,
                1,
                random.below(3)};
    if (s.height + 2 * s.pad < 3 || s.width + 2 * s.pad < 3) continue;
    const Tensor x = integers(s.input_size()), w = integers(s.weight_size()), dy = integers(s.output_size()),
                 bias = integers(s.outputs), before = integers(s.weight_size());
    std::vector<float> y(static_cast<size_t>(s.output_size())), dx(static_cast<size_t>(s.input_size()));
    conv_reference::forward(s, x.data<float>(), w.data<float>(), y.data());
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias.data<float>()[static_cast<int64_t>(i) % s.outputs];
    conv_reference::input_gradient(s, dy.data<float>(), w.data<float>(), dx.data());
    const Tensor dw = before.clone();
    conv_reference::weight_gradient(s, x.data<float>(), dy.data<float>(), dw.data<float>());

    const auto conv = [](int64_t h, int64_t w_, int64_t pad, int64_t in, int64_t out) {
      const int64_t out_h = h + 2 * pad - 2, out_w = w_ + 2 * pad - 2, tiles_w = (out_w + 1) / 2;
      return WinogradConv{h, w_, out_h, out_w, pad, in, out, tiles_w, (out_h + 1) / 2 * tiles_w};
    };
    const WinogradConv forward = conv(s.height, s.width, s.pad, s.channels, s.outputs),
                       backward = conv(s.out_h(), s.out_w(), 2 - s.pad, s.outputs, s.channels);
    for (const Build& build : builds()) {
      SCOPED_TRACE(concat(build.name, ' ', text(s)));
      const auto scratch = [&](const WinogradConv& c, int64_t strip) {
        return Guarded<float>(16 * (std::min(strip, c.tiles) * (s.channels + s.outputs) + 2 * kWinogradGap));
      };
      const auto panels = [&](int64_t in, int64_t out, int64_t in_stride, int64_t out_stride, bool rotated) {
        std::vector<float> packed(static_cast<size_t>(s.weight_size()));
        build.kernels.pack(w.data<float>(), 9, in, out, s.channels * s.outputs, in_stride, out_stride,
                           packed.data());
        Guarded<float> all(16 * in * out);
        build.winograd.panels(packed.data(), in, out, rotated, all.data());
        EXPECT_TRUE(all.intact());
        return all.values();
      };
      Guarded<float> fast_y(s.output_size(), 99), fast_dx(s.input_size(), 99), fast_dw(s.weight_size());
      Guarded<float> a = scratch(forward, kWinogradStrip), b = scratch(backward, kWinogradStrip),
                     c = scratch(forward, kWinogradGradientStrip);
      build.winograd.convolve(forward, x.data<float>(),
                              panels(s.channels, s.outputs, s.outputs, 1, false).data(), bias.data<float>(),
                              fast_y.data(), a.data());
      build.winograd.convolve(backward, dy.data<float>(),
                              panels(s.outputs, s.channels, 1, s.outputs, true).data(), nullptr,
                              fast_dx.data(), b.data());
      const bool accumulate = trial % 2 == 0;
      std::copy_n(before.data<float>(), before.size(), fast_dw.data());
      build.winograd.weight_gradient(forward, x.data<float>(), dy.data<float>(), fast_dw.data(), accumulate,
                                     c.data());
      EXPECT_TRUE(fast_y.intact() && fast_dx.intact() && fast_dw.intact() && a.intact() && b.intact() &&
                  c.intact());
      EXPECT_EQ(fast_y.values(), y);
      EXPECT_EQ(fast_dx.values(), dx);
      std::vector<float> wanted = {dw.data<float>(), dw.data<float>() + dw.size()};
      if (!accumulate)
        for (size_t i = 0; i < wanted.size(); ++i) wanted[i] -= before.data<float>()[i];
      EXPECT_EQ(fast_dw.values(), wanted);
    }
  }
}

TEST(ConvBuilds, BuildsWithFusedMultiplyAddGiveTheSameWinogradBits) {
  PhiloxStream random(14, 1);
  for (int trial = 0; trial < 20; ++trial) {
    const ConvShape s{2 + random.below(15), 2 + random.below(15), 32, 48, 3, 1, 1};
    const auto seed = static_cast<uint64_t>(trial);
    const Tensor x = random_tensor({s.input_size()}, DType::f32, seed),
                 w = random_tensor({s.weight_size()}, DType::f32, seed + 100),
                 dy = random_tensor({s.output_size()}, DType::f32, seed + 200);
    const int64_t tiles_w = (s.width + 1) / 2;
    const WinogradConv conv{s.height,  s.width, s.height,
                            s.width,   1,       s.channels,
                            s.outputs, tiles_w, (s.height + 1) / 2 * tiles_w};
    std::vector<float> first_y, first_dw;
    for (const Build& build : builds()) {
      std::vector<float> packed(static_cast<size_t>(s.weight_size())), panels(packed.size() / 9 * 16),
          scratch(static_cast<size_t>(16 * conv.tiles * (s.channels + s.outputs))),
          y(static_cast<size_t>(s.output_size())), dw(packed.size());
      build.kernels.pack(w.data<float>(), 9, s.channels, s.outputs, s.channels * s.outputs, s.outputs, 1,
                         packed.data());
      build.winograd.panels(packed.data(), s.channels, s.outputs, false, panels.data());
      build.winograd.convolve(conv, x.data<float>(), panels.data(), nullptr, y.data(), scratch.data());
      build.winograd.weight_gradient(conv, x.data<float>(), dy.data<float>(), dw.data(), false,
                                     scratch.data());
      if (!build.fused) continue;
      if (first_y.empty()) first_y = y, first_dw = dw;
      EXPECT_TRUE(same_bits(as_tensor(first_y), as_tensor(y))) << build.name << ' ' << text(s);
      EXPECT_TRUE(same_bits(as_tensor(first_dw), as_tensor(dw))) << build.name << ' ' << text(s);
    }
  }
}

// The builds for processors that have it do use it: (1 + e)^2 - 1 - 2 e = e^2 only where the product is not
// rounded before it is added.
TEST(ConvBuilds, MultiplyAddIsFusedWhereTheProcessorHasIt) {
  const float e = 0x1p-13f;
  const std::vector<float> in = {1, 1 + e}, w = [&] {
    std::vector<float> all(32);
    for (size_t o = 0; o < 16; ++o) all[o] = -1 - 2 * e, all[16 + o] = 1 + e;
    return all;
  }();
  const int32_t zero = 0;
  const GatherConv conv{1, &zero, &zero, 1, &zero, &zero, 1, 2, 16};
  for (const Build& build : builds()) {
    std::vector<float> panels(32), out(16);
    build.kernels.pack(w.data(), 1, 2, 16, 32, 16, 1, panels.data());
    build.kernels.gather(conv, in.data(), panels.data(), nullptr, out.data());
    EXPECT_EQ(out[0], build.fused ? e * e : 0.0f) << build.name;
  }
}

}  // namespace
}  // namespace pergrad::test
