// Models by name and by list of layers: what is built, what is refused, predictions and scores.
#include "layers/model_gradients.h"
#include "core/philox.h"
#include "layers/sequential_net.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

namespace pergrad::test {
namespace {

ModelSettings named(const std::string& name) {
  ModelSettings settings;
  settings.name = name;
  settings.weight_standardization = false;
  return settings;
}
ModelSettings list(std::vector<std::string> layers) {
  ModelSettings settings = named("sequential");
  settings.layers = std::move(layers);
  return settings;
}

TEST(Model, LinearIsOneMatrix) {
  const Model model(named("linear"), {28, 28, 1}, 10);
  EXPECT_EQ(model.parameters().size(), 784 * 10 + 10);
  EXPECT_EQ(model.title(), "linear");
}

TEST(Model, SmallCnnHasItsShapes) {
  // 28x28 -> conv 16 k5 s2 p2: 14x14x16 -> conv 32 k3 s2 p1: 7x7x32 = 1568 -> labels.
  const Model model(named("small_cnn"), {28, 28, 1}, 10);
  EXPECT_EQ(model.parameters().size(),
            (25 * 16 + 16) + 2 * 16 + (9 * 16 * 32 + 32) + 2 * 32 + (1568 * 10 + 10));
}

TEST(Model, EveryLayerOfTheListCanBeUsed) {
  Model model(list({"conv 8 k3 s2 p1", "group_norm 4", "relu", "max_pool 2 s1", "conv 6", "tanh",
                    "average_pool 2", "linear 12", "relu", "classifier"}),
              {16, 15, 3}, 7);
  randomise(model, DType::f64, 1);
  const ExampleBatch batch = random_batch(model, 2, 2, DType::f64, 2);
  ModelGradients gradients(model, CpuExec{1});
  const PerExampleGradient rows = gradients.rows(pick_rows(batch, {0, 1}));
  for (const auto& entry : model.parameters().layout().entries) {
    double norm = 0;
    for (int64_t i = entry.begin; i < entry.end; ++i) norm += std::abs(rows.slab().data<double>()[i]);
    EXPECT_GT(norm, 0) << entry.name << " gets no gradient";
  }
  Model pooled(list({"conv 4", "mean_pool", "classifier"}), {6, 6, 1}, 3);
  EXPECT_EQ(pooled.parameters().size(), 9 * 4 + 4 + 4 * 3 + 3);
}

TEST(Model, ListsThatDoNotFitAreNamed) {
  const auto error = [](std::vector<std::string> layers) {
    return message_of([&] { Model(list(std::move(layers)), {8, 8, 1}, 3); });
  };
  const auto contains = [](const std::string& all, const std::string& part) {
    EXPECT_NE(all.find(part), std::string::npos) << all << "\n  lacks " << part;
  };
  contains(error({}), "the last one must be \"classifier\"");
  contains(error({"relu"}), "the last one must be \"classifier\"");
  contains(error({"classifier", "classifier"}), "stands last, and only there");
  contains(error({"dropout 3", "classifier"}), "no layer \"dropout\"");
  contains(error({"conv 8 k9", "classifier"}), "kernel 9 is larger than the padded image 8x8");
  contains(error({"conv", "classifier"}), "wanted a positive number after \"conv\"");
  contains(error({"conv 0", "classifier"}), "wanted a positive number after \"conv\"");
  contains(error({"conv 8 kx", "classifier"}), "\"kx\" is not a number");
  contains(error({"conv 8 k3 k5", "classifier"}), "two \"k\"");
  contains(error({"conv 8 9", "classifier"}), "two numbers");
  contains(error({"conv 8 z1", "classifier"}), "does not take all of these");
  contains(error({"relu 3", "classifier"}), "does not take all of these");
  contains(error({"max_pool 9", "classifier"}), "on an image of 8x8");
  for (const char* line : {"conv 9223372036854775807", "conv 4 k3 p9223372036854775807", "linear 4294967296",
                           "average_pool 2 s9223372036854775807", "linear 1048577"})
    contains(error({line, "classifier"}), "wanted at most 1048576");  // products would not fit 64 bits
  contains(error({"conv 6", "group_norm 4", "classifier"}), "4 do not divide 6");
  contains(error({"mean_pool", "conv 4", "classifier"}), "needs an image");
  contains(error({"linear 4", "max_pool 2", "classifier"}), "needs an image");
  contains(message_of([] { Model(named("resnet"), {8, 8, 1}, 3); }), "model.name: got \"resnet\"");
}

TEST(Model, SmallCnnGradientsAgreeWithDifferences) {
  Model model(named("small_cnn"), {28, 28, 1}, 10);
  randomise(model, DType::f64, 3);
  const ExampleBatch batch = random_batch(model, 1, 2, DType::f64, 4);
  ModelGradients gradients(model, CpuExec{1});
  const PerExampleGradient rows = gradients.rows(pick_rows(batch, {0}));
  const auto loss = [&] {
    model.parameters().touch();
    Workspace workspace;
    Tape tape(model.prepared(), nullptr, workspace);
    const Var logits = model.forward(tape, tape.input(batch.images));
    return tape.value(soft_cross_entropy(tape, logits, batch.targets, batch.weights)).data<double>()[0];
  };
  double* flat = model.parameters().flat().data<double>();
  PhiloxStream random(4, 4);
  for (const auto& entry : model.parameters().layout().entries)
    for (int i = 0; i < 4; ++i) {
      const int64_t column = entry.begin + random.below(static_cast<uint32_t>(entry.end - entry.begin));
      const double middle = flat[column], step = 1e-6;
      flat[column] = middle + step;
      const double above = loss();
      flat[column] = middle - step;
      const double slope = (above - loss()) / (2 * step);
      flat[column] = middle;
      const double ours = rows.slab().data<double>()[column];
      EXPECT_LE(std::abs(ours - slope), kModelGradcheckTolerance * std::max(std::abs(ours), 1e-3))
          << entry.name;
    }
}

TEST(Model, PredictIsTheForwardPassRowByRowOnAnyThreads) {
  Model model(wide_resnet_settings(10, 1, 4), {12, 12, 3}, 5);
  randomise(model, DType::f32, 5);
  const ExampleBatch batch = random_batch(model, 5, 1, DType::f32, 6);
  const Tensor logits = predict(model, batch.images, CpuExec{1});
  EXPECT_EQ(logits.shape(), (Shape{5, 5}));
  EXPECT_TRUE(same_bits(predict(model, batch.images, CpuExec{2}), logits));
  Workspace workspace;
  Tape tape(model.prepared(), nullptr, workspace);
  const Tensor& all = tape.value(model.forward(tape, tape.input(batch.images)));
  EXPECT_TRUE(same_bits(all.reshape({5, 5}), logits));
  EXPECT_EQ(predict(model, batch.images.rows(0, 0), CpuExec{1}).size(), 0);
}

TEST(Model, ScoreCountsAndAveragesCrossEntropy) {
  const Tensor logits = Tensor::of<float>({3, 2}, std::vector<float>{0, 0, 1000, 0, 1, 3});
  const int32_t labels[] = {1, 1, 1};
  Score score;
  add_to_score(score, logits, labels);
  EXPECT_EQ(score.images, 3);
  EXPECT_EQ(score.correct, 1);
  EXPECT_NEAR(score.loss, std::log(2.0) + 1000 + std::log1p(std::exp(-2.0)), 1e-6);
  EXPECT_NEAR(score.accuracy(), 1.0 / 3, 1e-15);
  EXPECT_EQ(Score().accuracy(), 0);
}

TEST(Model, AnEmptyBatchGivesNoRows) {
  Model model(named("linear"), {4, 4, 1}, 3);
  randomise(model, DType::f32, 1);
  const ExampleBatch batch = random_batch(model, 2, 1, DType::f32, 2);
  ModelGradients gradients(model, CpuExec{2});
  EXPECT_EQ(gradients.rows(pick_rows(batch, {})).rows(), 0);
  EXPECT_EQ(gradients.rows(pick_rows(batch, {1, 0})).rows(), 2);
}

TEST(Parameters, WrongUseIsNamed) {
  Parameters p;
  p.declare("a", {2}, Init::constant(1));
  EXPECT_EQ(message_of([&] { p.declare("a", {3}, Init::constant(0)); }), "parameters: two named \"a\"");
  p.allocate(DType::f32, Key{});
  EXPECT_EQ(message_of([&] { p.declare("b", {3}, Init::constant(0)); }),
            "parameters: \"b\" declared after allocate");
  EXPECT_EQ(message_of([&] { p.assign(Tensor::zeros({3}, DType::f32)); }),
            "parameters: assigned [3], wanted [2]");
  EXPECT_THROW(p.assign(Tensor::zeros({2}, DType::f64)), Error);
  const uint64_t version = p.version();
  p.assign(Tensor::zeros({2}, DType::f32));
  EXPECT_GT(p.version(), version);
}

}  // namespace
}  // namespace pergrad::test
