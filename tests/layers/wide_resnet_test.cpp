// Wide residual networks as a whole: sizes, derivatives, rows, and that they learn.
#include "layers/wide_resnet.h"
#include "core/philox.h"
#include "layers/model_gradients.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <numeric>
#include <set>

namespace pergrad::test {
namespace {

TEST(WideResNet, HasThePublishedNumberOfParameters) {
  // De et al. 2022 as coded in jax_privacy: with gains and biases of standardized convolutions.
  const ImageShape cifar{32, 32, 3};
  EXPECT_EQ(Model(wide_resnet_settings(16, 4, 16), cifar, 10).parameters().size(), 2753818);
  EXPECT_EQ(Model(wide_resnet_settings(40, 4, 16), cifar, 10).parameters().size(), 8961306);
  EXPECT_EQ(Model(wide_resnet_settings(16, 4, 16), cifar, 100).parameters().size(), 2776948);
  EXPECT_EQ(Model(wide_resnet_settings(28, 10, 16), cifar, 100).parameters().size(), 36558068);
  ModelSettings plain = wide_resnet_settings(16, 4, 16);
  plain.weight_standardization = false;  // without gains
  EXPECT_EQ(Model(plain, cifar, 10).parameters().size(), 2751562);
  // The image's extents do not change the parameters.
  EXPECT_EQ(Model(wide_resnet_settings(16, 4, 16), {16, 16, 3}, 10).parameters().size(), 2753818);
}

TEST(WideResNet, WithoutNormHasNoNormParameters) {
  ModelSettings settings = wide_resnet_settings(16, 4, 16);
  Model with(settings, {8, 8, 3}, 10);
  settings.norm = "none";
  Model without(settings, {8, 8, 3}, 10);
  int64_t norms = 0;
  for (const auto& entry : with.parameters().layout().entries)
    if (entry.name.find("norm") != std::string::npos) norms += entry.end - entry.begin;
  EXPECT_GT(norms, 0);
  EXPECT_EQ(with.parameters().size() - without.parameters().size(), norms);
  for (const auto& entry : without.parameters().layout().entries)
    EXPECT_EQ(entry.name.find("norm"), std::string::npos) << entry.name;
  settings.norm = "batch";
  EXPECT_NE(message_of([&] { Model(settings, {8, 8, 3}, 10); }).find("model.norm"), std::string::npos);
}

TEST(WideResNet, LayoutCoversTheRowWithoutGaps) {
  const Model model(wide_resnet_settings(16, 4, 16), {32, 32, 3}, 10);
  int64_t next = 0;
  std::set<std::string> names;
  for (const auto& entry : model.parameters().layout().entries) {
    EXPECT_EQ(entry.begin, next);
    EXPECT_EQ(entry.end - entry.begin, count(entry.shape));
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    next = entry.end;
  }
  EXPECT_EQ(next, model.parameters().size());
  EXPECT_EQ(model.title(), "wide_resnet-16-4");
}

TEST(WideResNet, StartsAsPublished) {
  Model model(wide_resnet_settings(16, 4, 16), {32, 32, 3}, 10);
  model.parameters().allocate(DType::f32, key_from_text("start"));
  const float* p = model.parameters().flat().data<float>();
  for (const auto& entry : model.parameters().layout().entries) {
    double squares = 0, top = 0;
    for (int64_t i = entry.begin; i < entry.end; ++i) {
      squares += static_cast<double>(p[i]) * p[i];
      top = std::max(top, std::abs(static_cast<double>(p[i])));
    }
    const double n = static_cast<double>(entry.end - entry.begin), rms = std::sqrt(squares / n);
    if (entry.shape.size() == 1) {
      const bool one = entry.name.ends_with(".gain") ||
                       (entry.name.ends_with(".weight") && entry.name.find("norm") != std::string::npos);
      EXPECT_EQ(rms, one ? 1 : 0) << entry.name;
      EXPECT_EQ(top, one ? 1 : 0) << entry.name;
    } else {  // standard deviation 1 / sqrt(fan_in); that of its estimate is at most 1 / sqrt(2 n) of it
      const double wanted = 1 / std::sqrt(n / static_cast<double>(entry.shape.back()));
      EXPECT_NEAR(rms / wanted, 1, kStatisticalSigmas / std::sqrt(2 * n)) << entry.name;
      // The classifier is truncated at two sigma before scaling; nothing else is.
      EXPECT_EQ(top <= 2 * wanted / 0.8796, entry.name == "classifier.weight") << entry.name;
    }
  }
  // The same key gives the same weights, another key others; float weights are the rounded double ones.
  Model again(wide_resnet_settings(16, 4, 16), {32, 32, 3}, 10);
  again.parameters().allocate(DType::f64, key_from_text("start"));
  EXPECT_TRUE(same_bits(again.parameters().flat().to(DType::f32), model.parameters().flat()));
  again.parameters().allocate(DType::f32, key_from_text("another"));
  EXPECT_FALSE(same_bits(again.parameters().flat(), model.parameters().flat()));
}

TEST(WideResNet, SettingsThatDoNotFitAreNamed) {
  const ImageShape image{32, 32, 3};
  EXPECT_EQ(message_of([&] { Model(wide_resnet_settings(17, 4, 16), image, 10); }),
            "model.depth: got 17, wanted 6 n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)");
  EXPECT_EQ(message_of([&] { Model(wide_resnet_settings(16, 0, 16), image, 10); }),
            "model.width: got 0, wanted at least 1");
  EXPECT_NE(message_of([&] { Model(wide_resnet_settings(16, 4, 5), image, 10); }).find("5 do not divide 16"),
            std::string::npos);
  EXPECT_NE(message_of([&] { Model(wide_resnet_settings(16, 4, 16), image, 1); }).find("1 labels"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              Model(wide_resnet_settings(16, 4, 16), {0, 32, 3}, 10);
            }).find("0x32x3"),
            std::string::npos);
}

// Losses [N] in double, forward only.
std::vector<double> losses_of(Model& model, const ExampleBatch& batch) {
  Workspace workspace;
  Tape tape(model.prepared(), nullptr, workspace);
  const Var logits = model.forward(tape, tape.input(batch.images));
  const auto losses =
      tape.value(soft_cross_entropy(tape, logits, batch.targets, batch.weights)).values<double>();
  return {losses.begin(), losses.end()};
}

TEST(WideResNet, GradientsAgreeWithDifferencesForEachKindOfParameter) {
  Model model(wide_resnet_settings(16, 4, 16), {4, 4, 3}, 10);
  randomise(model, DType::f64, 5);
  const ExampleBatch batch = random_batch(model, 2, 1, DType::f64, 6);
  ModelGradients gradients(model, CpuExec{1});
  const PerExampleGradient rows = gradients.rows(pick_rows(batch, all_rows(batch)));
  const int64_t columns = rows.parameters();
  const double* slab = rows.slab().data<double>();
  const auto& entries = model.parameters().layout().entries;
  // One entry at random of each of 60 parameters, first and last included: every kind comes up.
  PhiloxStream random(60, 1);
  double* flat = model.parameters().flat().data<double>();
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < 60; ++i) {
    const auto& entry = entries[i * (entries.size() - 1) / 59];
    const int64_t column = entry.begin + random.below(static_cast<uint32_t>(entry.end - entry.begin));
    const double middle = flat[column];
    flat[column] = middle + kStep;
    model.parameters().touch();
    const std::vector<double> above = losses_of(model, batch);
    flat[column] = middle - kStep;
    model.parameters().touch();
    const std::vector<double> below = losses_of(model, batch);
    flat[column] = middle;
    for (int64_t n = 0; n < 2; ++n) {
      const auto at = static_cast<size_t>(n);
      const double slope = (above[at] - below[at]) / (2 * kStep), ours = slab[n * columns + column];
      double largest = 0;  // of this parameter and row
      for (int64_t j = entry.begin; j < entry.end; ++j)
        largest = std::max(largest, std::abs(slab[n * columns + j]));
      const double scale = std::max({std::abs(ours), std::abs(slope), 1e-2 * largest});
      EXPECT_LE(std::abs(ours - slope), kModelGradcheckTolerance * scale) << entry.name << " row " << n;
    }
  }
}

class WideResNetRows : public testing::Test {
 protected:
  WideResNetRows() {
    randomise(model, DType::f32, 7);
    batch = random_batch(model, 4, 3, DType::f32, 8);
  }
  // The rows of these rows of the batch, by a fresh ModelGradients.
  Tensor rows(const ExampleBatch& from, const std::vector<int64_t>& which, int threads) {
    ModelGradients gradients(model, CpuExec{threads});
    return gradients.rows(pick_rows(from, which)).slab().clone();
  }
  Model model{wide_resnet_settings(16, 4, 16), {16, 16, 3}, 10};
  ExampleBatch batch;
};

TEST_F(WideResNetRows, DependOnNeitherBatchNorOrderNorThreads) {
  const Tensor together = rows(batch, {0, 1, 2, 3}, 1);
  EXPECT_TRUE(same_bits(rows(batch, {0, 1, 2, 3}, 2), together)) << "threads";
  const Tensor permuted = rows(batch, {2, 0, 3}, 2);
  EXPECT_TRUE(same_row(permuted, 0, together, 2));
  EXPECT_TRUE(same_row(permuted, 1, together, 0));
  EXPECT_TRUE(same_row(permuted, 2, together, 3));
  EXPECT_TRUE(same_row(rows(batch, {1}, 1), 0, together, 1)) << "alone";
}

TEST_F(WideResNetRows, SeveralThreadsMayAskAtOnce) {
  const Tensor together = rows(batch, {0, 1, 2, 3}, 1);
  ModelGradients gradients(model, CpuExec{4});
  std::atomic<int> wrong = 0;
  CpuExec{4}.for_each(8, [&](int64_t i) {
    const PerExampleGradient two = gradients.rows(pick_rows(batch, {i % 4, (i + 1) % 4}));
    wrong += !same_row(two.slab(), 0, together, i % 4) || !same_row(two.slab(), 1, together, (i + 1) % 4);
  });
  EXPECT_EQ(wrong, 0);
}

TEST_F(WideResNetRows, APoisonedExampleTouchesNoOther) {
  const Tensor clean = rows(batch, {0, 1, 2, 3}, 2);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const ExampleBatch bad = pick_rows(batch, {0, 1, 2, 3});
    bad.images.rows(1, 2).fill(poison);
    const Tensor slab = rows(bad, {0, 1, 2, 3}, 2);
    for (int64_t n : {0, 2, 3}) EXPECT_TRUE(same_row(slab, n, clean, n)) << n;
    // ... and cannot hide: its own row is not finite.
    const auto row = slab.rows(1, 2).values<float>();
    EXPECT_FALSE(std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); }));
  }
}

TEST_F(WideResNetRows, PaddingRowsAreZeroAndChangeNothing) {
  const Tensor clean = rows(batch, {0, 1, 2, 3}, 1);
  ExampleBatch padded = pick_rows(batch, {0, 1, 2, 3});
  padded.is_real[2] = 0;
  padded.images.rows(2, 3).fill(std::numeric_limits<double>::quiet_NaN());
  const Tensor slab = rows(padded, {0, 1, 2, 3}, 2);
  for (const float v : slab.rows(2, 3).values<float>()) ASSERT_EQ(v, 0.0f);
  for (int64_t n : {0, 1, 3}) EXPECT_TRUE(same_row(slab, n, clean, n)) << n;
}

TEST_F(WideResNetRows, OneSourceGivesTheSameRowsAgainAndAgain) {
  ModelGradients gradients(model, CpuExec{1});
  const Tensor first = gradients.rows(pick_rows(batch, {0, 1, 2, 3})).slab().clone();
  gradients.rows(pick_rows(batch, {3, 2}));  // a smaller batch in between
  EXPECT_TRUE(same_bits(gradients.rows(pick_rows(batch, {0, 1, 2, 3})).slab().clone(), first));
  // New parameter values are seen after touch(), the old ones give the old rows back.
  const Tensor values = model.parameters().flat().clone();
  model.parameters().flat().data<float>()[0] += 0.5f;
  model.parameters().touch();
  EXPECT_FALSE(same_bits(gradients.rows(pick_rows(batch, {0, 1, 2, 3})).slab().clone(), first));
  model.parameters().assign(values);
  EXPECT_TRUE(same_bits(gradients.rows(pick_rows(batch, {0, 1, 2, 3})).slab().clone(), first));
}

TEST_F(WideResNetRows, AViewOfWeightZeroCountsNothing) {
  // A row with fewer views than V: a zero image of weight 0 in the free place.
  ExampleBatch padded = pick_rows(batch, {0});
  padded.weights = Tensor::of<float>({1, 3}, std::vector<float>{0.5f, 0.5f, 0});
  padded.images.reshape({3, 16 * 16 * 3}).rows(2, 3).fill(0);
  const auto two = [](const Tensor& all, Shape shape) {  // its first two views
    const int64_t n = count(shape);
    return all.reshape({all.size()}).rows(0, n).reshape(std::move(shape)).clone();
  };
  ExampleBatch shorter = pick_rows(batch, {0});
  shorter.images = two(padded.images, {1, 2, 16, 16, 3});
  shorter.targets = two(padded.targets, {1, 2, 10});
  shorter.weights = two(padded.weights, {1, 2});
  const Tensor a = rows(padded, {0}, 1), b = rows(shorter, {0}, 1);
  EXPECT_LE(normalised_error(a, b), kFloatOpTolerance);
}

TEST(WideResNet, ThreeStepsOfPlainDescentLowerTheLoss) {
  Model model(wide_resnet_settings(16, 4, 16), {16, 16, 3}, 10);
  model.parameters().allocate(DType::f32, key_from_text("descent"));
  ExampleBatch batch = random_batch(model, 8, 1, DType::f32, 9);
  ModelGradients gradients(model, CpuExec{2});
  std::vector<double> losses;
  for (int step = 0; step <= 3; ++step) {
    std::vector<float> each;
    const PerExampleGradient rows = gradients.rows(pick_rows(batch, all_rows(batch)), &each);
    losses.push_back(std::accumulate(each.begin(), each.end(), 0.0) / 8);
    float* p = model.parameters().flat().data<float>();
    for (int64_t n = 0; n < 8; ++n)
      for (int64_t i = 0; i < rows.parameters(); ++i)
        p[i] -= 0.02f / 8 * rows.slab().data<float>()[n * rows.parameters() + i];
    model.parameters().touch();
  }
  for (size_t step = 1; step < losses.size(); ++step) EXPECT_LT(losses[step], losses[step - 1]) << step;
  EXPECT_LT(losses[3], 0.9 * losses[0]);
}

}  // namespace
}  // namespace pergrad::test
