// Config: what a run is, read from TOML, checked, and written out again with every default.
//
// 1. Strict: an unknown or duplicate key, a wrong type, a number that is not finite or out of range is
//    refused in one line that names the key and what was wanted.
// 2. resolved_toml() writes every key; reading it back gives an equal Config. It is RUN_DIR/config.toml.
// 3. [speed] and [log] never change the guarantee, nor, device and precision aside, the result of a run and
// are left out of its hash.
#pragma once

#include "apps/data_load.h"
#include "augment/augmenter.h"
#include "augment/microbatch_mix.h"
#include "dp/plan.h"
#include "layers/ema.h"
#include "layers/models.h"
#include "layers/optimizer.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::apps {

// [data]: what is trained on.
struct DataConfig {
  DataSpec spec;                  // format, path, height, width, channels, label_count, coarse_labels
  std::vector<double> mean;       // [C], of pixels in [0, 1]; public constants
  std::vector<double> deviation;  // [C], key "std"
  int64_t validation = 0;         // the last so many training examples take the place of the test set
  int64_t train_limit = 0;        // the first so many of the others; 0 = all
  int64_t examples = 0;           // N as the public knows it; 0 = as found, which is then taken as public
};

// [pool]: public images of DP-Mix. Given if and only if augment.pool > 0.
struct PoolConfig {
  std::string format;
  std::string path;
  std::string provenance;  // one line, printable ASCII
};

// [privacy]: the guarantee.
struct PrivacyConfig {
  bool non_private = false;                // no clipping, no noise, no guarantee (--non-private)
  std::optional<double> epsilon;           // target; exactly one of the two, unless non_private
  std::optional<double> noise_multiplier;  // sigma = noise std / clip_norm
  double delta = 1e-5;                     // a probability
  double clip_norm = 1.0;                  // gradient L2 units
  std::string sampling = "poisson";        // nothing else is accounted for
  std::string units = "example";           // or "microbatch"
  int64_t microbatch_size = 0;             // mean ids in a unit; 0 unless units = "microbatch"
  augment::GroupMix microbatch_mix = augment::GroupMix::none;
};

// [train]: utility.
struct TrainConfig {
  int64_t expected_batch_size = 0;
  int64_t simulated_batch_size = 0;  // a rehearsal (planning.h) of so large a batch; 0 = the run itself
  int64_t steps = 0;
  OptimizerSettings optimizer;  // optimizer, momentum, adam_*
  bool adam_noise_correction = false;
  LearningRate learning_rate;  // learning_rate, schedule, warmup_steps; its `steps` is train.steps
  double ema_decay = 0.9999;   // 0 = no average
  bool ema_warmup = true;
  uint64_t seed = 1;
  int64_t evaluate_every = 0;      // steps; 0 = only at the end
  int64_t checkpoint_every = 100;  // steps; 0 = only at the end
};

// [speed]: never changes the guarantee; nor the result, but for rounding where device or precision change.
struct SpeedConfig {
  std::string device = "cpu";      // "cpu", "cuda", "cuda:1", "emulated"
  int64_t max_examples = 0;        // units in memory at a time; 0 = planned from the memory
  int64_t max_memory_mb = 2048;    // MiB, on the processor; on a GPU what is free is planned with
  std::string precision = "auto";  // of convolutions: fp32, tf32, bf16; auto = fp32, on a GPU bf16
  int64_t threads = 0;             // 0 = all

  Device where() const { return Device::parse(device); }
  Precision computes_in() const;
};

struct LogConfig {
  int64_t every = 10;       // steps between lines of metrics.jsonl
  bool nonprivate = false;  // also log training loss, clip rate and true batch size, which are not private
};

struct Config {
  DataConfig data;
  ModelSettings model;
  augment::AugmentSettings augment;
  PoolConfig pool;
  PrivacyConfig privacy;
  TrainConfig train;
  std::string noise_source = "secure";  // [noise] source; or "reproducible"
  SpeedConfig speed;
  LogConfig log;

  bool has_pool() const { return augment.pool > 0; }
};

// What the command line adds to a file.
struct ConfigChanges {
  std::vector<std::string> set;  // --set: "section.key=value"; the value is TOML, a bare string is accepted
  bool non_private = false;      // --non-private
};

// The config in a file, with changes applied.   THROWS: Error, FormatError: one line.
Config load_config(const std::filesystem::path& file, const ConfigChanges& changes = {});
// The same from text; `name` stands for the file in messages.
Config parse_config(std::string_view text, const std::string& name, const ConfigChanges& changes = {});

// Every key with its value, in a fixed order, with short comments.
std::string resolved_toml(const Config& config);
// SHA-256 (hexadecimal) of the keys and values of resolved_toml, without its comments, [speed] and [log].
std::string config_hash(const Config& config);
// "train.steps: got 200, the run was started with 100": the first key (in the order of resolved_toml; [speed]
// and [log] aside) in which `now` differs from `before`.
std::optional<std::string> first_difference(const Config& now, const Config& before);
// Equal in every key.
bool operator==(const Config& a, const Config& b);

// What can be checked only once the number of training examples (after train_limit) is known: that
// expected_batch_size / n_examples is a sampling rate in (0, 1].
//   Returns warnings, one line each: delta >= 1/N.   THROWS: Error.
std::vector<std::string> check_with_data(const Config& config, int64_t n_examples);

// q = expected_batch_size / N, where N is data.examples or, if that is 0, n_examples.
double sampling_rate(const Config& config, int64_t n_examples);

// [data] and [pool] for load_dataset and load_pool. `train`: the pool's images take the shape of these.
inline const DataSpec& data_spec(const Config& config) { return config.data.spec; }
DataSpec pool_spec(const Config& config, const Dataset& train);
augment::Normalisation normalisation(const Config& config);
// [privacy] as the plan needs it. noise_multiplier: config.privacy.noise_multiplier, or what epsilon needs.
//   REQUIRES: not non_private.
dp::PlanSettings plan_settings(const Config& config, int64_t n_examples, double noise_multiplier);
// [train] for make_optimizer. noise_variance: of each coordinate of a gradient, (noise std / divisor)^2; used
// only if train.adam_noise_correction.
OptimizerSettings optimizer_settings(const Config& config, double noise_variance);

}  // namespace pergrad::apps
