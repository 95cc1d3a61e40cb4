// The three builds of the vector kernels against the plain loops in double, and against each other.
#include "autograd/group_norm_kernels.h"
#include "autograd/isa_kernels.h"
#include "core/cpu.h"
#include "tests/support/compare.h"
#include "tests/support/guards.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <limits>

namespace pergrad::test {
namespace {

struct Build {
  const char* name;
  const IsaKernels& kernels;
  bool fused;  // these give the same bits as each other
};

std::vector<Build> builds() {
  std::vector<Build> all = {{"baseline", isa_kernels_baseline(), false}};
  if (instruction_set() >= InstructionSet::x86_64_v3)
    all.push_back({"x86-64-v3", isa_kernels_x86_64_v3(), true});
  if (instruction_set() >= InstructionSet::x86_64_v4)
    all.push_back({"x86-64-v4", isa_kernels_x86_64_v4(), true});
  return all;
}

Tensor doubles(const Tensor& t) { return t.to(DType::f64); }
Tensor as_tensor(const std::vector<float>& v) {
  return Tensor::of<float>({static_cast<int64_t>(v.size())}, v);
}

TEST(IsaKernels, GroupNormAgreesWithThePlainLoopsInDouble) {
  for (const auto& [pixels, channels, groups] : {std::array<int64_t, 3>{1, 16, 4},
                                                 {6, 16, 16},
                                                 {kNormRun + 3, 48, 3},
                                                 {3 * kNormRun, 32, 4},
                                                 {2 * kNormRun + 5, 64, 16},
                                                 {12, 80, 5},
                                                 {9, 144, 9},
                                                 {4, 1024, 1}})
    for (const NormRelu relu : {NormRelu::none, NormRelu::before, NormRelu::after})
      for (const bool with_more : {false, true}) {
        const NormImage image{pixels, channels, groups, relu, kernels::kGroupNormEpsilon};
        const int64_t size = pixels * channels;
        const Tensor x = random_tensor({size}, DType::f32, 1), dy = random_tensor({size}, DType::f32, 2),
                     more = random_tensor({size}, DType::f32, 3),
                     gamma = random_tensor({channels}, DType::f32, 4),
                     beta = random_tensor({channels}, DType::f32, 5);
        const auto blank = [](int64_t n) { return Tensor::zeros({n}, DType::f64); };
        const Tensor y = blank(size), dx = blank(size), mean = blank(groups), rstd = blank(groups),
                     dgamma = blank(channels), dbeta = blank(channels);
        kernels::group_norm(image, doubles(x).data<double>(), doubles(gamma).data<double>(),
                            doubles(beta).data<double>(), y.data<double>(), mean.data<double>(),
                            rstd.data<double>());
        kernels::group_norm_backward(image, doubles(x).data<double>(), doubles(dy).data<double>(),
                                     with_more ? doubles(more).data<double>() : nullptr,
                                     doubles(gamma).data<double>(), doubles(beta).data<double>(),
                                     mean.data<double>(), rstd.data<double>(), dx.data<double>(),
                                     dgamma.data<double>(), dbeta.data<double>());
        std::vector<float> fused;
        for (const Build& build : builds()) {
          SCOPED_TRACE(concat(build.name, " pixels ", pixels, " channels ", channels, " groups ", groups,
                              " relu ", static_cast<int>(relu), " more ", with_more));
          Guarded<float> fast_y(size), fast_dx(size), fast_dgamma(channels), fast_dbeta(channels);
          Guarded<double> fast_mean(groups), fast_rstd(groups);
          build.kernels.group_norm(image, x.data<float>(), gamma.data<float>(), beta.data<float>(),
                                   fast_y.data(), fast_mean.data(), fast_rstd.data());
          std::copy_n(more.data<float>(), size, fast_dx.data());  // `more` may be dx itself
          build.kernels.group_norm_backward(image, x.data<float>(), dy.data<float>(),
                                            with_more ? fast_dx.data() : nullptr, gamma.data<float>(),
                                            beta.data<float>(), fast_mean.data(), fast_rstd.data(),
                                            fast_dx.data(), fast_dgamma.data(), fast_dbeta.data());
          EXPECT_TRUE(fast_y.intact() && fast_dx.intact() && fast_dgamma.intact() && fast_dbeta.intact() &&
                      fast_mean.intact() && fast_rstd.intact());
          EXPECT_LE(normalised_error(as_tensor(fast_y.values()), y), kFloatOpTolerance);
          EXPECT_LE(normalised_error(as_tensor(fast_dx.values()), dx), kFloatOpTolerance);
          EXPECT_LE(normalised_error(as_tensor(fast_dgamma.values()), dgamma), kFloatOpTolerance);
          EXPECT_LE(normalised_error(as_tensor(fast_dbeta.values()), dbeta), kFloatOpTolerance);
          if (!build.fused) continue;
          std::vector<float> all = fast_y.values();
          for (const std::vector<float>& some : {fast_dx.values(), fast_dgamma.values(), fast_dbeta.values()})
            all.insert(all.end(), some.begin(), some.end());
          if (fused.empty()) fused = all;
          EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(all)));
        }
      }
}

TEST(IsaKernels, ReluKeepsNaN) {
  for (const NormRelu relu : {NormRelu::before, NormRelu::after}) {
    const NormImage image{2, 16, 16, relu, kernels::kGroupNormEpsilon};
    std::vector<float> x(32, 1.0f), ones(16, 1.0f), y(32);
    x[3] = std::numeric_limits<float>::quiet_NaN();
    std::vector<double> mean(16), rstd(16);
    for (const Build& build : builds()) {
      build.kernels.group_norm(image, x.data(), ones.data(), ones.data(), y.data(), mean.data(), rstd.data());
      for (size_t i = 0; i < 32; ++i) EXPECT_EQ(std::isnan(y[i]), i % 16 == 3) << build.name << ' ' << i;
    }
  }
}

TEST(IsaKernels, StandardizationAgreesWithThePlainLoopsInDouble) {
  for (const auto& [fan_in, outputs] :
       {std::array<int64_t, 2>{1, 16}, {27, 16}, {64, 48}, {65, 80}, {300, 128}}) {
    const Tensor g = random_tensor({fan_in * outputs}, DType::f32, 1),
                 u = random_tensor({fan_in * outputs}, DType::f32, 2),
                 factor = random_tensor({outputs}, DType::f32, 3),
                 mean = random_tensor({outputs}, DType::f32, 4),
                 along = random_tensor({outputs}, DType::f32, 5);
    const Tensor sum = Tensor::zeros({outputs}, DType::f64), dot = Tensor::zeros({outputs}, DType::f64),
                 out = Tensor::zeros({fan_in * outputs}, DType::f64);
    for (int64_t at = 0; at < fan_in * outputs; ++at) {
      const int64_t o = at % outputs;
      const double v = g.data<float>()[at], w = u.data<float>()[at];
      sum.data<double>()[o] += v;
      dot.data<double>()[o] += v * w;
      out.data<double>()[at] =
          factor.data<float>()[o] * (v - mean.data<float>()[o] - w * along.data<float>()[o]);
    }
    std::vector<float> fused;
    std::vector<double> fused_sums, fused_dots;
    for (const Build& build : builds()) {
      SCOPED_TRACE(concat(build.name, ' ', fan_in, 'x', outputs));
      Guarded<double> fast_sum(outputs, 7), fast_dot(outputs, 7);
      Guarded<float> fast(fan_in * outputs);
      std::copy_n(g.data<float>(), g.size(), fast.data());
      build.kernels.column_sums(fast.data(), u.data<float>(), fan_in, outputs, fast_sum.data(),
                                fast_dot.data());
      build.kernels.project(fast.data(), u.data<float>(), fan_in, outputs, factor.data<float>(),
                            mean.data<float>(), along.data<float>());
      EXPECT_TRUE(fast.intact() && fast_sum.intact() && fast_dot.intact());
      EXPECT_LE(normalised_error(Tensor::of<double>({outputs}, fast_sum.values()), sum), kFloatOpTolerance);
      EXPECT_LE(normalised_error(Tensor::of<double>({outputs}, fast_dot.values()), dot), kFloatOpTolerance);
      EXPECT_LE(normalised_error(as_tensor(fast.values()), out), kFloatOpTolerance);
      if (!build.fused) continue;
      if (fused.empty())
        fused = fast.values(), fused_sums = fast_sum.values(), fused_dots = fast_dot.values();
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(fast.values())));
      EXPECT_EQ(fused_sums, fast_sum.values());
      EXPECT_EQ(fused_dots, fast_dot.values());
    }
  }
}

TEST(IsaKernels, ColumnsAreAddedToWhatIsThere) {
  for (const auto& [rows, columns] : {std::array<int64_t, 2>{1, 1}, {5, 16}, {49, 32}, {3, 37}, {0, 16}}) {
    const Tensor g = random_tensor({rows * columns}, DType::f32, 1);
    const Tensor sum = Tensor::zeros({columns}, DType::f64);
    sum.fill(99);
    for (int64_t i = 0; i < rows * columns; ++i) sum.data<double>()[i % columns] += g.data<float>()[i];
    std::vector<float> fused;
    for (const Build& build : builds()) {
      SCOPED_TRACE(concat(build.name, ' ', rows, ' ', columns));
      Guarded<float> fast(columns, 99);
      build.kernels.add_columns(g.data<float>(), rows, columns, fast.data());
      EXPECT_TRUE(fast.intact());
      EXPECT_LE(normalised_error(as_tensor(fast.values()), sum), kFloatOpTolerance);
      if (!build.fused) continue;
      if (fused.empty()) fused = fast.values();
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(fast.values())));
    }
  }
}

TEST(IsaKernels, AClassifierAgreesWithThePlainLoopsInDouble) {
  for (const auto& [views, features, labels] : {std::array<int64_t, 3>{1, 1, 1},
                                                {1, 7, 3},
                                                {3, 40, 10},
                                                {16, 5, 16},
                                                {2, 33, 15},
                                                {1, 3, 16},
                                                {4, 2, 2},
                                                {1, 1568, 10},
                                                {1, 45, 10}}) {
    const Tensor x = random_tensor({views * features}, DType::f32, 1),
                 g = random_tensor({views * labels}, DType::f32, 2),
                 w = random_tensor({features * labels}, DType::f32, 3),
                 bias = random_tensor({labels}, DType::f32, 4),
                 dw = Tensor::zeros({features * labels}, DType::f64),
                 dx = Tensor::zeros({views * features}, DType::f64),
                 y = Tensor::zeros({views * labels}, DType::f64);
    for (int64_t i = 0; i < x.size(); i += 3) x.data<float>()[i] = 0;  // as a ReLU leaves it: no -0 may come
    for (int64_t i = 0; i < views * labels; ++i) y.data<double>()[i] = bias.data<float>()[i % labels];
    for (int64_t v = 0; v < views; ++v)
      for (int64_t f = 0; f < features; ++f)
        for (int64_t l = 0; l < labels; ++l) {
          const double in = x.data<float>()[v * features + f];
          dw.data<double>()[f * labels + l] += in * g.data<float>()[v * labels + l];
          y.data<double>()[v * labels + l] += in * w.data<float>()[f * labels + l];
          dx.data<double>()[v * features + f] +=
              double{g.data<float>()[v * labels + l]} * w.data<float>()[f * labels + l];
        }
    std::vector<float> transposed;
    for (int64_t l = 0; l < labels; ++l)
      for (int64_t f = 0; f < features; ++f) transposed.push_back(w.data<float>()[f * labels + l]);
    std::vector<float> fused;
    for (const Build& build : builds()) {
      SCOPED_TRACE(concat(build.name, ' ', views, ' ', features, ' ', labels));
      // What lies behind the weights is not a number, and must not be used.
      std::vector<float> walled = transposed;
      walled.resize(walled.size() + 64, std::nanf(""));
      Guarded<float> fast_y(views * labels, 99);
      build.kernels.classify(x.data<float>(), walled.data(), bias.data<float>(), views, features, labels,
                             fast_y.data());
      EXPECT_TRUE(fast_y.intact());
      EXPECT_LE(normalised_error(as_tensor(fast_y.values()), y), kFloatOpTolerance);
      Guarded<float> fast(features * labels, 99);
      build.kernels.outer_products(x.data<float>(), g.data<float>(), views, features, labels, fast.data());
      EXPECT_TRUE(fast.intact());
      EXPECT_LE(normalised_error(as_tensor(fast.values()), dw), kFloatOpTolerance);
      Guarded<float> fast_dx(views * features, 99);
      build.kernels.classify_backward(g.data<float>(), transposed.data(), views, features, labels,
                                      fast_dx.data());
      EXPECT_TRUE(fast_dx.intact());
      EXPECT_LE(normalised_error(as_tensor(fast_dx.values()), dx), kFloatOpTolerance);
      if (!build.fused) continue;
      std::vector<float> all = fast_y.values();
      for (const std::vector<float>& some : {fast.values(), fast_dx.values()})
        all.insert(all.end(), some.begin(), some.end());
      if (fused.empty()) fused = all;
      EXPECT_TRUE(same_bits(as_tensor(fused), as_tensor(all)));
    }
  }
}

}  // namespace
}  // namespace pergrad::test
