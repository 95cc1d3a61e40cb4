// `pergrad evaluate`: the accuracy of a run or a checkpoint on its test set.
#pragma once

#include "apps/console.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace pergrad::apps {

struct EvaluateOptions {
  std::filesystem::path path;  // a run's folder, a checkpoint file, or with `config` a file of weights
  std::optional<std::filesystem::path> config;  // --config: model and data of weights of another program
  std::string data_root;
  bool averaged = true;  // --raw alone clears it
  bool raw = true;       // --ema alone clears it
  int64_t threads = 0;
  std::string device = "cpu";
};

struct EvaluateResult {
  nlohmann::ordered_json json;
  std::string text;
};

// JSON: {"test_accuracy", "test_loss", "test_accuracy_ema", "test_loss_ema", "test_examples", "step",
// "model", "device", "dataset", "checkpoint"}; what was not asked for, or is not there, is left out. Weights
// of another program have neither averages nor a step, and "weights" names their file in place of
// "checkpoint".
EvaluateResult evaluate(const EvaluateOptions& options, Console& console);

}  // namespace pergrad::apps
