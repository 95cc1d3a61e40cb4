// Config: every key is read, written and read back; what the hash depends on; overrides; conversions.
#include "apps/config.h"
#include "apps/config_keys.h"
#include "core/error.h"
#include "layers/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace pergrad::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;
using testing::StartsWith;

const std::string kSmallest = R"(
[data]
format = "idx"
path = "fashion-mnist"
mean = [0.2860]
std = [0.3530]
[privacy]
epsilon = 8
[train]
expected_batch_size = 4096
steps = 2500
learning_rate = 2.0
)";

// Every key at a value that is not its default.
const std::string kEverything = R"(
[data]
format = "cifar100"
path = "a \"b\" c"
mean = [0.5, 0.25, 0.125]
std = [0.5, 0.25, 1e-3]
height = 24
width = 20
channels = 3
label_count = 20
coarse_labels = true
validation = 100
train_limit = 1000
examples = 1024
[model]
name = "sequential"
depth = 22
width = 8
norm = "none"
groups = 4
weight_standardization = false
layers = ["conv 8 k3", "relu", "classifier"]
[augment]
base = 2
mix = 3
pool = 4
crop_padding = 5
padding = "symmetric"
flip = true
color_jitter = true
affine = true
cutout = 5
gaussian_noise = 0.25
blur = true
sobel = true
effect_probability = 0.75
mix_alpha = 0.7
method = "cutmix"
fold_lambda = true
share_lambda = true
pairing = "independent"
mix_degenerate = true
pool_augmented = false
[pool]
format = "image_folder"
path = "pool"
provenance = "dead leaves, seed 3"
[privacy]
non_private = true
epsilon = 0.1
noise_multiplier = 1.25
delta = 1e-6
clip_norm = 0.3
sampling = "poisson"
units = "microbatch"
microbatch_size = 2
microbatch_mix = "replacing"
[train]
expected_batch_size = 256
simulated_batch_size = 4096
steps = 77
optimizer = "adam"
learning_rate = 0.015625
momentum = 0.0
adam_beta1 = 0.8
adam_beta2 = 0.9
adam_epsilon = 1e-5
adam_noise_correction = true
schedule = "cosine"
warmup_steps = 7
ema_decay = 0.99
ema_warmup = false
seed = 9223372036854775807
evaluate_every = 11
checkpoint_every = 12
[noise]
source = "reproducible"
[speed]
device = "cuda:1"
max_examples = 13
max_memory_mb = 14
precision = "tf32"
threads = 15
[log]
every = 16
nonprivate = true
)";

Config small(const ConfigChanges& changes = {}) { return parse_config(kSmallest, "small.toml", changes); }

TEST(Config, DefaultsOfTheSmallest) {
  const Config c = small();
  EXPECT_EQ(c.data.spec.format, "idx");
  EXPECT_THAT(c.data.mean, ElementsAre(0.2860));
  EXPECT_THAT(c.privacy.epsilon, Optional(8.0));
  EXPECT_EQ(c.privacy.noise_multiplier, std::nullopt);
  EXPECT_EQ(c.privacy.delta, 1e-5);
  EXPECT_EQ(c.noise_source, "secure");
  EXPECT_EQ(c.train.learning_rate.steps, 2500);
  EXPECT_EQ(c.train.learning_rate.at(2499), 2.0);
  EXPECT_FALSE(c.privacy.non_private);
  EXPECT_FALSE(c.log.nonprivate);
  EXPECT_EQ(c.augment.views(), 1);
}

// Every file in configs/ is a run that could start: it is read, its model fits its images, its plan its
// budget.
TEST(Config, EveryConfigThatWeShipIsARun) {
  int found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(PG_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path().native());
    ++found;
    const Config c = load_config(entry.path());
    const int64_t side = c.data.spec.format == "idx" ? 28 : c.data.spec.path == "eurosat" ? 64 : 32;
    const int64_t labels = c.data.spec.format == "cifar100" ? 100 : 10;
    const Model model(c.model, {side, side, static_cast<int64_t>(c.data.mean.size())}, labels);
    EXPECT_GT(c.data.examples, 0);
    EXPECT_THAT(check_with_data(c, c.data.examples), IsEmpty());
    if (c.privacy.non_private) continue;
    const dp::Plan plan(plan_settings(c, c.data.examples, c.privacy.noise_multiplier.value_or(1.0)));
    EXPECT_EQ(plan->steps, c.train.steps);
  }
  EXPECT_GT(found, 50);
}

TEST(Config, EveryKeyIsRead) {
  const Config c = parse_config(kEverything, "everything.toml");
  EXPECT_EQ(c.data.spec.path, "a \"b\" c");
  EXPECT_EQ(c.data.spec.height, 24);
  EXPECT_EQ(c.data.spec.width, 20);
  EXPECT_EQ(c.data.spec.label_count, 20);
  EXPECT_TRUE(c.data.spec.coarse_labels);
  EXPECT_EQ(c.data.validation, 100);
  EXPECT_EQ(c.data.train_limit, 1000);
  EXPECT_EQ(c.data.examples, 1024);
  EXPECT_THAT(c.data.deviation, ElementsAre(0.5, 0.25, 1e-3));
  EXPECT_EQ(c.model.name, "sequential");
  EXPECT_EQ(c.model.norm, "none");
  EXPECT_EQ(c.model.groups, 4);
  EXPECT_FALSE(c.model.weight_standardization);
  EXPECT_THAT(c.model.layers, ElementsAre("conv 8 k3", "relu", "classifier"));
  EXPECT_EQ(c.augment.views(), 9);
  EXPECT_EQ(c.augment.crop_padding, 5);
  EXPECT_EQ(c.augment.padding, augment::Padding::symmetric);
  EXPECT_EQ(c.augment.method, augment::MixMethod::cutmix);
  EXPECT_EQ(c.augment.effects.on().size(), 6);
  EXPECT_EQ(c.augment.effects.cutout, 5);
  EXPECT_EQ(c.augment.effects.gaussian_noise, 0.25);
  EXPECT_EQ(c.augment.effects.probability, 0.75);
  EXPECT_EQ(c.augment.pairing, augment::Pairing::independent);
  EXPECT_TRUE(c.augment.flip && c.augment.fold_lambda && c.augment.share_lambda && c.augment.mix_degenerate);
  EXPECT_FALSE(c.augment.pool_augmented);
  EXPECT_EQ(c.pool.provenance, "dead leaves, seed 3");
  EXPECT_EQ(c.privacy.microbatch_mix, augment::GroupMix::replacing);
  EXPECT_EQ(c.train.seed, uint64_t{9223372036854775807});
  EXPECT_EQ(c.train.optimizer.name, "adam");
  EXPECT_EQ(c.train.optimizer.epsilon, 1e-5);
  EXPECT_EQ(c.train.learning_rate.schedule, "cosine");
  EXPECT_FALSE(c.train.ema_warmup);
  EXPECT_EQ(c.speed.threads, 15);
  EXPECT_EQ(c.log.every, 16);
}

// No key can be forgotten by the test above or by the writer.
TEST(Config, EverythingHasEveryKeyAwayFromItsDefault) {
  Config defaults, everything = parse_config(kEverything, "everything.toml");
  const auto before = config_keys(defaults), after = config_keys(everything);
  const std::set<std::string> only_one_value = {"privacy.sampling", "train.momentum"};
  for (size_t i = 0; i < before.size(); ++i) {
    const std::string key = before[i].dotted();
    EXPECT_THAT(kEverything, HasSubstr("\n" + before[i].name + " = ")) << key;
    if (only_one_value.contains(key)) continue;
    EXPECT_NE(toml_of(before[i]), toml_of(after[i])) << key;
  }
}

TEST(Config, ResolvedTextReadsBackToTheSame) {
  for (const std::string& text : {kSmallest, kEverything}) {
    const Config c = parse_config(text, "a.toml");
    const std::string resolved = resolved_toml(c);
    const Config again = parse_config(resolved, "b.toml");
    EXPECT_TRUE(c == again);
    EXPECT_EQ(resolved_toml(again), resolved);
    EXPECT_EQ(config_hash(again), config_hash(c));
    EXPECT_EQ(first_difference(again, c), std::nullopt);
    EXPECT_THAT(config_hash(c), SizeIs(64));
  }
  EXPECT_THAT(resolved_toml(small()), HasSubstr("# noise_multiplier is not set"));
  EXPECT_THAT(resolved_toml(small()), HasSubstr("\nepsilon = 8.0  #"));
}

TEST(Config, NumbersReadBackToTheSameBits) {
  for (const double x : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 1e22, 123456789.0, -2.5e-7})
    EXPECT_EQ(std::strtod(toml_of(x).c_str(), nullptr), x);
  EXPECT_EQ(toml_of(2.0), "2.0");  // never an integer
}

TEST(Config, HashIgnoresSpeedAndLogAlone) {
  const Config everything = parse_config(kEverything, "e.toml");
  const std::string hash = config_hash(everything);
  const auto changed = [&](const std::string& set) {
    return parse_config(kEverything, "e.toml", {.set = {set}});
  };
  for (const char* set : {"speed.threads=1", "speed.max_examples=1", "speed.max_memory_mb=9",
                          "speed.device=cuda:0", "log.every=1", "log.nonprivate=false"}) {
    EXPECT_EQ(config_hash(changed(set)), hash) << set;
    EXPECT_EQ(first_difference(changed(set), everything), std::nullopt) << set;
    EXPECT_FALSE(changed(set) == everything) << set;
  }
  Config copy = everything;
  for (const ConfigKey& key : config_keys(copy)) {
    if (key.section == "speed" || key.section == "log") continue;
    Config other = everything;
    for (const ConfigKey& row : config_keys(other)) {
      if (row.dotted() != key.dotted()) continue;
      if (const auto* flag = std::get_if<FlagKey>(&row.value)) *flag->value = !*flag->value;
      if (const auto* text = std::get_if<TextKey>(&row.value)) *text->value += "x";
      if (const auto* texts = std::get_if<TextsKey>(&row.value)) texts->value->push_back("x");
      if (const auto* list = std::get_if<NumbersKey>(&row.value)) list->value->push_back(1);
      if (const auto* choice = std::get_if<ChoiceKey>(&row.value)) choice->set(choice->get() ? 0 : 1);
      if (const auto* integer = std::get_if<IntegerKey>(&row.value))
        std::visit([](auto* value) { *value -= 1; }, integer->value);
      if (const auto* number = std::get_if<NumberKey>(&row.value))
        std::visit([](auto* value) { *value = 0.4375; }, number->value);
    }
    EXPECT_NE(config_hash(other), hash) << key.dotted();
    EXPECT_THAT(first_difference(other, everything).value_or(""), StartsWith(key.dotted() + ": got "));
  }
}

TEST(Config, Overrides) {
  const Config c = small({.set = {"train.steps=7", "model.name = linear", "data.path=2024-01-01",
                                  "data.mean=[0.5]", "privacy.clip_norm=3", "augment.flip=true",
                                  "model.name=\"small_cnn\"", "augment.padding=symmetric", "train.seed=5"}});
  EXPECT_EQ(c.train.steps, 7);
  EXPECT_EQ(c.model.name, "small_cnn");  // the last one counts
  EXPECT_EQ(c.data.spec.path, "2024-01-01");
  EXPECT_THAT(c.data.mean, ElementsAre(0.5));
  EXPECT_EQ(c.privacy.clip_norm, 3.0);
  EXPECT_TRUE(c.augment.flip);
  EXPECT_EQ(c.augment.padding, augment::Padding::symmetric);
  EXPECT_EQ(c.train.learning_rate.steps, 7);
}

TEST(Config, OverridesReplaceTheirAlternative) {
  const Config c = small({.set = {"privacy.noise_multiplier=1.5"}});
  EXPECT_EQ(c.privacy.epsilon, std::nullopt);
  EXPECT_THAT(c.privacy.noise_multiplier, Optional(1.5));
  const Config without_pool = parse_config(kEverything, "e.toml", {.set = {"augment.pool=0"}});
  EXPECT_EQ(without_pool.pool.path, "");
}

TEST(Config, NonPrivateIsAskedForAloud) {
  const Config c = small({.set = {"privacy.noise_multiplier=0"}, .non_private = true});
  EXPECT_TRUE(c.privacy.non_private);
  EXPECT_THAT(resolved_toml(c), HasSubstr("non_private = true"));
  EXPECT_NE(config_hash(c), config_hash(small()));
  EXPECT_TRUE(parse_config(resolved_toml(c), "again").privacy.non_private);
}

TEST(Config, CheckedWithTheData) {
  EXPECT_THAT(check_with_data(small(), 60000), IsEmpty());
  EXPECT_THAT(check_with_data(small(), 4096), IsEmpty());
  EXPECT_THROW(check_with_data(small(), 4095), Error);
  const auto warnings = check_with_data(small({.set = {"privacy.delta=1e-4"}}), 60000);
  ASSERT_THAT(warnings, SizeIs(1));
  EXPECT_THAT(warnings[0], HasSubstr("1/60000"));
  EXPECT_THAT(check_with_data(small({.set = {"privacy.delta=0.5"}, .non_private = true}), 60000), IsEmpty());
}

TEST(Config, PlanSettings) {
  const Config c = parse_config(kEverything, "e.toml");
  const dp::PlanSettings p = plan_settings(c, 1000, 1.25);  // data.examples is 1024
  EXPECT_EQ(p.sampling_rate, 0.25);
  EXPECT_EQ(p.noise_multiplier, 1.25);
  EXPECT_EQ(p.clip_norm, 0.3);
  EXPECT_EQ(p.steps, 77);
  EXPECT_EQ(p.expected_batch, 256);
  EXPECT_EQ(p.delta, 1e-6);
  EXPECT_EQ(p.max_examples, 1024);
  EXPECT_EQ(p.units, "microbatch");
  EXPECT_EQ(p.microbatch_size, 2);
  EXPECT_EQ(p.pool, "dead leaves, seed 3");
  EXPECT_EQ(p.noise_source, "reproducible");
  EXPECT_EQ(dp::Plan(p).buckets(), 128);
  EXPECT_EQ(plan_settings(small(), 60000, 1).pool, "none");
}

TEST(Config, PoolTakesTheShapeOfTheData) {
  const Config c = parse_config(kEverything, "e.toml");
  Dataset train;
  train.height = 24, train.width = 20, train.channels = 3, train.label_count = 20;
  const DataSpec pool = pool_spec(c, train);
  EXPECT_EQ(pool.format, "image_folder");
  EXPECT_EQ(pool.path, "pool");
  EXPECT_EQ(pool.height, 24);
  EXPECT_EQ(pool.width, 20);
  EXPECT_FALSE(pool.coarse_labels);
}

TEST(Config, NoiseVarianceOnlyIfAskedFor) {
  EXPECT_EQ(optimizer_settings(small(), 0.5).noise_variance, 0.0);
  EXPECT_EQ(optimizer_settings(parse_config(kEverything, "e"), 0.5).noise_variance, 0.5);
}

TEST(Config, ReadsAByteOrderMarkAndWindowsLines) {
  std::string text = "\xEF\xBB\xBF" + kSmallest;
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.replace(at, 1, "\r\n");
  EXPECT_TRUE(parse_config(text, "w.toml") == small());
}

// docs/config.md lists every key with its default and what it means.
TEST(ConfigDocument, ListsEveryKeyAsItIs) {
  std::ifstream file(PG_SOURCE_DIR "/docs/config.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string fence = "```toml\n";
  const size_t begin = text.find(fence) + fence.size();
  EXPECT_EQ(text.substr(begin, text.find("```", begin) - begin),
            resolved_toml(parse_config(kSmallest, "smallest")));
}

}  // namespace
}  // namespace pergrad::apps
