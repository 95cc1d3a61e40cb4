// Bad configs, overrides and run folders: each is wrong in one way; what must come is one line that says so,
// and nothing else.
#include "apps/checkpoint.h"
#include "apps/run_folder.h"
#include "tests/apps/run_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <functional>

namespace pergrad::apps {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kGood =
    "[data]\n"                      // 1
    "format = 'idx'\n"              // 2
    "path = 'fashion-mnist'\n"      // 3
    "mean = [0.2860]\n"             // 4
    "std = [0.3530]\n"              // 5
    "[privacy]\n"                   // 6
    "epsilon = 8.0\n"               // 7
    "[train]\n"                     // 8
    "expected_batch_size = 4096\n"  // 9
    "steps = 2500\n"                // 10
    "learning_rate = 2.0\n";        // 11

struct BadText {
  const char* name;
  std::string from, to;  // what is replaced in kGood; "" = `to` is appended
  const char* message;
};

TEST(BadConfig, Files) {
  ASSERT_NO_THROW(parse_config(kGood, "c.toml"));
  const std::vector<BadText> cases = {
      // The TOML itself.
      {"no value", "steps = 2500", "steps =", "c.toml:10: "},
      {"no quote", "path = 'fashion-mnist'", "path = 'fashion-mnist", "c.toml:3: "},
      {"duplicate key", "", "steps = 3\n", "c.toml:12: "},
      {"duplicate table", "", "[data]\n", "c.toml:12: "},
      {"not UTF-8", "fashion", "fa\xFFshion", "c.toml:3: "},
      {"binary", "[data]", std::string("\x1F\x8B\x08\x00", 4), "c.toml:1: "},
      {"empty", kGood, "", "data.format: missing"},
      // Names.
      {"unknown key", "steps = 2500", "stepz = 2500",
       "c.toml:10: train.stepz: unknown key; did you mean train.steps?"},
      {"swapped letters", "", "ema_deacy = 0.9\n",
       "train.ema_deacy: unknown key; did you mean train.ema_decay?"},
      {"key of another table", "", "epsilon = 3\n",
       "train.epsilon: unknown key; did you mean privacy.epsilon?"},
      {"unknown table", "", "[privcy]\ndelta = 1e-5\n",
       "c.toml:12: privcy: unknown table; did you mean [privacy]?"},
      {"key outside of a table", "[data]\n", "steps = 3\n[data]\n",
       "c.toml:1: steps: unknown key outside of a table; did you mean train.steps?"},
      {"table of a table", "", "[train.extra]\nx = 1\n", "train.extra: unknown key"},
      {"array of tables", "[train]", "[[train]]", "train: got an array, wanted a table"},
      {"control characters in a key", "", "\"a\\u001bb\" = 1\n", "train.a\\x1bb: unknown key"},
      // Types.
      {"string for a number", "epsilon = 8.0", "epsilon = '8.0'",
       "privacy.epsilon: got a string, wanted a number"},
      {"number for a string", "path = 'fashion-mnist'", "path = 3",
       "data.path: got an integer, wanted a string"},
      {"boolean for a count", "steps = 2500", "steps = true",
       "train.steps: got a boolean, wanted an integer"},
      {"fraction for a count", "steps = 2500", "steps = 2500.0",
       "train.steps: got a number with a decimal point or exponent, wanted an integer"},
      {"exponent for a count", "steps = 2500", "steps = 25e2", "wanted an integer"},
      {"number for a flag", "", "ema_warmup = 1\n", "train.ema_warmup: got an integer, wanted true or false"},
      {"date for a number", "epsilon = 8.0", "epsilon = 2024-01-01", "privacy.epsilon: got a date or time"},
      {"number for an array", "mean = [0.2860]", "mean = 0.2860", "data.mean: got a number"},
      {"string in an array", "mean = [0.2860]", "mean = ['a']", "data.mean: got a string, wanted a number"},
      {"number among layers", "", "[model]\nname = 'sequential'\nlayers = [1]\n",
       "model.layers: got an integer"},
      {"table for a number", "epsilon = 8.0", "epsilon = { upper = 8 }", "privacy.epsilon: got a table"},
      // Not finite.
      {"NaN", "learning_rate = 2.0", "learning_rate = nan",
       "train.learning_rate: got nan, wanted a finite number"},
      {"infinite", "epsilon = 8.0", "epsilon = inf", "privacy.epsilon: got inf, wanted a finite number"},
      {"minus infinite", "", "momentum = -inf\n", "train.momentum: got -inf, wanted a finite number"},
      {"NaN in an array", "mean = [0.2860]", "mean = [nan]", "data.mean[0]: got nan, wanted a finite number"},
      {"count beyond 64 bits", "steps = 2500", "steps = 99999999999999999999", "c.toml:10: "},
      // Ranges.
      {"steps 0", "steps = 2500", "steps = 0", "train.steps: got 0, wanted 1 to 4294967295"},
      {"batch negative", "expected_batch_size = 4096", "expected_batch_size = -1",
       "train.expected_batch_size: got -1, wanted 1 to"},
      {"learning rate 0", "learning_rate = 2.0", "learning_rate = 0",
       "train.learning_rate: got 0.0, wanted above 0"},
      {"epsilon 0", "epsilon = 8.0", "epsilon = 0", "privacy.epsilon: got 0.0, wanted above 0"},
      {"delta 1", "epsilon = 8.0", "epsilon = 8.0\ndelta = 1.0", "privacy.delta: got 1.0, wanted in (0, 1)"},
      {"delta 0", "epsilon = 8.0", "epsilon = 8.0\ndelta = 0", "privacy.delta: got 0.0, wanted in (0, 1)"},
      {"clip norm 0", "epsilon = 8.0", "epsilon = 8.0\nclip_norm = 0", "privacy.clip_norm: got 0.0"},
      {"sigma 0", "epsilon = 8.0", "noise_multiplier = 0.0",
       "privacy.noise_multiplier: got 0, wanted above 0 (or --non-private)"},
      {"sigma negative", "epsilon = 8.0", "noise_multiplier = -1", "privacy.noise_multiplier: got -1.0"},
      {"momentum 1", "", "momentum = 1\n", "train.momentum: got 1.0, wanted in [0, 1)"},
      {"ema decay 1", "", "ema_decay = 1.0\n", "train.ema_decay: got 1.0, wanted in [0, 1)"},
      {"adam epsilon 0", "", "adam_epsilon = 0.0\n", "train.adam_epsilon: got 0.0, wanted in [1e-37, 1e6]"},
      {"seed negative", "", "seed = -1\n", "train.seed: got -1, wanted at least 0"},
      {"std 0", "std = [0.3530]", "std = [0.0]", "data.std[0]: got 0.0, wanted above 0"},
      {"channels 2", "std = [0.3530]", "std = [0.3530]\nchannels = 2", "data.channels: got 2, wanted 1 or 3"},
      {"one label", "std = [0.3530]", "std = [0.3530]\nlabel_count = 1", "data.label_count: got 1"},
      {"mix_alpha 0", "", "[augment]\nmix_alpha = 0\n", "augment.mix_alpha: got 0.0, wanted in (0, 1e6]"},
      // Choices.
      {"format", "format = 'idx'", "format = 'tfrecord'",
       "data.format: got \"tfrecord\", wanted idx, cifar10, cifar100 or image_folder"},
      {"optimizer", "", "optimizer = 'lamb'\n", "train.optimizer: got \"lamb\", wanted sgd or adam"},
      {"schedule", "", "schedule = 'step'\n", "wanted constant, linear or cosine"},
      {"padding", "", "[augment]\npadding = 'zero'\n",
       "augment.padding: got \"zero\", wanted reflect or symmetric"},
      {"shuffled batches", "epsilon = 8.0", "epsilon = 8.0\nsampling = 'shuffle'",
       "privacy.sampling: got \"shuffle\", wanted poisson: the accountant's bound is for Poisson sampling"},
      {"precision", "", "[speed]\nprecision = 'bf16'\n",
       "speed.precision: got \"bf16\", wanted fp32 on the processor"},
      {"device", "", "[speed]\ndevice = 'tpu'\n", "speed.device: got \"tpu\", wanted cpu"},
      {"noise source", "", "[noise]\nsource = 'none'\n",
       "noise.source: got \"none\", wanted secure or reproducible"},
      {"control characters", "path = 'fashion-mnist'", "path = \"a\\u001b[2J\"",
       "wanted text without control"},
      // What must agree.
      {"no mean", "mean = [0.2860]\n", "", "data.mean: missing; it has no default"},
      {"no steps", "steps = 2500\n", "", "train.steps: missing; it has no default"},
      {"no guarantee", "epsilon = 8.0\n", "",
       "privacy.epsilon: missing; wanted it or privacy.noise_multiplier"},
      {"two guarantees", "epsilon = 8.0", "epsilon = 8.0\nnoise_multiplier = 1.0",
       "given together with privacy.epsilon"},
      {"empty path", "path = 'fashion-mnist'", "path = ''", "data.path: got \"\""},
      {"three means for grey", "mean = [0.2860]\nstd = [0.3530]", "mean = [1, 1, 1]\nstd = [1, 1, 1]",
       "data.mean: got 3 numbers, wanted one a channel: 1"},
      {"a mean without std", "std = [0.3530]", "std = []", "data.std: got 0 numbers, but data.mean has 1"},
      {"coarse labels", "std = [0.3530]", "std = [0.3530]\ncoarse_labels = true", "only cifar100 has them"},
      {"depth", "", "[model]\ndepth = 17\n", "model.depth: got 17, wanted 6 n + 4"},
      {"layers unused", "", "[model]\nlayers = ['relu']\n", "model.layers: only for name = \"sequential\""},
      {"layers missing", "", "[model]\nname = 'sequential'\n", "model.layers: missing"},
      {"no views", "", "[augment]\nbase = 0\n", "wanted at least one view"},
      {"mixes of nothing", "", "[augment]\nmix = 2\n", "augment.mix: got 2, but base + pool is 1"},
      {"mixes without method", "", "[augment]\nbase = 4\nmix = 2\nmethod = 'none'\n",
       "augment.method: got none, but augment.mix is 2"},
      {"pool unused", "", "[pool]\npath = 'x'\n", "pool.path: given, but augment.pool is 0"},
      {"pool missing", "", "[augment]\npool = 2\n",
       "pool.format: missing; augment.pool > 0 wants a public pool"},
      {"no provenance", "", "[augment]\npool = 2\n[pool]\nformat = 'idx'\npath = 'x'\n",
       "pool.provenance: missing"},
      {"provenance not ASCII", "",
       "[augment]\npool = 2\n[pool]\nformat = 'idx'\npath = 'x'\nprovenance = 'Müller'\n",
       "pool.provenance: wanted printable ASCII"},
      {"group of one", "epsilon = 8.0", "epsilon = 8.0\nunits = 'microbatch'",
       "privacy.microbatch_size: got 0, wanted at least 2"},
      {"group size unused", "epsilon = 8.0", "epsilon = 8.0\nmicrobatch_size = 2",
       "privacy.microbatch_size: got 2, wanted 0"},
      {"mix of examples", "epsilon = 8.0", "epsilon = 8.0\nmicrobatch_mix = 'added'",
       "privacy.microbatch_mix: examples are mixed with each other only"},
      {"warm-up", "", "warmup_steps = 2501\n", "train.warmup_steps: got 2501, wanted at most train.steps"},
      {"noise correction", "", "adam_noise_correction = true\n",
       "only for optimizer = \"adam\", got \"sgd\""},
      {"momentum of adam", "", "optimizer = 'adam'\nmomentum = 0.9\n", "train.momentum: only for optimizer"},
  };
  for (const BadText& bad : cases) {
    std::string text = kGood;
    if (bad.from.empty()) {
      text += bad.to;
    } else {
      const size_t at = text.find(bad.from);
      ASSERT_NE(at, std::string::npos) << bad.name;
      text.replace(at, bad.from.size(), bad.to);
    }
    EXPECT_THAT(message_of([&] { parse_config(text, "c.toml"); }),
                AllOf(HasSubstr(bad.message), StartsWith("c.toml"), Not(HasSubstr("\n"))))
        << bad.name;
  }
  EXPECT_THAT(message_of([] { parse_config("train = 3\n", "c.toml"); }),
              HasSubstr("c.toml:1: train: got an integer, wanted a table"));
}

TEST(BadConfig, Overrides) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"train.steps", "--set train.steps: wanted section.key=value"},
      {"steps=3", "--set steps=3: wanted section.key=value"},
      {"=3", "wanted section.key=value"},
      {"", "wanted section.key=value"},
      {"train.stepz=3", "--set train.stepz: unknown key; did you mean train.steps?"},
      {"trian.steps=3", "--set trian.steps: unknown key; did you mean train.steps?"},
      {"train.steps=1.5",
       "--set train.steps: got a number with a decimal point or exponent, wanted an integer"},
      {"train.steps=many", "--set train.steps: got a string, wanted an integer"},
      {"train.steps=", "--set train.steps: got a string, wanted an integer"},
      {"train.steps=5\ntrain.seed=3", "--set train.steps: got a string, wanted an integer"},
      {"privacy.epsilon=inf", "--set privacy.epsilon: got inf, wanted a finite number"},
      {"privacy.epsilon=8,0", "--set privacy.epsilon: got a string, wanted a number"},
      {"data.mean=[0.5", "--set [0.5: "},
      {"data.path=\"x", "--set \"x: "},
      {"model.name=resnet",
       "--set model.name: got \"resnet\", wanted wide_resnet, small_cnn, linear or sequential"},
      {"data.path=a\nb", "--set data.path: got \"a\\x0ab\", wanted text without control characters"},
      {"train.steps.x=1", "--set train.steps.x: unknown key"},
  };
  for (const auto& [set, message] : cases)
    EXPECT_THAT(message_of([&set = set] { parse_config(kGood, "c.toml", {.set = {set}}); }),
                AllOf(HasSubstr(message), Not(HasSubstr("\n"))))
        << set;
}

TEST(BadConfig, FilesThatCannotBeRead) {
  const TempFolder tmp;
  EXPECT_THAT(message_of([&] { load_config(tmp / "absent.toml"); }),
              AllOf(StartsWith("cannot open"), HasSubstr("absent.toml: No such file")));
  EXPECT_THAT(message_of([&] { load_config(tmp.path()); }), HasSubstr("Is a directory"));
  spill(tmp / "odd\nname.toml", "x");
  EXPECT_THAT(message_of([&] { load_config(tmp / "odd\nname.toml"); }),
              AllOf(HasSubstr("odd\\x0aname.toml:1"), Not(HasSubstr("\n"))));
}

TEST(BadConfig, BatchLargerThanTheData) {
  const Config config = parse_config(kGood, "c.toml");
  EXPECT_THAT(
      message_of([&] { check_with_data(config, 100); }),
      HasSubstr("train.expected_batch_size: got 4096, wanted at most the number of training examples, 100"));
  EXPECT_THAT(message_of([&] { check_with_data(config, 0); }), HasSubstr("no training examples"));
}

struct BadRun {
  const char* name;
  const char* source;                           // noise.source
  std::function<void(const fs::path&)> damage;  // of a folder in which a run has begun
  const char* message;
};

TEST(BadRunFolder, Resuming) {
  const std::vector<BadRun> cases = {
      {"gone", "secure", [](const fs::path& run) { fs::remove_all(run); }, "wanted a run's folder"},
      {"a file", "secure", [](const fs::path& run) { fs::remove_all(run), spill(run, "x"); },
       "wanted a run's folder"},
      {"no config", "secure", [](const fs::path& run) { fs::remove(run / "config.toml"); },
       "no config.toml in it"},
      {"config damaged", "secure", [](const fs::path& run) { spill(run / "config.toml", "[data"); },
       "config.toml:1: "},
      {"config empty", "secure", [](const fs::path& run) { spill(run / "config.toml", ""); },
       "data.format: missing"},
      {"key lost", "secure", [](const fs::path& run) { fs::remove(run / "run.key"); },
       "run.key: missing, so the run cannot go on"},
      {"key and run.json lost", "secure",
       [](const fs::path& run) {
         fs::remove(run / "run.key");
         fs::remove(run / "run.json");
         spill(run / "ledger.jsonl", "{}\n");
       },
       "run.key: missing, so the run cannot go on"},
      {"key cut", "secure", [](const fs::path& run) { fs::resize_file(run / "run.key", 60); },
       "run.key: damaged"},
      {"key not hexadecimal", "secure",
       [](const fs::path& run) { spill(run / "run.key", std::string(64, 'g')); }, "run.key: damaged"},
      {"key readable by others", "secure",
       [](const fs::path& run) { fs::permissions(run / "run.key", fs::perms{0644}); },
       "run.key: can be read by others"},
      {"another key", "secure", [](const fs::path& run) { spill(run / "run.key", std::string(64, '0')); },
       "cannot go on with other data"},
      {"run.json damaged", "reproducible", [](const fs::path& run) { spill(run / "run.json", "{"); },
       "run.json: damaged"},
      {"run.json without tag", "reproducible", [](const fs::path& run) { spill(run / "run.json", "{}"); },
       "run.json: damaged"},
      {"run.json of other data", "reproducible",
       [](const fs::path& run) { spill(run / "run.json", R"({"dataset_tag": "0"})"); },
       "cannot go on with other data"},
  };
  for (const BadRun& bad : cases) {
    const TempFolder tmp;
    const fs::path path = tmp / "run";
    const Config config = good_config(bad.source);
    { kept_run(path, config).run_key("data"); }
    { RunFolder::resume(path, config).run_key("data"); }
    bad.damage(path);
    EXPECT_THAT(message_of([&] { RunFolder::resume(path, config).run_key("data"); }),
                AllOf(HasSubstr(bad.message), Not(HasSubstr("\n"))))
        << bad.name;
  }
}

TEST(BadRunFolder, Creating) {
  const TempFolder tmp;
  spill(tmp / "file", "x");
  EXPECT_THAT(message_of([&] { kept_run(tmp / "file", good_config()); }), HasSubstr("is a file"));
  EXPECT_THAT(message_of([&] { kept_run(tmp / "file/run", good_config()); }),
              AllOf(HasSubstr("cannot create"), HasSubstr("Not a directory")));
  EXPECT_THAT(message_of([&] { kept_run("", good_config()); }), HasSubstr("--out"));
  fs::create_symlink("loop", tmp / "loop");
  EXPECT_THAT(message_of([&] { kept_run(tmp / "loop", good_config()); }),
              HasSubstr("Too many levels of symbolic links"));
}

TEST(BadRunFolder, FullDisk) {
  const TempFolder tmp;
  {
    const SmallDisk disk(40);  // enough for the lock
    EXPECT_THAT(message_of([&] { kept_run(tmp / "run", good_config("secure")); }),
                AllOf(HasSubstr("cannot write"), HasSubstr("config.toml: File too large")));
  }
  RunFolder run = kept_run(tmp / "run", good_config("secure"));  // what was left does not stand in the way
  {
    const SmallDisk disk(40);
    EXPECT_THAT(message_of([&] { run.run_key("data"); }), HasSubstr("run.key: File too large"));
    EXPECT_FALSE(fs::exists(tmp / "run/run.key"));
    EXPECT_THAT(message_of([&] {
                  run.write_summary({{"text", std::string(100, 'x')}});
                }),
                HasSubstr("summary.json: File too large"));
  }
  EXPECT_FALSE(fs::exists(tmp / "run/summary.json"));
  EXPECT_NO_THROW(run.run_key("data"));
  fs::create_symlink("/dev/full", tmp / "run/metrics.jsonl");
  EXPECT_THAT(message_of([&] {
                run.append_metrics({{"step", 1}});
              }),
              AllOf(HasSubstr("metrics.jsonl"), HasSubstr("No space left on device")));
}

// Somebody without rights; root becomes nobody for a while.
class Nobody {
 public:
  Nobody() : was_(::geteuid()) {
    if (was_ == 0) ok_ = ::seteuid(65534) == 0;
  }
  ~Nobody() {
    if (was_ == 0 && ::seteuid(0) != 0) std::abort();
  }
  Nobody(const Nobody&) = delete;
  Nobody& operator=(const Nobody&) = delete;
  bool ok() const { return ok_; }

 private:
  uid_t was_;
  bool ok_ = true;
};

TEST(BadRunFolder, NoPermission) {
  const TempFolder tmp;
  fs::permissions(tmp.path(), fs::perms{0755});
  { kept_run(tmp / "run", good_config("secure")).run_key("data"); }
  spill(tmp / "secret.toml", kGood);
  fs::create_directory(tmp / "closed");
  for (const char* name : {"closed", "run"}) fs::permissions(tmp / name, fs::perms{0555});
  for (const char* name : {"secret.toml", "run/run.key", "run/lock"})
    fs::permissions(tmp / name, fs::perms{0});
  {
    const Nobody nobody;
    if (!nobody.ok()) GTEST_SKIP() << "root cannot become nobody here";
    EXPECT_THAT(message_of([&] { kept_run(tmp / "closed/run", good_config()); }),
                AllOf(HasSubstr("cannot create"), HasSubstr("Permission denied")));
    EXPECT_THAT(message_of([&] { kept_run(tmp / "closed", good_config()); }),
                AllOf(HasSubstr("cannot open"), HasSubstr("Permission denied")));
    EXPECT_THAT(message_of([&] { RunFolder::resume(tmp / "run", good_config("secure")); }),
                AllOf(HasSubstr("cannot open"), HasSubstr("lock: Permission denied")));
    EXPECT_THAT(message_of([&] { load_config(tmp / "secret.toml"); }),
                AllOf(HasSubstr("cannot open"), HasSubstr("secret.toml: Permission denied")));
    Parameters parameters;
    parameters.declare("w", {1}, Init::constant(0));
    parameters.allocate(DType::f32, Key{});
    EXPECT_THAT(message_of([&] { save_checkpoint(tmp / "closed", {}, parameters, nullptr, nullptr); }),
                AllOf(HasSubstr("cannot write"), HasSubstr("Permission denied")));
  }
  fs::permissions(tmp / "run", fs::perms{0755});
  fs::permissions(tmp / "closed", fs::perms{0755});
}

// Works for root, too: nobody can write to /proc.
TEST(BadRunFolder, AFileSystemThatTakesNothing) {
  EXPECT_THAT(message_of([] { kept_run("/proc/pergrad-run", good_config()); }),
              HasSubstr("cannot create /proc/pergrad-run"));
}

TEST(BadRunFolder, MetricsWithoutAStep) {
  const TempFolder tmp;
  RunFolder run = kept_run(tmp / "run", good_config());
  EXPECT_THAT(message_of([&] { run.append_metrics({{"loss", 1}}); }), HasSubstr("without a step"));
  EXPECT_THAT(message_of([&] { run.append_metrics({{"step", "1"}}); }), HasSubstr("without a step"));
}

}  // namespace
}  // namespace pergrad::apps
