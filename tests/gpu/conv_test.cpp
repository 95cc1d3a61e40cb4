// GpuConv against the plain loops in double: forward, input gradient, and the three ways of the weight
// gradient; that no example reaches another; and that a fixed number of images a call changes nothing.
#include "core/gpu/conv.h"

#include "tests/gpu/device_test.h"
#include "tests/support/compare.h"
#include "tests/support/op_runs.h"

namespace pergrad::test {
namespace {

using Way = GpuConvSettings::WeightGradient;

// Floats that bf16 holds exactly.
Tensor bf16_random(Shape shape, uint64_t seed) {
  Tensor t = random_tensor(std::move(shape), DType::f32, seed);
  for (float& v : t.values<float>()) v = to_float(to_bf16(v));
  return t;
}
Tensor as_type(const Tensor& t, DType type) { return type == DType::bf16 ? in_bf16(t) : t; }

struct Reference {
  Tensor y, dx, dw, db;  // f64; dw [N, size], db [N, O]
};
Reference reference(const ConvShape& s, const Tensor& x, const Tensor& w, const Tensor& bias,
                    const Tensor& dy) {
  const int64_t n_rows = x.dim(0), views = x.dim(1);
  const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64),
               b64 = bias.to(DType::f64);
  Reference r{Tensor::zeros(dy.shape(), DType::f64), Tensor::zeros(x.shape(), DType::f64),
              Tensor::zeros({n_rows, s.weight_size()}, DType::f64),
              Tensor::zeros({n_rows, s.outputs}, DType::f64)};
  for (int64_t i = 0; i < n_rows * views; ++i) {
    const double* in = x64.data<double>() + i * s.input_size();
    const double* g = dy64.data<double>() + i * s.output_size();
    double* y = r.y.data<double>() + i * s.output_size();
    conv_reference::forward(s, in, w64.data<double>(), y);
    conv_reference::input_gradient(s, g, w64.data<double>(), r.dx.data<double>() + i * s.input_size());
    conv_reference::weight_gradient(s, in, g, r.dw.data<double>() + i / views * s.weight_size());
    for (int64_t p = 0; p < s.output_size(); ++p) {
      y[p] += b64.data<double>()[p % s.outputs];
      r.db.data<double>()[i / views * s.outputs + p % s.outputs] += g[p];
    }
  }
  return r;
}

struct Case {
  ConvShape shape;
  int64_t rows, views;
  std::vector<Way> ways;
};

class GpuConvSmall : public GpuTest {
 protected:
  // All calls for one case; dw of each way.
  void check(const Case& c, Precision precision) {
    const ConvShape& s = c.shape;
    SCOPED_TRACE(concat(s.height, 'x', s.width, " C", s.channels, " O", s.outputs, " k", s.kernel, " s",
                        s.stride, " p", s.pad, precision == Precision::bf16 ? " bf16" : " fp32"));
    const DType type = activation_type(precision);
    const Tensor x = bf16_random({c.rows, c.views, s.height, s.width, s.channels}, 1),
                 w = bf16_random({s.kernel, s.kernel, s.channels, s.outputs}, 2),
                 bias = bf16_random({s.outputs}, 3),
                 dy = bf16_random({c.rows, c.views, s.out_h(), s.out_w(), s.outputs}, 4);
    const Reference want = reference(s, x, w, bias, dy);
    const double rounded = precision == Precision::bf16 ? 4e-3 : 1e-6, summed = 2e-6;
    Workspace workspace(device());
    const Tensor w_there = w.to(device()), bias_there = bias.to(device());
    for (const Way way : c.ways) {
      GpuConvSettings settings;
      settings.precision = precision;
      settings.images_per_call = c.views;
      settings.weight_gradient = way;
      const GpuConv conv(s, w_there, settings);
      const Tensor in = conv.input(as_type(x, type).to(device()), workspace);
      const Tensor gradient = as_type(dy, type).to(device());
      if (way == c.ways[0]) {
        EXPECT_LE(normalised_error(in_float(conv.forward(in, bias_there, workspace)), want.y), rounded);
        EXPECT_LE(normalised_error(in_float(conv.input_gradient(gradient, type, workspace)), want.dx),
                  rounded);
      }
      // Into columns of a wider slab, first overwriting, then adding.
      const int64_t size = s.weight_size(), wide = size + s.outputs + 5;
      const Tensor slab = Tensor::empty({c.rows, wide}, DType::f32, device());
      slab.fill(7);
      const auto rows = [&](int64_t column, bool accumulate) {
        return GradientRows{slab.device_data<float>() + column, wide, accumulate};
      };
      for (const bool accumulate : {false, true}) {
        conv.weight_gradient(in, gradient, rows(2, accumulate), workspace);
        conv.bias_gradient(gradient, rows(size + 3, accumulate));
      }
      const Tensor got = slab.to(Device{});
      const Tensor dw = Tensor::empty({c.rows, size}, DType::f32),
                   db = Tensor::empty({c.rows, s.outputs}, DType::f32);
      for (int64_t n = 0; n < c.rows; ++n) {
        const float* row = got.data<float>() + n * wide;
        for (const int64_t untouched : {int64_t{0}, int64_t{1}, size + 2, wide - 1, wide - 2})
          ASSERT_EQ(row[untouched], 7.0f) << "row " << n << " column " << untouched;
        for (int64_t i = 0; i < size; ++i) dw.data<float>()[n * size + i] = row[2 + i] / 2;
        for (int64_t i = 0; i < s.outputs; ++i) db.data<float>()[n * s.outputs + i] = row[size + 3 + i] / 2;
      }
      EXPECT_LE(normalised_error(dw, want.dw), summed) << "way " << static_cast<int>(way);
      EXPECT_LE(normalised_error(db, want.db), summed);
    }
  }
};

const std::vector<Way> kSimpleWays = {Way::plain, Way::products};

TEST_P(GpuConvSmall, EveryShapeAgreesWithLoopsInDouble) {
  for (int64_t kernel : {1, 3, 5, 8})
    for (int64_t stride : {1, 2, 3})
      for (int64_t pad : {0, 1, 3})
        for (int64_t channels : {1, 3, 8}) {
          const int64_t side = std::max<int64_t>(3, kernel + 1 - 2 * pad);
          check({{side + 1, side, channels, 8, kernel, stride, pad}, 2, 3, kSimpleWays}, Precision::fp32);
          check({{side + 1, side, channels, 8, kernel, stride, pad}, 2, 3, kSimpleWays}, Precision::bf16);
        }
}

const std::vector<Way> kAllWays = {Way::tensor_cores, Way::products};

TEST_P(GpuConvSmall, TensorCoreKernelsAgreeWithLoopsInDouble) {
  check({{8, 8, 64, 64, 3, 1, 1}, 2, 3, kAllWays}, Precision::bf16);
  check({{8, 8, 128, 64, 3, 1, 1}, 1, 2, kAllWays}, Precision::bf16);
  check({{16, 16, 64, 128, 3, 1, 1}, 1, 2, kAllWays}, Precision::bf16);
  check({{16, 16, 64, 64, 3, 2, 1}, 2, 2, kAllWays}, Precision::bf16);
  check({{16, 16, 64, 64, 1, 2, 0}, 2, 2, kAllWays}, Precision::bf16);
}

TEST_P(GpuConvSmall, TensorCoreKernelsOfLargeImages) {
  check({{32, 32, 3, 16, 3, 1, 1}, 2, 2, kAllWays}, Precision::bf16);
  check({{32, 32, 16, 64, 3, 1, 1}, 1, 2, kAllWays}, Precision::bf16);
  check({{32, 32, 16, 64, 1, 1, 0}, 1, 2, kAllWays}, Precision::bf16);
  check({{32, 32, 64, 64, 3, 1, 1}, 1, 2, kAllWays}, Precision::bf16);
  check({{32, 32, 64, 64, 3, 2, 1}, 1, 2, kAllWays}, Precision::bf16);
  check({{32, 32, 64, 64, 1, 2, 0}, 1, 1, kAllWays}, Precision::bf16);
}

TEST_P(GpuConvSmall, NoExampleReachesAnother) {
  const ConvShape s{8, 8, 64, 64, 3, 1, 1};
  Workspace workspace(device());
  const Tensor w = bf16_random({3, 3, 64, 64}, 2).to(device()), bias = bf16_random({64}, 3).to(device());
  for (const Way way : {Way::plain, Way::products, Way::tensor_cores}) {
    GpuConvSettings settings;
    settings.precision = Precision::bf16;
    settings.images_per_call = 4;  // two examples a call
    settings.weight_gradient = way;
    const GpuConv conv(s, w, settings);
    const auto run = [&](int64_t rows, int64_t poisoned) {
      const Tensor x = bf16_random({4, 2, 8, 8, 64}, 1), dy = bf16_random({4, 2, 8, 8, 64}, 4);
      if (poisoned >= 0) {
        x.rows(poisoned, poisoned + 1).fill(NAN);
        dy.rows(poisoned, poisoned + 1).fill(INFINITY);
      }
      const Tensor in = conv.input(as_type(x.rows(0, rows), DType::bf16).to(device()), workspace);
      const Tensor gradient = as_type(dy.rows(0, rows), DType::bf16).to(device());
      const Tensor slab = Tensor::zeros({rows, s.weight_size()}, DType::f32, device());
      conv.weight_gradient(in, gradient, {slab.device_data<float>(), s.weight_size(), false}, workspace);
      return std::vector<Tensor>{slab.to(Device{}), conv.forward(in, bias, workspace).to(Device{}),
                                 conv.input_gradient(gradient, DType::bf16, workspace).to(Device{})};
    };
    const auto clean = run(4, -1), poisoned = run(4, 1), alone = run(2, -1);
    for (size_t i = 0; i < clean.size(); ++i) {
      for (const int64_t n : {0, 2, 3}) {
        const Tensor a = clean[i].rows(n, n + 1), b = poisoned[i].rows(n, n + 1);
        EXPECT_EQ(std::memcmp(a.device_bytes(), b.device_bytes(), a.byte_size()), 0)
            << "way " << static_cast<int>(way) << " output " << i;
      }
      EXPECT_EQ(std::memcmp(clean[i].device_bytes(), alone[i].device_bytes(), alone[i].byte_size()), 0);
    }
  }
}

PG_ON_GPUS(GpuConvSmall);

}  // namespace
}  // namespace pergrad::test
