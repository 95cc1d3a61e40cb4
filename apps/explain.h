// `pergrad explain`: one step of DP-SGD on four tiny examples, every number of it, made by the code that
// trains.
#pragma once

#include "apps/config.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace pergrad::apps {

struct ExplainOptions {
  std::filesystem::path config;  // its views, clip norm, noise and learning rate; empty = a small example
  ConfigChanges changes;         // --set
};

struct ExplainResult {
  nlohmann::ordered_json json;
  std::string text;
};

// The four examples are made up: nothing private is read, whatever the config. Of a config, at most two base
// views, two mixes and a crop padding of one are taken, and the model is linear, so that all numbers fit a
// page.
//   THROWS: Error for a config without privacy, or with micro-batches; PrivacyError as plan_of.
ExplainResult explain(const ExplainOptions& options);

}  // namespace pergrad::apps
