// Faults of the machine and of its users (F7, F9, F12, F13, F15, F16 of tests/apps/README.md), on the whole
// program.
#include "apps/safetensors.h"
#include "faults.h"

#include <csignal>
#include <map>
#include <thread>

namespace pergrad::test {
namespace {

namespace fs = std::filesystem;

// F7: too little memory, from where nothing works to where all does: refused or broken off in one line, and
// afterwards the run ends as if nothing had been.
TEST(Faults, TooLittleMemory) {
#if defined(PG_SANITIZED)
  GTEST_SKIP() << "sanitizers map more than any limit";
#endif
  const TempFolder folder;
  const auto config = write_toy_config(folder, 3);
  const fs::path whole = folder / "whole";
  ASSERT_EQ(run(folder, training(config, whole)).status, 0);
  int faults = 0, good = 0;
  for (rlim_t mib = 120; mib <= 720 && good < 2; mib += 30) {
    const std::string what = std::to_string(mib) + " MiB";
    const fs::path out = folder / what;
    const Outcome done = run(folder, training(config, out), {.memory = mib << 20, .file = {}});
    if (done.status == 0) {
      ++good;
      continue;
    }
    if (done.status == 127) continue;  // the libraries alone are larger
    ++faults;
    expect_refusal(done, 2, "out of memory", what);
    expect_nothing_half_written(out, what);
    expect_same_end(folder, training(config, out), out, whole, what);
  }
  EXPECT_GE(faults, 1);
  EXPECT_EQ(good, 2);
  // Models that no machine holds: refused before there is a folder.
  for (const char* model :
       {"model.layers=[\"linear 1000000\", \"linear 1000000\", \"classifier\"]",
        "model.layers=[\"linear 1048576\", \"linear 1048576\", \"linear 1048576\", \"classifier\"]",
        "model.layers=[\"conv 1000000 k12\", \"conv 1000000 k1\", \"classifier\"]",
        "model.layers=[\"linear 9223372036854775807\", \"classifier\"]",
        "model.layers=[\"linear 4294967296\", \"linear 4294967296\", \"classifier\"]",
        "model.layers=[\"conv 4 k3 p9223372036854775807\", \"classifier\"]",
        "model.layers=[\"average_pool 3 s9223372036854775807\", \"classifier\"]"}) {
    const Outcome done =
        run(folder, training(config, folder / "none", {model}), {.memory = rlim_t{4} << 30, .file = {}});
    expect_refusal(done, 2, "", model);
    EXPECT_FALSE(fs::exists(folder / "none")) << model;
  }
}

// F9: a disk that is full after so many bytes of a file, and places where nothing can be written.
TEST(Faults, FullAndForbiddenDisks) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const fs::path whole = folder / "whole";
  ASSERT_EQ(run(folder, training(config, whole)).status, 0);
  const rlim_t ledger = fs::file_size(whole / "ledger.jsonl"),
               checkpoint = fs::file_size(whole / "checkpoint.safetensors");
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{1}, rlim_t{60}, rlim_t{1000}, ledger / 2, ledger - 1, ledger,
                             checkpoint / 2, checkpoint - 1}) {
    const std::string what = std::to_string(bytes) + " bytes";
    const fs::path out = folder / what;
    expect_refusal(run(folder, training(config, out), {.memory = {}, .file = bytes}), 2, "", what);
    expect_nothing_half_written(out, what);
    expect_same_end(folder, training(config, out), out, whole, what);
  }
  spill(folder / "file", "x");
  for (const fs::path& out : {fs::path("/proc/run"), folder / "file", folder / "file/run",
                              fs::path("/dev/null"), fs::path("/dev/full/run")})
    expect_refusal(run(folder, training(config, out)), 2, "", out.string());
  // A folder of which one file cannot be written.
  const fs::path out = folder / "metrics";
  ASSERT_EQ(run(folder, training(config, out, {}, {"--max-steps", "3"})).status, 0);
  fs::remove(out / "metrics.jsonl");
  fs::create_symlink("/dev/full", out / "metrics.jsonl");
  const std::string before = checkpoint_in(out);
  expect_refusal(run(folder, training(config, out, {}, {"--resume"})), 2, "metrics.jsonl: is a device",
                 "metrics on a full disk");
  EXPECT_TRUE(checkpoint_in(out) == before);
  fs::remove(out / "metrics.jsonl");
  expect_same_end(folder, training(config, out), out, whole, "metrics on a full disk");
}

// F12: sums that 64 bits do not hold, and numbers beyond what the proofs cover, are refused at the start.
TEST(Faults, NumbersBeyondTheProofs) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 2);
  struct Case {
    std::vector<std::string> set;
    int status;
    const char* says;
  };
  const std::vector<Case> cases = {
      {{"data.examples=2097153"}, 3, "max_examples"},
      {{"data.examples=1000000000000"}, 3, "max_examples"},
      {{"data.examples=9223372036854775807"}, 3, "max_examples"},
      {{"data.examples=-1"}, 2, "data.examples"},
      {{"data.examples=9223372036854775808"}, 2, "data.examples"},
      {{"privacy.clip_norm=1e21"}, 2, "privacy.clip_norm"},
      {{"privacy.clip_norm=1e-21"}, 2, "privacy.clip_norm"},
      {{"privacy.noise_multiplier=16385"}, 2, "privacy.noise_multiplier"},
      {{"privacy.noise_multiplier=1e-9"}, 3, "noise_multiplier"},
      {{"privacy.noise_multiplier=1e999"}, 2, "privacy.noise_multiplier"},
      {{"train.steps=4294967296"}, 2, "train.steps"},
      {{"train.expected_batch_size=9007199254740993"}, 2, "train.expected_batch_size"},
      {{"data.examples=2097153", "privacy.units=microbatch", "privacy.microbatch_size=2"},
       3,
       "max_examples"}};
  for (const Case& c : cases) {
    expect_refusal(run(folder, training(config, folder / "run", c.set)), c.status, c.says, c.set[0]);
    EXPECT_FALSE(fs::exists(folder / "run")) << c.set[0];
  }
}

int64_t lines_of(const fs::path& file) {
  const std::string text = slurp(file);
  return std::count(text.begin(), text.end(), '\n');
}

// F13: a folder has one owner. Two that start together: one trains, the other is told.
TEST(Faults, TwoProcessesOnOneFolder) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 100000);
  const fs::path out = folder / "run";
  const std::vector<std::string> often = {"train.checkpoint_every=1"};
  Process owner(folder, training(config, out, often), {}, "owner");
  while (lines_of(out / "ledger.jsonl") < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const std::string in_use = "is in use by process " + std::to_string(owner.pid());
  for (const auto& flags : std::vector<std::vector<std::string>>{
           {"--resume"}, {"--resume", "--max-steps", "1"}, {"--resume", "--set", "train.seed=9"}})
    expect_refusal(run(folder, training(config, out, often, flags)), 2, in_use, flags.back());
  expect_refusal(run(folder, training(config, out)), 2, "is not empty", "a new run in a folder in use");
  expect_refusal(run(folder, training(config, out, {"noise.source=secure"})), 2, "is not empty",
                 "another run");
  for (int look = 0; look < 5; ++look)  // who only looks disturbs nobody, whatever is being written
    EXPECT_EQ(run(folder, {"account", "ledger", out}).status, 0) << look;
  kill(owner.pid(), SIGKILL);
  owner.wait();
  EXPECT_EQ(run(folder, training(config, out, often, {"--resume", "--max-steps", "1"})).status, 0);
  for (int round = 0; round < 5; ++round) {
    const fs::path both = folder / ("both" + std::to_string(round));
    Process a(folder, training(config, both, {}, {"--max-steps", "2"}), {}, "a"),
        b(folder, training(config, both, {}, {"--max-steps", "2"}), {}, "b");
    const Outcome first = a.wait(), second = b.wait();
    EXPECT_EQ(first.status + second.status, 2) << first.err << second.err;
    const Outcome& loser = first.status == 0 ? second : first;
    expect_refusal(loser, 2, both.filename().string(), "the second of two");
    EXPECT_EQ(run(folder, {"account", "ledger", both}).status, 0);
    EXPECT_EQ(releases_in(both), 2);
  }
}

// F15: the device fails at its n-th launch: one line; the run ends later as it would have.
TEST(Faults, ADeviceThatFails) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 3);
  const std::vector<std::string> set = {"speed.device=emulated", "speed.precision=fp32",
                                        "speed.max_examples=12",
                                        "model.layers=[\"conv 4 k3 p1\", \"relu\", \"classifier\"]"};
  const fs::path whole = folder / "whole";
  ASSERT_EQ(run(folder, training(config, whole, set)).status, 0);
  int faults = 0;
  for (const char* at : {"1", "2", "5", "10", "20", "40"}) {
    const fs::path out = folder / (std::string("run") + at);
    setenv("PERGRAD_EMULATED_FAULT", at, 1);
    const Outcome done = run(folder, training(config, out, set));
    unsetenv("PERGRAD_EMULATED_FAULT");
    if (done.status == 0) continue;
    ++faults;
    expect_refusal(done, 2, "launch failed", at);
    expect_nothing_half_written(out, at);
    expect_same_end(folder, training(config, out, set), out, whole, at);
  }
  EXPECT_GE(faults, 4);
}

// F16: what a run leaves behind holds nothing that is a raw statistic of the examples, unless it was asked
// for.
TEST(Faults, NothingRawIsReleasedUnasked) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  const std::vector<std::vector<std::string>> modes = {
      {"train.seed=1"},
      {"train.evaluate_every=1"},
      {"privacy.units=microbatch", "privacy.microbatch_size=2"},
      {"speed.device=emulated", "speed.precision=fp32", "speed.max_examples=4"},
      {"noise.source=secure"}};
  const std::set<std::string> in_metrics = {"step", "learning_rate", "epsilon"};
  const std::set<std::string> in_summary = {"test_accuracy",
                                            "test_accuracy_ema",
                                            "epsilon",
                                            "delta",
                                            "noise_multiplier",
                                            "sampling_rate",
                                            "steps",
                                            "steps_done",
                                            "parameters",
                                            "train_examples",
                                            "test_examples",
                                            "views_per_example",
                                            "expected_batch_size",
                                            "test_set",
                                            "seconds",
                                            "views_per_second",
                                            "adjacency",
                                            "device_memory_bytes",
                                            "guarantee_holds_against",
                                            "model",
                                            "noise_source",
                                            "nonprivate_log",
                                            "precision",
                                            "rdp_epsilon",
                                            "run_folder",
                                            "peak_memory_bytes",
                                            "device",
                                            "dataset",
                                            "config_hash",
                                            "plan_hash",
                                            "version"};
  int number = 0;
  for (const auto& set : modes) {
    const fs::path out = folder / ("run" + std::to_string(number++));
    const Outcome done = run(folder, training(config, out, set));
    ASSERT_EQ(done.status, 0) << done.err;
    for (const std::string& said : {done.out, done.err, slurp(out / "ledger.jsonl"), slurp(out / "run.json")})
      for (const char* word : {"nonprivate", "loss", "clip_rate", "\"batch_size"})
        EXPECT_EQ(said.find(word), std::string::npos) << set[0] << ": " << word << " in " << said;
    std::istringstream lines(slurp(out / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      for (const auto& [key, value] :
           nlohmann::json::parse(line).get<std::map<std::string, nlohmann::json>>())
        EXPECT_TRUE(in_metrics.contains(key) || key.starts_with("test_")) << set[0] << ": " << key;
    const auto summary =
        nlohmann::json::parse(slurp(out / "summary.json")).get<std::map<std::string, nlohmann::json>>();
    for (const auto& [key, value] : summary) EXPECT_TRUE(in_summary.contains(key)) << set[0] << ": " << key;
    const apps::Safetensors checkpoint(checkpoint_in(out), "checkpoint");
    for (const auto& [key, value] : checkpoint.metadata())
      EXPECT_EQ(value.find("\"nonprivate_"), std::string::npos) << key;
    if (fs::exists(out / "run.key")) {
      EXPECT_EQ(fs::status(out / "run.key").permissions(), fs::perms::owner_read | fs::perms::owner_write);
    }
    expect_nothing_half_written(out, set[0]);
  }
}

}  // namespace
}  // namespace pergrad::test
