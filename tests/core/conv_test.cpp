// Convolution: the fast float kernels against the double reference over many shapes; the three builds
// against each other; the reference against a definition written differently.
#include "core/conv.h"
#include "core/philox.h"
#include "core/conv_direct.h"
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
    const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64),
                 dw64 = dw.to(DType::f64), y64 = Tensor::empty({s.output_size()}, DType::f64),
                 dx64 = Tensor::empty({s.input_size()}, DType::f64);
    conv_reference::forward(s, x64.data<double>(), w64.data<double>(), y64.data<double>());
    conv_reference::input_gradient(s, dy64.data<double>(), w64.data<double>(), dx64.data<double>());
    conv_reference::weight_gradient(s, x64.data<double>(), dy64.data<double>(), dw64.data<double>());

    const ConvWeights weights(s, w, true);
    Guarded<float> y(s.output_size(), 99), dx(s.input_size(), 99), sum(s.weight_size());
    std::copy_n(dw.data<float>(), dw.size(), sum.data());
    weights.forward(x.data<float>(), y.data(), workspace);
    weights.input_gradient(dy.data<float>(), dx.data(), workspace);
    weights.weight_gradient(x.data<float>(), dy.data<float>(), sum.data(), workspace);
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
  const ConvKernels& kernels;
  bool fused;  // with fused multiply-add: these give the same bits as each other
};

std::vector<Build> builds() {
  std::vector<Build> all = {{"baseline", conv_kernels_baseline(), false}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    all.push_back({"x86-64-v3", conv_kernels_x86_64_v3(), true});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    all.push_back({"x86-64-v4", conv_kernels_x86_64_v4(), true});
  return all;
}

TEST(ConvBuilds, TheBestOneOfThisProcessorIsChosen) {
  EXPECT_EQ(conv_instruction_set(), builds().back().name);
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
      build.kernels.gather(conv, in.data<float>(), panels.data(), out.data());
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
    const Tensor wanted = before.to(DType::f64).reshape({rows * channels});
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
      build.kernels.weight_gradient(conv, in.data<float>(), dy.data<float>(), dw.data());
      EXPECT_TRUE(dw.intact());
      EXPECT_LE(normalised_error(as_tensor(dw.values()), wanted), kFloatOpTolerance);
      if (!build.fused) continue;
      if (fused.empty()) fused = dw.values();
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(dw.values())));
    }
  }
}

}  // namespace
}  // namespace pergrad::test
