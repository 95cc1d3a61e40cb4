// Weights from PyTorch and to it: tests/golden/wide_resnet.safetensors, which PyTorch wrote (make_golden.py),
// gives its logits here, and written by us is the same tensors again.
#include "apps/atomic_file.h"
#include "apps/checkpoint.h"
#include "apps/safetensors.h"
#include "layers/model_gradients.h"
#include "program.h"
#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

namespace pergrad::test {
namespace {

const std::filesystem::path kWeights = PG_SOURCE_DIR "/tests/golden/wide_resnet.safetensors";

// The first model of make_golden.py, with PyTorch's weights.
struct Golden {
  static constexpr int64_t kSide = 12, kChannels = 3, kLabels = 5, kImages = 3 * 2;
  Model model{wide_resnet_settings(10, 1, 4), {kSide, kSide, kChannels}, kLabels};
  Golden() {
    model.parameters().allocate(DType::f32, Key{});
    apps::load_plain_weights(apps::Safetensors(slurp(kWeights), "golden"), model.parameters());
  }
};

// "logits" of the first model in wide_resnet.txt, one row an image.
std::vector<double> logits_of_pytorch() {
  std::ifstream file(PG_SOURCE_DIR "/tests/golden/wide_resnet.txt");
  std::vector<double> logits;
  int models = 0;
  for (std::string text; std::getline(file, text) && models < 2;) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "model") ++models;
    if (word == "logits" && models == 1)
      for (double value = 0; line >> value;) logits.push_back(value);
  }
  return logits;
}

TEST(TorchWeights, OfPyTorchGiveItsLogits) {
  Golden golden;
  const Tensor images =
      Tensor::empty({Golden::kImages, Golden::kSide, Golden::kSide, Golden::kChannels}, DType::f32);
  for (int64_t i = 0; i < images.size(); ++i)  // as make_golden.py makes them
    images.data<float>()[i] =
        static_cast<float>(std::sin(static_cast<double>((i * i + 7 * i + 31000) % 1009)));
  const std::vector<double> wanted = logits_of_pytorch();
  ASSERT_EQ(wanted.size(), static_cast<size_t>(Golden::kImages * Golden::kLabels));
  const Tensor logits = predict(
      golden.model, images.reshape({Golden::kImages, 1, Golden::kSide, Golden::kSide, Golden::kChannels}),
      CpuExec{1});
  constexpr double kFloats = 1e-5;  // PyTorch's are of doubles
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_NEAR(logits.data<float>()[i], wanted[i], kFloats * (1 + std::abs(wanted[i]))) << i;
}

TEST(TorchWeights, ComeBackBitForBit) {
  const TempFolder folder;
  Golden golden;
  apps::CheckpointInfo info;
  apps::save_checkpoint(folder / "", info, golden.model.parameters(), nullptr, nullptr);
  const apps::Safetensors theirs(slurp(kWeights), "theirs");
  const apps::Safetensors ours(slurp(folder / apps::kCheckpointFile), "ours");
  EXPECT_EQ(theirs.entries().size(), golden.model.parameters().layout().entries.size());
  EXPECT_EQ(ours.entries().size(), theirs.entries().size());
  for (const auto& entry : theirs.entries()) {
    const auto* found = ours.find(entry.name);
    ASSERT_NE(found, nullptr) << entry.name;
    EXPECT_EQ(found->shape, entry.shape) << entry.name;
    EXPECT_TRUE(ours.bytes_of(*found) == theirs.bytes_of(entry)) << entry.name;
  }
}

// The raw weights of a run as another program would save them: no averages, no metadata.
void write_plain(const std::filesystem::path& run, const std::filesystem::path& to) {
  const apps::Safetensors file(slurp(run / apps::kCheckpointFile), "run");
  std::vector<apps::NamedArray> arrays;
  for (const auto& entry : file.entries())
    if (!entry.name.starts_with("ema.") && !entry.name.starts_with("optimizer."))
      arrays.push_back({entry.name, entry.type, entry.shape, file.bytes_of(entry)});
  spill(to, apps::safetensors_bytes(arrays, {}));
}

TEST(TorchWeights, AreEvaluatedAsARunsOwn) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
  write_plain(folder / "run", folder / "plain.safetensors");
  const Outcome own = run(folder, {"evaluate", folder / "run", "--raw", "--json"});
  const Outcome plain = run(folder, {"evaluate", folder / "plain.safetensors", "--config", config, "--json"});
  ASSERT_EQ(plain.status, 0) << plain.err;
  for (const char* key : {"test_accuracy", "test_loss", "test_examples", "model", "dataset"})
    EXPECT_EQ(plain.json().at(key), own.json().at(key)) << key;
  EXPECT_FALSE(plain.json().contains("step"));
  EXPECT_FALSE(plain.json().contains("checkpoint"));
  EXPECT_NE(plain.json().at("weights").get<std::string>().find("plain.safetensors"), std::string::npos);
}

TEST(TorchWeights, WhatDoesNotFitIsRefused) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run", "--max-steps", "1"}).status, 0);
  write_plain(folder / "run", folder / "good.safetensors");
  const apps::Safetensors good(slurp(folder / "good.safetensors"), "good");
  // The file with one array changed; `change` returns whether it is kept.
  const auto write_changed = [&](const char* name, const auto& change) {
    std::vector<apps::NamedArray> arrays;
    for (const auto& entry : good.entries()) {
      apps::NamedArray array{entry.name, entry.type, entry.shape, good.bytes_of(entry)};
      if (change(array)) arrays.push_back(array);
    }
    spill(folder / name, apps::safetensors_bytes(arrays, {}));
  };
  const std::string bias = "layers.4.classifier.bias";
  ASSERT_NE(good.find(bias), nullptr);
  const std::string doubles(4 * sizeof(double), '\0');
  write_changed("missing", [&](auto& a) { return a.name != bias; });
  write_changed("other", [&](auto& a) { return a.name == bias ? a.name = "module." + bias, true : true; });
  write_changed("shape", [&](auto& a) { return a.name == bias ? a.shape = {2, 2}, true : true; });
  write_changed("f64", [&](auto& a) {
    if (a.name == bias) a.type = apps::ArrayType::f64, a.bytes = doubles;
    return true;
  });
  struct Case {
    std::vector<std::string> arguments;
    std::string message;
  };
  const auto in = [&](const char* name) { return (folder / name).string(); };
  const std::string checkpoint = in("run/checkpoint.safetensors"), toml = config.string();
  for (const Case& c :
       std::vector<Case>{{{in("missing"), "--config", toml}, "missing: \"" + bias + "\" is missing"},
                         {{in("other"), "--config", toml}, "\"module." + bias + "\" is not in the model"},
                         {{in("shape"), "--config", toml}, "\"" + bias + "\" is [2,2], the model has [4]"},
                         {{in("f64"), "--config", toml}, "\"" + bias + "\" is F64, wanted F32"},
                         {{checkpoint, "--config", toml}, "is a checkpoint, which has a config of its own"},
                         {{in("run"), "--config", toml}, "is a folder, wanted a file of weights"},
                         {{in("good.safetensors"), "--config", toml, "--ema"}, "one set of weights"},
                         {{in("good.safetensors"), "--config", in("nowhere.toml")}, "nowhere.toml"},
                         {{in("good.safetensors")}, "weights of another one are for evaluate --config"},
                         {{kWeights.string(), "--config", toml}, "is not in the model"}}) {
    std::vector<std::string> arguments = {"evaluate"};
    arguments.insert(arguments.end(), c.arguments.begin(), c.arguments.end());
    const Outcome refused = run(folder, arguments);
    EXPECT_EQ(refused.status, 2) << c.message;
    EXPECT_NE(refused.err.find(c.message), std::string::npos) << refused.err;
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
}

}  // namespace
}  // namespace pergrad::test
