// `pergrad train`: from a config to a run folder.
#pragma once

#include "apps/config.h"
#include "apps/console.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace pergrad::apps {

struct TrainOptions {
  std::filesystem::path config;
  ConfigChanges changes;              // --set, --non-private, --device
  std::filesystem::path out;          // --out; empty = runs/<config name>-<seed>
  bool resume = false;                // --resume
  std::optional<int64_t> simulate;    // --simulate: a rehearsal at this expected batch size (planning.h)
  std::string data_root;              // --data-root
  std::optional<double> max_minutes;  // stop cleanly after the step in flight, with a checkpoint
  std::optional<int64_t> max_steps;   // updates in this call
};

struct TrainResult {
  nlohmann::ordered_json summary;  // what summary.json holds
  std::string text;                // the same for people
};

// Trains until the last step, --max-minutes, --max-steps or an interrupt, whichever is first; always leaves a
// checkpoint from which --resume goes on, bit for bit as if it had never stopped.
//   THROWS: Error and its kinds, in one line.
TrainResult train(const TrainOptions& options, Console& console);

}  // namespace pergrad::apps
