// The table of keys, and values as TOML.
#include "apps/config_keys.h"

#include "apps/data_image.h"
#include "core/error.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace pergrad::apps {
namespace {

constexpr double kMost = std::numeric_limits<double>::max();
constexpr Interval kPositive{0, kMost, "above 0"};
constexpr Interval kAny{-kMost, kMost, "a finite number"};
constexpr Interval kDecay{0, 1, "in [0, 1)"};
constexpr int64_t kMostSteps =
    (int64_t{1} << 32) - 1;  // a step is half of a random stream's name (core/philox.h)

template <class Enum>
ChoiceKey choice(Enum* value, std::vector<std::string> choices) {
  return {std::move(choices), [value] { return static_cast<size_t>(*value); },
          [value](size_t i) { *value = static_cast<Enum>(i); }};
}

}  // namespace

bool Interval::contains(double x) const {
  const std::string shape = text;
  const bool open_low = shape.starts_with("above") || shape.find('(') != std::string::npos;
  const bool open_high = shape.find(')') != std::string::npos;
  return std::isfinite(x) && (open_low ? x > low : x >= low) && (open_high ? x < high : x <= high);
}

const std::vector<ConfigSection>& config_sections() {
  static const std::vector<ConfigSection> sections = {
      {"data", "what is trained on"},
      {"model", ""},
      {"augment", "the path from one example to its views"},
      {"pool", "public images; only with augment.pool > 0"},
      {"privacy", "guarantee"},
      {"train", "utility"},
      {"noise", ""},
      {"speed", "never changes the guarantee"},
      {"log", "never changes the result"},
  };
  return sections;
}

std::vector<ConfigKey> config_keys(Config& c) {
  DataSpec& data = c.data.spec;
  augment::AugmentSettings& a = c.augment;
  OptimizerSettings& o = c.train.optimizer;
  const std::vector<std::string> formats = {"idx", "cifar10", "cifar100", "image_folder"};
  std::vector<std::string> formats_or_none = formats;
  formats_or_none.emplace_back();
  constexpr bool kRequired = true;
  return {
      {"data", "format", TextKey{&data.format, formats}, "idx, cifar10, cifar100 or image_folder", kRequired},
      {"data", "path", TextKey{&data.path, {}}, "relative to --data-root, or absolute", kRequired},
      {"data", "mean", NumbersKey{&c.data.mean, kAny}, "public constants, never computed from the data",
       kRequired},
      {"data", "std", NumbersKey{&c.data.deviation, kPositive}, "one a channel, for pixels in [0, 1]",
       kRequired},
      {"data", "height", IntegerKey{&data.height, 0, kMaxImageSide}, "pixels; 0 = as found"},
      {"data", "width", IntegerKey{&data.width, 0, kMaxImageSide}, "pixels; 0 = as found"},
      {"data", "channels", IntegerKey{&data.channels, 0, 3}, "1 or 3; 0 = as found"},
      {"data", "label_count", IntegerKey{&data.label_count, 0, INT32_MAX}, "0 = as found"},
      {"data", "coarse_labels", FlagKey{&data.coarse_labels}, "cifar100: its 20 coarse labels"},
      {"data", "validation", IntegerKey{&c.data.validation},
       "the last so many training examples are held out, to score on instead of the test set; 0 = none"},
      {"data", "train_limit", IntegerKey{&c.data.train_limit}, "the first so many of the others; 0 = all"},
      {"data", "examples", IntegerKey{&c.data.examples},
       "public number of examples, for the sampling rate; 0 = as found, taken as public"},

      {"model", "name", TextKey{&c.model.name, {"wide_resnet", "small_cnn", "linear", "sequential"}},
       "wide_resnet, small_cnn, linear or sequential"},
      {"model", "depth", IntegerKey{&c.model.depth, 1, 10000}, "wide_resnet: 6 n + 4"},
      {"model", "width", IntegerKey{&c.model.width, 1, 10000}, "wide_resnet: widening factor"},
      {"model", "norm", TextKey{&c.model.norm, {"group", "none"}}, "wide_resnet: group or none"},
      {"model", "groups", IntegerKey{&c.model.groups, 1, 1000000}, "wide_resnet: of every group norm"},
      {"model", "weight_standardization", FlagKey{&c.model.weight_standardization}, "of every convolution"},
      {"model", "layers", TextsKey{&c.model.layers}, "sequential: one line a layer"},

      {"augment", "base", IntegerKey{&a.base, 0, 65536}, "transformed views of the example"},
      {"augment", "mix", IntegerKey{&a.mix, 0, 65536}, "mixes of two of them"},
      {"augment", "pool", IntegerKey{&a.pool, 0, 65536}, "draws from the public pool"},
      {"augment", "crop_padding", IntegerKey{&a.crop_padding, 0, kMaxImageSide}, "pixels on each side"},
      {"augment", "padding", choice(&a.padding, {"reflect", "symmetric"}),
       "reflect (edge not repeated) or symmetric"},
      {"augment", "flip", FlagKey{&a.flip}, "left to right, with probability 1/2"},
      {"augment", "color_jitter", FlagKey{&a.effects.color_jitter}, "a view may get one of these six"},
      {"augment", "affine", FlagKey{&a.effects.affine}, "rotated, sheared, scaled, moved"},
      {"augment", "cutout", IntegerKey{&a.effects.cutout, 0, kMaxImageSide}, "side of the square; 0 = off"},
      {"augment", "gaussian_noise", NumberKey{&a.effects.gaussian_noise, {0, 100, "in [0, 100]"}},
       "standard deviation, normalised units; 0 = off"},
      {"augment", "blur", FlagKey{&a.effects.blur}, "Gaussian, 3 x 3"},
      {"augment", "sobel", FlagKey{&a.effects.sobel}, "size of the gradient in place of each channel"},
      {"augment", "effect_probability", NumberKey{&a.effects.probability, {0, 1, "in [0, 1]"}},
       "that a draw gets one of those that are on"},
      {"augment", "mix_alpha", NumberKey{&a.mix_alpha, {0, 1e6, "in (0, 1e6]"}},
       "lambda ~ Beta(alpha, alpha)"},
      {"augment", "method", choice(&a.method, {"none", "mixup", "cutmix"}), "mixup, cutmix or none"},
      {"augment", "fold_lambda", FlagKey{&a.fold_lambda}, "lambda := max(lambda, 1 - lambda)"},
      {"augment", "share_lambda", FlagKey{&a.share_lambda}, "one lambda an example and step, not one a mix"},
      {"augment", "pairing", choice(&a.pairing, {"with_replacement", "without_replacement", "independent"}),
       "with_replacement, without_replacement or independent"},
      {"augment", "mix_degenerate", FlagKey{&a.mix_degenerate}, "control: a view mixed with itself"},
      {"augment", "pool_augmented", FlagKey{&a.pool_augmented}, "pool images are transformed too"},

      {"pool", "format", TextKey{&c.pool.format, formats_or_none}, "as data.format"},
      {"pool", "path", TextKey{&c.pool.path, {}}, "as data.path"},
      {"pool", "provenance", TextKey{&c.pool.provenance, {}},
       "why it is public; goes into ledger and report"},

      {"privacy", "non_private", FlagKey{&c.privacy.non_private},
       "true = no guarantee at all (--non-private)"},
      {"privacy", "epsilon", NumberKey{&c.privacy.epsilon, {0, kMost, "above 0"}},
       "target; this or noise_multiplier"},
      {"privacy", "noise_multiplier", NumberKey{&c.privacy.noise_multiplier, {0, 16384, "in [0, 16384]"}},
       "noise std / clip_norm; this or epsilon"},
      {"privacy", "delta", NumberKey{&c.privacy.delta, {0, 1, "in (0, 1)"}}, "a probability, below 1/N"},
      {"privacy", "clip_norm", NumberKey{&c.privacy.clip_norm, {1e-20, 1e20, "in [1e-20, 1e20]"}},
       "L2 norm of one unit's gradient"},
      {"privacy", "sampling", TextKey{&c.privacy.sampling, {}}, "poisson: what the accountant assumes"},
      {"privacy", "units", TextKey{&c.privacy.units, {"example", "microbatch"}},
       "example, or microbatch (counts double)"},
      {"privacy", "microbatch_size", IntegerKey{&c.privacy.microbatch_size, 0, 65536},
       "mean examples a unit"},
      {"privacy", "microbatch_mix", choice(&c.privacy.microbatch_mix, {"none", "added", "replacing"}),
       "none, added or replacing"},

      {"train", "expected_batch_size", IntegerKey{&c.train.expected_batch_size, 1, int64_t{1} << 53},
       "sampling rate * N; a public constant", kRequired},
      {"train", "simulated_batch_size", IntegerKey{&c.train.simulated_batch_size, 0, int64_t{1} << 53},
       "a rehearsal (train --simulate) of a run with this expected batch; 0 = the run itself"},
      {"train", "steps", IntegerKey{&c.train.steps, 1, kMostSteps}, "", kRequired},
      {"train", "optimizer", TextKey{&o.name, {"sgd", "adam"}}, "sgd or adam"},
      {"train", "learning_rate", NumberKey{&c.train.learning_rate.peak, kPositive}, "", kRequired},
      {"train", "momentum", NumberKey{&o.momentum, kDecay}, "sgd"},
      {"train", "adam_beta1", NumberKey{&o.beta1, kDecay}, ""},
      {"train", "adam_beta2", NumberKey{&o.beta2, kDecay}, ""},
      {"train", "adam_epsilon", NumberKey{&o.epsilon, {1e-37, 1e6, "in [1e-37, 1e6]"}},
       "with noise correction: the smallest denominator"},
      {"train", "adam_noise_correction", FlagKey{&c.train.adam_noise_correction},
       "subtract the known noise variance from the second moment"},
      {"train", "schedule", TextKey{&c.train.learning_rate.schedule, {"constant", "linear", "cosine"}},
       "constant, or linear or cosine to 0"},
      {"train", "warmup_steps", IntegerKey{&c.train.learning_rate.warmup_steps}, ""},
      {"train", "ema_decay", NumberKey{&c.train.ema_decay, kDecay}, "average of the weights; 0 = none"},
      {"train", "ema_warmup", FlagKey{&c.train.ema_warmup}, "min(decay, (1 + t) / (10 + t)) after t updates"},
      {"train", "seed", IntegerKey{&c.train.seed}, ""},
      {"train", "evaluate_every", IntegerKey{&c.train.evaluate_every}, "steps; 0 = only at the end"},
      {"train", "checkpoint_every", IntegerKey{&c.train.checkpoint_every}, "steps; 0 = only at the end"},

      {"noise", "source", TextKey{&c.noise_source, {"secure", "reproducible"}},
       "secure, or reproducible: whoever knows the seed can subtract the noise"},

      {"speed", "device", TextKey{&c.speed.device, {}}, "cpu, cuda:0, ... or emulated"},
      {"speed", "max_examples", IntegerKey{&c.speed.max_examples, 0, int64_t{1} << 31},
       "in memory at a time; 0 = planned from the memory"},
      {"speed", "max_memory_mb", IntegerKey{&c.speed.max_memory_mb, 1, int64_t{1} << 40},
       "MiB, on the processor"},
      {"speed", "precision", TextKey{&c.speed.precision, {"auto", "fp32", "tf32", "bf16"}},
       "of convolutions: fp32, tf32 or bf16; auto = fp32, on a GPU bf16"},
      {"speed", "threads", IntegerKey{&c.speed.threads, 0, 1024}, "0 = all"},

      {"log", "every", IntegerKey{&c.log.every, 1}, "steps"},
      {"log", "nonprivate", FlagKey{&c.log.nonprivate}, "loss, clip rate, batch size: they are not private"},
  };
}

std::string toml_of(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string toml_of(double value) {
  char text[40];
  const std::string shortest(text, std::to_chars(text, text + sizeof text, value).ptr);
  return shortest.find_first_of(".e") == std::string::npos ? shortest + ".0" : shortest;
}

namespace {

template <class Values>
std::string toml_list(const Values& values) {
  std::string out = "[";
  for (const auto& value : values) out += (out.size() > 1 ? ", " : "") + toml_of(value);
  return out + ']';
}

struct ToToml {
  std::optional<std::string> operator()(const FlagKey& key) const { return *key.value ? "true" : "false"; }
  std::optional<std::string> operator()(const IntegerKey& key) const {
    return std::visit([](const auto* value) { return std::to_string(*value); }, key.value);
  }
  std::optional<std::string> operator()(const NumberKey& key) const {
    if (const auto* always = std::get_if<double*>(&key.value)) return toml_of(**always);
    const std::optional<double>& value = *std::get<std::optional<double>*>(key.value);
    if (!value) return std::nullopt;
    return toml_of(*value);
  }
  std::optional<std::string> operator()(const TextKey& key) const { return toml_of(*key.value); }
  std::optional<std::string> operator()(const ChoiceKey& key) const {
    return toml_of(key.choices.at(key.get()));
  }
  std::optional<std::string> operator()(const NumbersKey& key) const { return toml_list(*key.value); }
  std::optional<std::string> operator()(const TextsKey& key) const { return toml_list(*key.value); }
};

}  // namespace

std::optional<std::string> toml_of(const ConfigKey& key) { return std::visit(ToToml{}, key.value); }

}  // namespace pergrad::apps
