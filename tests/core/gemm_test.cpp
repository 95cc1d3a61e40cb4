// gemm against three loops, for every transposition; and the same bits whatever memory it is given.
#include "core/gemm.h"
#include "tests/support/compare.h"
#include "tests/support/guards.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <limits>

namespace pergrad::test {
namespace {

struct Size {
  int64_t m, n, k;
};
constexpr Size kSizes[] = {{1, 1, 1}, {1, 10, 64}, {16, 10, 256}, {256, 10, 16}, {3, 7, 5}, {33, 17, 29}};

template <class T>
void check(double tolerance) {
  for (const Size s : kSizes)
    for (const Transpose ta : {Transpose::no, Transpose::yes})
      for (const Transpose tb : {Transpose::no, Transpose::yes})
        for (const double beta : {0.0, 1.0, -0.5}) {
          const DType type = dtype_of<T>();
          const Tensor a = random_tensor({s.m * s.k}, type, 1), b = random_tensor({s.k * s.n}, type, 2),
                       c = random_tensor({s.m * s.n}, type, 3);
          Tensor wanted = c.to(DType::f64);
          for (int64_t i = 0; i < s.m; ++i)
            for (int64_t j = 0; j < s.n; ++j) {
              double sum = 0;
              for (int64_t l = 0; l < s.k; ++l)
                sum += static_cast<double>(a.data<T>()[ta == Transpose::yes ? l * s.m + i : i * s.k + l]) *
                       b.data<T>()[tb == Transpose::yes ? j * s.k + l : l * s.n + j];
              double& out = wanted.data<double>()[i * s.n + j];
              out = 1.5 * sum + beta * out;
            }
          Guarded<T> out(s.m * s.n);
          // beta = 0 must not read what was there.
          for (int64_t i = 0; i < c.size(); ++i)
            out.data()[i] = beta == 0 ? std::numeric_limits<T>::quiet_NaN() : c.data<T>()[i];
          gemm<T>(ta, tb, s.m, s.n, s.k, T(1.5), a.data<T>(), b.data<T>(), static_cast<T>(beta), out.data());
          EXPECT_TRUE(out.intact());
          EXPECT_LE(normalised_error(Tensor::of<T>({s.m * s.n}, out.values()), wanted), tolerance)
              << s.m << ' ' << s.n << ' ' << s.k << " beta " << beta;
        }
}

TEST(Gemm, FloatIsRight) { check<float>(kFloatOpTolerance); }
TEST(Gemm, DoubleIsRight) { check<double>(1e-13); }

TEST(Gemm, BitsDoNotDependOnAlignment) {
  const int64_t m = 16, n = 10, k = 257;
  const Tensor a = random_tensor({m * k}, DType::f32, 1), b = random_tensor({k * n}, DType::f32, 2);
  std::vector<float> first;
  for (int64_t shift = 0; shift < 16; ++shift) {
    std::vector<float> a2(static_cast<size_t>(m * k + 16)), b2(static_cast<size_t>(k * n + 16)),
        c(static_cast<size_t>(m * n + 16));
    std::copy_n(a.data<float>(), m * k, a2.data() + shift);
    std::copy_n(b.data<float>(), k * n, b2.data() + shift);
    gemm<float>(Transpose::no, Transpose::no, m, n, k, 1, a2.data() + shift, b2.data() + shift, 0,
                c.data() + shift);
    const std::vector<float> got(c.begin() + shift, c.begin() + shift + m * n);
    if (first.empty()) first = got;
    EXPECT_EQ(got, first) << shift;
  }
}

}  // namespace
}  // namespace pergrad::test
