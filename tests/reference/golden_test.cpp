// The whole stack against PyTorch: tests/golden/wide_resnet.txt, made by make_golden.py beside it.
#include "layers/model_gradients.h"
#include "tests/support/models.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <sstream>

namespace pergrad::test {
namespace {

// The formula that both sides make their numbers with.
double wave(int64_t i, int64_t k) { return std::sin(static_cast<double>((i * i + 7 * i + 31 * k) % 1009)); }

void set_parameters(Model& model) {
  model.parameters().allocate(DType::f64, Key{});
  const Tensor flat = model.parameters().flat().clone();
  const auto& entries = model.parameters().layout().entries;
  for (size_t k = 0; k < entries.size(); ++k) {
    const std::string& name = entries[k].name;
    const bool matrix = entries[k].shape.size() > 1;
    const bool around_one = name.ends_with(".gain") || (name.ends_with(".weight") && !matrix);
    const double base = around_one ? 1 : 0, amplitude = matrix ? 0.3 : around_one ? 0.2 : 0.1;
    for (int64_t i = entries[k].begin; i < entries[k].end; ++i)
      flat.data<double>()[i] = base + amplitude * wave(i - entries[k].begin, static_cast<int64_t>(k));
  }
  model.parameters().assign(flat);
}

ExampleBatch make_batch(const Model& model, int64_t examples, int64_t views) {
  const ImageShape image = model.image();
  ExampleBatch batch;
  batch.images = Tensor::zeros({examples, views, image.height, image.width, image.channels}, DType::f64);
  batch.targets = Tensor::zeros({examples, views, model.labels()}, DType::f64);
  batch.weights = Tensor::zeros({examples, views}, DType::f64);
  for (int64_t i = 0; i < batch.images.size(); ++i) batch.images.data<double>()[i] = wave(i, 1000);
  for (int64_t n = 0; n < examples; ++n) {
    int64_t sum = 0;
    for (int64_t v = 0; v < views; ++v) sum += 1 + (n + v) % 2;
    for (int64_t v = 0; v < views; ++v) {
      double* target = batch.targets.data<double>() + (n * views + v) * model.labels();
      target[(n + v) % model.labels()] += 0.75;
      target[(2 * n + v + 1) % model.labels()] += 0.25;
      batch.weights.data<double>()[n * views + v] =
          static_cast<double>(1 + (n + v) % 2) / static_cast<double>(sum);
    }
    batch.units.push_back({{n}});
  }
  batch.is_real.assign(static_cast<size_t>(examples), 1);
  return batch;
}

// One model of the file and what PyTorch says about it.
class Golden {
 public:
  explicit Golden(std::istream& line) {
    int64_t depth, width, groups, labels, examples;
    ImageShape image;
    line >> depth >> width >> groups >> image.height >> image.width >> image.channels >> labels >> examples >>
        views_;
    model_ = std::make_unique<Model>(wide_resnet_settings(depth, width, groups), image, labels);
    set_parameters(*model_);
    batch_ = make_batch(*model_, examples, views_);
    gradients_ = std::make_unique<ModelGradients>(*model_, CpuExec{1});
    rows_ =
        std::make_unique<PerExampleGradient>(gradients_->rows(pick_rows(batch_, all_rows(batch_)), &losses_));
  }
  void check_example(std::istream& line) {
    line >> example_;
    next_parameter_ = 0;
  }
  void check_loss(std::istream& line) const {
    double wanted = 0;
    line >> wanted;
    const double got = losses_[static_cast<size_t>(example_)];
    EXPECT_NEAR(got, wanted, 1e-6 * wanted);  // kept as a float
  }
  void check_logits(std::istream& line) const {
    Workspace workspace;
    for (int64_t v = 0; v < views_; ++v) {
      Shape one = batch_.images.shape();
      one[0] = one[1] = 1;
      Shape flat = one;
      flat[0] = batch_.rows() * views_;
      const int64_t at = example_ * views_ + v;
      const Tensor logits = predict(*model_, batch_.images.reshape(flat).rows(at, at + 1), CpuExec{1});
      for (int64_t l = 0; l < model_->labels(); ++l) {
        double wanted = 0;
        ASSERT_TRUE(line >> wanted);
        EXPECT_NEAR(logits.data<double>()[l], wanted, kModelTolerance * (1 + std::abs(wanted)));
      }
    }
  }
  void check_gradient(std::istream& line) {
    std::string name;
    int64_t size = 0;
    double sum = 0, squares = 0, along = 0;
    ASSERT_TRUE(line >> name >> size >> sum >> squares >> along);
    // The file lists the parameters in the order of the layout.
    const auto& entry = model_->parameters().layout().entries.at(next_parameter_++);
    ASSERT_EQ(entry.name, name);
    ASSERT_EQ(entry.end - entry.begin, size);
    const double* got = rows_->slab().data<double>() + example_ * rows_->parameters() + entry.begin;
    const double norm = std::sqrt(squares), root = std::sqrt(static_cast<double>(size));
    EXPECT_NEAR(std::accumulate(got, got + size, 0.0), sum, kModelTolerance * norm * root) << name;
    double got_along = 0;
    for (int64_t i = 0; i < size; ++i) got_along += got[i] * wave(i, 500);
    EXPECT_NEAR(got_along, along, kModelTolerance * norm * root) << name;
    EXPECT_NEAR(std::inner_product(got, got + size, got, 0.0), squares, kModelTolerance * squares) << name;
    int64_t index = 0;
    double value = 0;
    for (int count = 0; line >> index >> value; ++count)
      EXPECT_NEAR(got[index], value, kModelTolerance * (std::abs(value) + norm / root))
          << name << ' ' << index;
    ++checked_;
  }
  int64_t checked() const { return checked_; }
  int64_t wanted() const {
    return batch_.rows() * static_cast<int64_t>(model_->parameters().layout().entries.size());
  }

 private:
  std::unique_ptr<Model> model_;
  ExampleBatch batch_;
  std::unique_ptr<ModelGradients> gradients_;
  std::vector<float> losses_;
  std::unique_ptr<PerExampleGradient> rows_;
  int64_t views_ = 0, example_ = 0, checked_ = 0;
  size_t next_parameter_ = 0;
};

TEST(Golden, WideResNetsOfPyTorch) {
  std::ifstream file(PG_SOURCE_DIR "/tests/golden/wide_resnet.txt");
  ASSERT_TRUE(file);
  std::vector<std::unique_ptr<Golden>> models;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "#") continue;
    if (word == "model") {
      models.push_back(std::make_unique<Golden>(line));
      continue;
    }
    ASSERT_FALSE(models.empty());
    if (word == "example") {
      models.back()->check_example(line);
    } else if (word == "loss") {
      models.back()->check_loss(line);
    } else if (word == "logits") {
      models.back()->check_logits(line);
    } else {
      ASSERT_EQ(word, "gradient");
      models.back()->check_gradient(line);
    }
  }
  ASSERT_EQ(models.size(), 2u);
  for (const auto& model : models) EXPECT_EQ(model->checked(), model->wanted());
}

}  // namespace
}  // namespace pergrad::test
