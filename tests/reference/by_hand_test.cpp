// The whole stack against the network by hand: every entry of every example's gradient.
#include "layers/model_gradients.h"
#include "tests/reference/wide_resnet_by_hand.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

namespace pergrad::test {
namespace {

// Parameters, or a row of the slab, by name.
by_hand::Named by_name(const ParameterLayout& layout, const double* row) {
  by_hand::Named named;
  for (const auto& entry : layout.entries) named[entry.name] = {row + entry.begin, row + entry.end};
  return named;
}

struct HandResult {
  double loss;
  by_hand::Named gradient;
};

// Row n of a batch in double, by hand.
HandResult by_hand_row(const Model& model, const ExampleBatch& batch, int64_t n) {
  const ModelSettings& settings = model.settings();
  const by_hand::WideResNet net(static_cast<int>(settings.depth), static_cast<int>(settings.width),
                                static_cast<int>(settings.groups), static_cast<int>(model.labels()));
  const ImageShape shape = model.image();
  const Tensor parameters = model.parameters().flat().to(DType::f64);
  const Tensor images = batch.images.to(DType::f64), targets = batch.targets.to(DType::f64),
               weights = batch.weights.to(DType::f64);
  std::vector<by_hand::Image> views;
  std::vector<by_hand::Numbers> labels;
  by_hand::Numbers view_weights;
  for (int64_t v = n * batch.views(); v < (n + 1) * batch.views(); ++v) {
    by_hand::Image image(static_cast<int>(shape.height), static_cast<int>(shape.width),
                         static_cast<int>(shape.channels));
    std::copy_n(images.data<double>() + v * shape.size(), shape.size(), image.v.begin());
    views.push_back(image);
    const double* target = targets.data<double>() + v * model.labels();
    labels.emplace_back(target, target + model.labels());
    view_weights.push_back(weights.data<double>()[v]);
  }
  const ParameterLayout& layout = model.parameters().layout();
  const std::vector<double> zero(static_cast<size_t>(layout.size()));
  HandResult result{0, by_name(layout, zero.data())};
  result.loss =
      net.example(by_name(layout, parameters.data<double>()), views, labels, view_weights, result.gradient);
  return result;
}

// `images`: of one case.
struct NetCase {
  ModelSettings settings;
  ImageShape image;
  int64_t labels;
};
const NetCase kCases[] = {
    {wide_resnet_settings(10, 1, 4), {12, 12, 3}, 5},
    {wide_resnet_settings(10, 1, 16), {9, 11, 1}, 3},  // odd sides, one channel a group
    {wide_resnet_settings(16, 1, 2), {8, 8, 3}, 10},   // blocks without a shortcut
};

TEST(ByHand, EveryEntryOfEveryExampleInDouble) {
  for (const NetCase& c : kCases)
    for (const int64_t views : {1, 3}) {
      SCOPED_TRACE(
          concat("depth ", c.settings.depth, ", ", c.image.height, 'x', c.image.width, ", V ", views));
      Model model(c.settings, c.image, c.labels);
      randomise(model, DType::f64, 1);
      const ExampleBatch batch = random_batch(model, 2, views, DType::f64, 2);
      ModelGradients gradients(model, CpuExec{1});
      std::vector<float> losses;
      const PerExampleGradient rows = gradients.rows(pick_rows(batch, all_rows(batch)), &losses);
      for (int64_t n = 0; n < 2; ++n) {
        const HandResult hand = by_hand_row(model, batch, n);
        EXPECT_NEAR(losses[static_cast<size_t>(n)], hand.loss, 1e-6 * hand.loss);
        const double* row = rows.slab().data<double>() + n * rows.parameters();
        for (const auto& entry : model.parameters().layout().entries)
          EXPECT_LE(
              worst_error(row + entry.begin, hand.gradient.at(entry.name).data(), entry.end - entry.begin),
              kModelTolerance)
              << entry.name << " of row " << n;
      }
    }
}

// The rows by hand as one array [P] in the order of the layout.
Tensor flat_row(const Model& model, const by_hand::Named& gradient) {
  Tensor flat = Tensor::zeros({model.parameters().size()}, DType::f64);
  for (const auto& entry : model.parameters().layout().entries) {
    const by_hand::Numbers& g = gradient.at(entry.name);
    std::copy(g.begin(), g.end(), flat.data<double>() + entry.begin);
  }
  return flat;
}

TEST(ByHand, FloatWithinItsTolerance) {
  for (const NetCase& c : kCases)
    for (const int64_t views : {1, 3}) {
      Model model(c.settings, c.image, c.labels);
      randomise(model, DType::f32, 1);
      const ExampleBatch batch = random_batch(model, 2, views, DType::f32, 2);
      ModelGradients gradients(model, CpuExec{1});
      const PerExampleGradient rows = gradients.rows(pick_rows(batch, all_rows(batch)));
      for (int64_t n = 0; n < 2; ++n) {
        const Tensor hand = flat_row(model, by_hand_row(model, batch, n).gradient);
        const Tensor row = rows.slab().rows(n, n + 1).reshape({rows.parameters()});
        EXPECT_LE(normalised_error(row, hand), kFloatModelTolerance) << "depth " << c.settings.depth;
        // Every parameter for itself, too: small ones must not hide behind large ones.
        for (const auto& entry : model.parameters().layout().entries)
          EXPECT_LE(normalised_error(row.rows(entry.begin, entry.end), hand.rows(entry.begin, entry.end)),
                    10 * kFloatModelTolerance)
              << entry.name;
      }
    }
}

TEST(ByHand, AroundTheNumberOfViewsThatGoThroughAtATime) {
  Model model(wide_resnet_settings(10, 1, 4), {8, 8, 3}, 4);
  randomise(model, DType::f64, 3);
  ModelGradients gradients(model, CpuExec{1});
  const int64_t pass = gradients.views_per_pass();
  ASSERT_GE(pass, 2) << "choose a smaller image for this test";
  ASSERT_LE(pass, 64) << "choose a larger image for this test";
  for (const int64_t views : {pass - 1, pass, pass + 1, 2 * pass, 2 * pass + 1}) {
    const ExampleBatch batch = random_batch(model, 1, views, DType::f64, 4);
    const PerExampleGradient rows = gradients.rows(pick_rows(batch, {0}));
    const Tensor hand = flat_row(model, by_hand_row(model, batch, 0).gradient);
    EXPECT_LE(worst_error(rows.slab().data<double>(), hand.data<double>(), hand.size()), kModelTolerance)
        << views << " views, " << pass << " at a time";
  }
}

}  // namespace
}  // namespace pergrad::test
