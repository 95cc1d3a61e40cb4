// What the values of a config must be to each other, and writing it out.
#include "apps/config.h"

#include "apps/atomic_file.h"
#include "apps/config_keys.h"
#include "apps/config_reader.h"
#include "core/device.h"
#include "core/error.h"
#include "core/hash.h"

#include <toml++/toml.h>

#include <algorithm>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

void check_data(const Config& c) {
  const DataConfig& data = c.data;
  PG_CHECK_AS(FormatError, !data.spec.path.empty(), "data.path: got \"\", wanted a path");
  PG_CHECK_AS(FormatError, data.spec.channels != 2, "data.channels: got 2, wanted 1 or 3, or 0 for as found");
  PG_CHECK_AS(FormatError, data.spec.label_count != 1, "data.label_count: got 1, wanted at least 2, or 0");
  PG_CHECK_AS(FormatError, !data.spec.coarse_labels || data.spec.format == "cifar100",
              "data.coarse_labels: only cifar100 has them, data.format is ", data.spec.format);
  PG_CHECK_AS(FormatError, data.mean.size() == data.deviation.size(), "data.std: got ", data.deviation.size(),
              " numbers, but data.mean has ", data.mean.size());
  const std::string& format = data.spec.format;
  const size_t channels = data.spec.channels > 0     ? static_cast<size_t>(data.spec.channels)
                          : format == "idx"          ? 1
                          : format == "image_folder" ? 0
                                                     : 3;
  PG_CHECK_AS(FormatError,
              channels == 0 ? data.mean.size() == 1 || data.mean.size() == 3 : data.mean.size() == channels,
              "data.mean: got ", data.mean.size(),
              " numbers, wanted one a channel: ", channels == 0 ? "1 or 3" : concat(channels));
}

void check_model(const ModelSettings& model) {
  if (model.name == "wide_resnet")
    PG_CHECK_AS(FormatError, model.depth >= 10 && (model.depth - 4) % 6 == 0, "model.depth: got ",
                model.depth, ", wanted 6 n + 4 (10, 16, 22, 28, 34, 40, ...)");
  PG_CHECK_AS(FormatError, model.name == "sequential" || model.layers.empty(),
              "model.layers: only for name = \"sequential\", got \"", model.name, '"');
  PG_CHECK_AS(FormatError, model.name != "sequential" || !model.layers.empty(),
              "model.layers: missing; \"sequential\" wants one line a layer");
}

void check_augment(const augment::AugmentSettings& a) {
  const int64_t draws = a.base + a.pool;
  PG_CHECK_AS(FormatError, draws > 0, "augment.base: got 0 and augment.pool is 0, wanted at least one view");
  PG_CHECK_AS(FormatError, a.mix == 0 || a.method != augment::MixMethod::none,
              "augment.method: got none, but augment.mix is ", a.mix, ", wanted mixup or cutmix");
  PG_CHECK_AS(FormatError, a.mix == 0 || draws >= 2 || a.mix_degenerate, "augment.mix: got ", a.mix,
              ", but base + pool is 1: nothing to mix it with");
}

void check_pool(const Config& c) {
  const PoolConfig& pool = c.pool;
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"format", pool.format},
                                    {"path", pool.path},
                                    {"provenance", pool.provenance}}) {
    PG_CHECK_AS(FormatError, c.has_pool() || value.empty(), "pool.", name, ": given, but augment.pool is 0");
    PG_CHECK_AS(FormatError, !c.has_pool() || !value.empty(), "pool.", name,
                ": missing; augment.pool > 0 wants a public pool with its format, path and provenance");
  }
  const auto plain = [](char ch) { return ch >= ' ' && ch <= '~' && ch != '"' && ch != '\\'; };
  PG_CHECK_AS(FormatError, std::ranges::all_of(pool.provenance, plain),
              "pool.provenance: wanted printable ASCII without quotes and backslashes");
  PG_CHECK_AS(FormatError, !c.has_pool() || pool.provenance.find_first_not_of(' ') != std::string::npos,
              "pool.provenance: got spaces, wanted one line that says why these images are public");
}

void check_privacy(const Config& c) {
  const PrivacyConfig& p = c.privacy;
  PG_CHECK_AS(FormatError, p.sampling == "poisson", "privacy.sampling: got \"", p.sampling,
              "\", wanted poisson: the accountant's bound is for Poisson sampling, and other sampling spends "
              "more than it would say");
  if (!p.non_private) {
    PG_CHECK_AS(FormatError, !(p.epsilon && p.noise_multiplier),
                "privacy.noise_multiplier: given together with privacy.epsilon, wanted exactly one of them");
    PG_CHECK_AS(FormatError, p.epsilon || p.noise_multiplier,
                "privacy.epsilon: missing; wanted it or privacy.noise_multiplier (or --non-private)");
    PG_CHECK_AS(FormatError, !p.noise_multiplier || *p.noise_multiplier > 0,
                "privacy.noise_multiplier: got 0, wanted above 0 (or --non-private)");
  }
  const bool groups = p.units == "microbatch";
  PG_CHECK_AS(FormatError, !groups || p.microbatch_size >= 2, "privacy.microbatch_size: got ",
              p.microbatch_size, ", wanted at least 2 with units = \"microbatch\"");
  PG_CHECK_AS(FormatError, groups || p.microbatch_size == 0, "privacy.microbatch_size: got ",
              p.microbatch_size, ", wanted 0 with units = \"example\"");
  PG_CHECK_AS(FormatError, groups || p.microbatch_mix == augment::GroupMix::none,
              "privacy.microbatch_mix: examples are mixed with each other only with units = \"microbatch\"");
}

void check_train(const Config& c) {
  const TrainConfig& t = c.train;
  PG_CHECK_AS(FormatError, t.learning_rate.warmup_steps <= t.steps, "train.warmup_steps: got ",
              t.learning_rate.warmup_steps, ", wanted at most train.steps, ", t.steps);
  PG_CHECK_AS(FormatError, !t.adam_noise_correction || t.optimizer.name == "adam",
              "train.adam_noise_correction: only for optimizer = \"adam\", got \"", t.optimizer.name, '"');
  PG_CHECK_AS(FormatError, t.optimizer.momentum == 0 || t.optimizer.name == "sgd",
              "train.momentum: only for optimizer = \"sgd\", got \"", t.optimizer.name,
              "\" (it has adam_beta1)");
}

void check_speed(const SpeedConfig& s) {
  try {
    Device::parse(s.device);
  } catch (const Error&) {
    throw FormatError(
        concat("speed.device: got \"", s.device, "\", wanted cpu, cuda, cuda:1 and so on, or emulated"));
  }
  PG_CHECK_AS(FormatError, s.device != "planning", "speed.device: on \"planning\" nothing is trained");
  PG_CHECK_AS(FormatError, !s.where().is_cpu() || s.precision == "auto" || s.precision == "fp32",
              "speed.precision: got \"", s.precision, "\", wanted fp32 on the processor");
}

}  // namespace

Precision SpeedConfig::computes_in() const {
  if (precision != "auto") return parse_precision(precision);
  return where().is_cpu() ? Precision::fp32 : Precision::bf16;
}

namespace {

Config finish(const toml::table& file, const std::string& name, const ConfigChanges& changes) {
  Config config;
  ConfigReader reader(config);
  reader.read(file, name);
  for (const std::string& text : changes.set) reader.override_with(text);
  reader.require_all(name);
  // What is asked for on the command line replaces its alternative in the file.
  const bool epsilon = reader.was_overridden("privacy.epsilon");
  const bool noise = reader.was_overridden("privacy.noise_multiplier");
  if (epsilon && !noise) config.privacy.noise_multiplier.reset();
  if (noise && !epsilon) config.privacy.epsilon.reset();
  if (reader.was_overridden("augment.pool") && !config.has_pool()) config.pool = {};
  if (changes.non_private) config.privacy.non_private = true;
  config.train.learning_rate.steps = config.train.steps;
  try {
    check_data(config);
    check_model(config.model);
    check_augment(config.augment);
    check_pool(config);
    check_privacy(config);
    check_train(config);
    check_speed(config.speed);
  } catch (const FormatError& error) {  // "section.key: ..."
    const std::string text = error.what();
    const bool from_flag = reader.was_overridden(text.substr(0, text.find(':')));
    throw FormatError(concat(from_flag ? "command line" : name, ": ", text));
  }
  return config;
}

// "key" and its value, for every key that has one, in order.
std::vector<std::pair<std::string, std::string>> result_keys(const Config& config) {
  Config copy = config;
  std::vector<std::pair<std::string, std::string>> lines;
  for (const ConfigKey& key : config_keys(copy))
    if (key.section != "speed" && key.section != "log")
      lines.emplace_back(key.dotted(), toml_of(key).value_or("(not set)"));
  return lines;
}

}  // namespace

Config parse_config(std::string_view text, const std::string& name, const ConfigChanges& changes) {
  try {
    return finish(toml::parse(text, std::string_view(name)), printable(name), changes);
  } catch (const toml::parse_error& error) {
    throw FormatError(
        concat(printable(name), ':', error.source().begin.line, ": ", printable(error.description())));
  }
}

Config load_config(const fs::path& file, const ConfigChanges& changes) {
  return parse_config(read_file(file), file.native(), changes);
}

std::string resolved_toml(const Config& config) {
  Config copy = config;
  const std::vector<ConfigKey> keys = config_keys(copy);
  std::string out;
  for (const ConfigSection& section : config_sections()) {
    out += concat(out.empty() ? "" : "\n", '[', section.name, ']', section.comment.empty() ? "" : "  # ",
                  section.comment, '\n');
    for (const ConfigKey& key : keys) {
      if (key.section != section.name) continue;
      const std::optional<std::string> value = toml_of(key);
      out += value ? concat(key.name, " = ", *value) : concat("# ", key.name, " is not set");
      out += key.comment.empty() ? "\n" : concat("  # ", key.comment, '\n');
    }
  }
  return out;
}

std::string config_hash(const Config& config) {
  std::string text;
  for (const auto& [key, value] : result_keys(config)) text += concat(key, " = ", value, '\n');
  return sha256_hex(text);
}

std::optional<std::string> first_difference(const Config& now, const Config& before) {
  const auto new_keys = result_keys(now), old_keys = result_keys(before);
  for (size_t i = 0; i < new_keys.size(); ++i)
    if (new_keys[i].second != old_keys[i].second)
      return concat(new_keys[i].first, ": got ", new_keys[i].second, ", the run was started with ",
                    old_keys[i].second);
  return std::nullopt;
}

bool operator==(const Config& a, const Config& b) { return resolved_toml(a) == resolved_toml(b); }

namespace {
// N as the public knows it: adding an example must not change what is derived from it.
int64_t public_examples(const Config& config, int64_t n_examples) {
  return config.data.examples > 0 ? config.data.examples : n_examples;
}
}  // namespace

double sampling_rate(const Config& config, int64_t n_examples) {
  return static_cast<double>(config.train.expected_batch_size) /
         static_cast<double>(public_examples(config, n_examples));
}

std::vector<std::string> check_with_data(const Config& config, int64_t n_examples) {
  PG_CHECK(n_examples > 0, "data.path: no training examples");
  const int64_t public_n = public_examples(config, n_examples);
  PG_CHECK(n_examples <= public_n, "data.examples: got ", public_n,
           ", wanted at least the number of training examples, ", n_examples);
  PG_CHECK(config.train.expected_batch_size <= public_n, "train.expected_batch_size: got ",
           config.train.expected_batch_size, ", wanted at most the number of training examples, ", public_n);
  std::vector<std::string> warnings;
  if (!config.privacy.non_private && config.privacy.delta >= 1 / static_cast<double>(public_n))
    warnings.push_back(concat("privacy.delta: ", toml_of(config.privacy.delta), " is not below 1/N = 1/",
                              public_n,
                              ": such a delta would allow publishing a whole example now and then"));
  return warnings;
}

DataSpec pool_spec(const Config& config, const Dataset& train) {
  DataSpec spec = config.data.spec;  // label_count is what the user asked for, not what was found
  spec.format = config.pool.format;
  spec.path = config.pool.path;
  spec.height = train.height;
  spec.width = train.width;
  spec.channels = train.channels;
  spec.coarse_labels = config.data.spec.coarse_labels && spec.format == "cifar100";
  return spec;
}

augment::Normalisation normalisation(const Config& config) {
  return {config.data.mean, config.data.deviation};
}

dp::PlanSettings plan_settings(const Config& config, int64_t n_examples, double noise_multiplier) {
  dp::PlanSettings plan;
  plan.sampling_rate = sampling_rate(config, n_examples);
  plan.noise_multiplier = noise_multiplier;
  plan.clip_norm = config.privacy.clip_norm;
  plan.steps = config.train.steps;
  plan.expected_batch = static_cast<double>(config.train.expected_batch_size);
  plan.delta = config.privacy.delta;
  plan.max_examples = public_examples(config, n_examples);
  plan.units = config.privacy.units;
  plan.microbatch_size = config.privacy.microbatch_size;
  plan.pool = config.has_pool() ? config.pool.provenance : "none";
  plan.noise_source = config.noise_source;
  return plan;
}

OptimizerSettings optimizer_settings(const Config& config, double noise_variance) {
  OptimizerSettings settings = config.train.optimizer;
  settings.noise_variance = config.train.adam_noise_correction ? noise_variance : 0;
  return settings;
}

}  // namespace pergrad::apps
