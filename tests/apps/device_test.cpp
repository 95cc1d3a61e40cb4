// `--device`: training on the GPU's kernels (emulated here) end to end, and refusals in one line.
#include "program.h"

#include "apps/safetensors.h"
#include "core/device.h"

#include <cmath>
#include <cstring>

namespace pergrad::test {
namespace {

std::string checkpoint_of(const std::filesystem::path& run) { return slurp(run / "checkpoint.safetensors"); }

std::vector<std::string> on_emulated(const std::filesystem::path& config, const std::filesystem::path& out,
                                     const std::string& precision, std::vector<std::string> more = {}) {
  std::vector<std::string> all = {"train",
                                  config,
                                  "--out",
                                  out,
                                  "--device",
                                  "emulated",
                                  "--set",
                                  "speed.max_examples=6",
                                  "--json",
                                  "--set",
                                  "speed.precision=" + precision,
                                  "--set",
                                  "privacy.noise_multiplier=1.0"};  // (a target is slow to calibrate)
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// ||a - b|| / ||b|| over all floats of two checkpoints.
double distance(const std::filesystem::path& a, const std::filesystem::path& b) {
  const apps::Safetensors first(checkpoint_of(a), "a"), second(checkpoint_of(b), "b");
  double error = 0, norm = 0;
  for (const auto& entry : second.entries()) {
    const auto* other = first.find(entry.name);
    if (!other || entry.type != apps::ArrayType::f32) continue;
    const std::string_view x = first.bytes_of(*other), y = second.bytes_of(entry);
    for (size_t i = 0; i + 4 <= y.size(); i += 4) {
      float u, v;
      std::memcpy(&u, x.data() + i, 4);
      std::memcpy(&v, y.data() + i, 4);
      error += (u - v) * (u - v);
      norm += v * v;
    }
  }
  return std::sqrt(error / norm);
}

TEST(TrainOnDevice, AgreesWithTheProcessor) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const Outcome here = run(
      folder, {"train", config, "--out", folder / "here", "--json", "--set", "privacy.noise_multiplier=1.0"});
  const Outcome there = run(folder, on_emulated(config, folder / "there", "fp32"));
  ASSERT_EQ(here.status, 0) << here.err;
  ASSERT_EQ(there.status, 0) << there.err;
  EXPECT_EQ(there.json().at("device"), "emulated");
  EXPECT_EQ(there.json().at("precision"), "fp32");
  for (const char* key :
       {"epsilon", "noise_multiplier", "plan_hash", "config_hash", "steps_done", "parameters"})
    EXPECT_EQ(there.json().at(key), here.json().at(key)) << key;
  // (Not the weights: noise is keyed by the sum, so gradients that differ by a rounding get other noise.)
}

TEST(TrainOnDevice, ChunksAndResumingNeverChangeABit) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 3);
  for (const std::string precision : {"fp32", "bf16"}) {
    const auto whole = folder / ("whole-" + precision), chunks = folder / ("chunks-" + precision),
               parts = folder / ("parts-" + precision);
    ASSERT_EQ(run(folder, on_emulated(config, whole, precision)).status, 0);
    const Outcome other =
        run(folder, on_emulated(config, chunks, precision, {"--set", "speed.max_examples=17"}));
    ASSERT_EQ(other.status, 0) << other.err;
    EXPECT_TRUE(checkpoint_of(chunks) == checkpoint_of(whole)) << precision;
    ASSERT_EQ(run(folder, on_emulated(config, parts, precision, {"--max-steps", "2"})).status, 0);
    ASSERT_EQ(run(folder, on_emulated(config, parts, precision, {"--resume"})).status, 0);
    EXPECT_TRUE(checkpoint_of(parts) == checkpoint_of(whole)) << precision;
    EXPECT_EQ(slurp(parts / "ledger.jsonl"), slurp(whole / "ledger.jsonl"));
  }
}

TEST(TrainOnDevice, WithoutPrivacyWithAdamAndMicrobatches) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 1);
  int number = 0;
  for (std::vector<std::string> more : std::vector<std::vector<std::string>>{
           {"--non-private"},
           {"train.optimizer=adam", "train.momentum=0.0", "train.adam_noise_correction=true",
            "train.learning_rate=0.01"},
           {"privacy.units=microbatch", "privacy.microbatch_size=2", "privacy.microbatch_mix=added"}}) {
    std::vector<std::string> changes = {"--set", "train.expected_batch_size=3",
                                        "--set", "speed.max_examples=1",
                                        "--set", "privacy.noise_multiplier=1.0",
                                        "--set", "augment.base=1",
                                        "--set", "augment.mix=0"};
    for (const std::string& change : more) {
      if (!change.starts_with("--")) changes.emplace_back("--set");
      changes.push_back(change);
    }
    const auto here = folder / ("here" + std::to_string(number)),
               there = folder / ("there" + std::to_string(number));
    ++number;
    std::vector<std::string> all = {
        "train", config, "--out", here, "--json", "--set", "privacy.noise_multiplier=1.0"};
    all.insert(all.end(), changes.begin(), changes.end());
    const Outcome on_processor = run(folder, all),
                  on_device = run(folder, on_emulated(config, there, "fp32", changes));
    ASSERT_EQ(on_processor.status, 0) << on_processor.err;
    ASSERT_EQ(on_device.status, 0) << on_device.err;
    EXPECT_EQ(on_device.json().at("plan_hash"), on_processor.json().at("plan_hash"));
    if (more[0] == "--non-private") {
      EXPECT_LE(distance(there, here), 1e-4);
    }
  }
}

TEST(TrainOnDevice, ARunGoesOnOnAnotherDeviceAndIsEvaluatedOnEither) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const auto out = folder / "run";
  ASSERT_EQ(run(folder,
                {"train", config, "--out", out, "--max-steps", "3", "--set", "privacy.noise_multiplier=1.0"})
                .status,
            0);
  const Outcome done = run(folder, on_emulated(config, out, "fp32", {"--resume"}));
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.json().at("steps_done"), 6);
  const Outcome here = run(folder, {"evaluate", out, "--json"});
  const Outcome there = run(folder, {"evaluate", out, "--json", "--device", "emulated"});
  ASSERT_EQ(there.status, 0) << there.err;
  EXPECT_EQ(there.json().at("test_accuracy"), here.json().at("test_accuracy"));
  EXPECT_EQ(run(folder, {"account", "ledger", out}).status, 0);
}

// A launch fails, somewhere: in the first step, in a captured one, in evaluation. One line, exit 2, and the
// run goes on from its last checkpoint to the very end that it would have had.
TEST(TrainOnDevice, ALaunchThatFailsLosesNothing) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const auto whole = folder / "whole";
  const std::vector<std::string> often = {"--set", "train.checkpoint_every=1"};
  ASSERT_EQ(run(folder, on_emulated(config, whole, "fp32", often)).status, 0);
  const auto broken = folder / "broken";
  int faults = 0;
  for (const char* at : {"30", "90", "110", "130"}) {
    std::vector<std::string> more = often;
    if (std::filesystem::exists(broken / "config.toml")) more.emplace_back("--resume");
    setenv("PERGRAD_EMULATED_FAULT", at, 1);
    const Outcome done = run(folder, on_emulated(config, broken, "fp32", more));
    unsetenv("PERGRAD_EMULATED_FAULT");
    if (done.status == 0) continue;
    ++faults;
    EXPECT_EQ(done.status, 2) << done.err;
    const std::string last = done.err.substr(done.err.rfind("pergrad:"));
    EXPECT_NE(last.find("launch failed"), std::string::npos) << done.err;
    EXPECT_EQ(std::count(last.begin(), last.end(), '\n'), 1) << last;
  }
  EXPECT_GE(faults, 3);
  std::vector<std::string> more = often;
  if (std::filesystem::exists(broken / "config.toml")) more.emplace_back("--resume");
  ASSERT_EQ(run(folder, on_emulated(config, broken, "fp32", more)).status, 0);
  EXPECT_TRUE(checkpoint_of(broken) == checkpoint_of(whole));
  EXPECT_EQ(slurp(broken / "ledger.jsonl"), slurp(whole / "ledger.jsonl"));
  EXPECT_EQ(run(folder, {"account", "ledger", broken}).status, 0);
}

TEST(TrainOnDevice, ADeviceThatIsNotThereIsRefusedInOneLineAndNothingIsWritten) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  for (const std::string device : {"cuda", "cuda:99"}) {
    if (device == "cuda" && cuda_device_count() > 0) continue;
    const Outcome done = run(folder, {"train", config, "--out", folder / "run", "--device", device});
    EXPECT_EQ(done.status, 2) << done.err;
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
    EXPECT_NE(done.err.find("device: cuda:"), std::string::npos) << done.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "run"));
  }
  const Outcome planning = run(folder, {"train", config, "--out", folder / "run", "--device", "planning"});
  EXPECT_EQ(planning.status, 2);
}

}  // namespace
}  // namespace pergrad::test
