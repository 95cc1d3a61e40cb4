// The program end to end: what never changes a result, what survives a kill, what it prints.
#include "program.h"

#include "apps/config.h"
#include "apps/planning.h"
#include "dp/ledger.h"

#include <csignal>
#include <random>
#include <thread>

namespace pergrad::test {
namespace {

std::string checkpoint_of(const std::filesystem::path& run) { return slurp(run / "checkpoint.safetensors"); }

int64_t lines_of(const std::filesystem::path& file) {
  const std::string text = slurp(file);
  return std::count(text.begin(), text.end(), '\n');
}

TEST(Train, ChunksAndThreadsNeverChangeABit) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  std::string first;
  for (const auto& [examples, threads] : {std::pair{1, 1}, {2, 1}, {7, 1}, {32, 1}, {0, 1}, {7, 2}, {1, 2}}) {
    const auto out = folder / ("run-" + std::to_string(examples) + "-" + std::to_string(threads));
    const Outcome done =
        run(folder, {"train", config, "--out", out, "--set", "speed.max_examples=" + std::to_string(examples),
                     "--set", "speed.threads=" + std::to_string(threads)});
    ASSERT_EQ(done.status, 0) << done.err;
    const std::string bytes = checkpoint_of(out);
    ASSERT_FALSE(bytes.empty());
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes == first, true) << "max_examples " << examples << ", threads " << threads;
  }
}

TEST(Train, ResumedEqualsNeverStopped) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "whole"}).status, 0);
  const auto parts = folder / "parts";
  ASSERT_EQ(run(folder, {"train", config, "--out", parts, "--max-steps", "5"}).status, 0);
  ASSERT_EQ(run(folder, {"train", config, "--out", parts, "--resume", "--max-steps", "2"}).status, 0);
  const Outcome done = run(folder, {"train", config, "--out", parts, "--resume", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.json().at("steps_done"), 12);
  EXPECT_TRUE(checkpoint_of(parts) == checkpoint_of(folder / "whole"));
  EXPECT_EQ(slurp(parts / "ledger.jsonl"), slurp(folder / "whole" / "ledger.jsonl"));
}

TEST(Train, KilledAnywhereAndResumedEqualsNeverStopped) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 60);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "whole"}).status, 0);
  std::mt19937 random(20231);
  const auto killed = folder / "killed";
  std::vector<std::string> arguments = {"train", config, "--out", killed};
  for (int kill_number = 0; kill_number < 6; ++kill_number) {
    Process process(folder, arguments);
    // From the ledger's growth, not from a clock: sanitizers and slow machines are killed in training too.
    const int64_t at_least = lines_of(killed / "ledger.jsonl") + 1 + static_cast<int64_t>(random() % 8);
    int state = 0;
    while (lines_of(killed / "ledger.jsonl") < at_least && waitpid(process.pid(), &state, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(300 + random() % 700));
    kill(process.pid(), SIGKILL);
    process.wait();
    if (std::filesystem::exists(killed / "config.toml") && arguments.back() != "--resume")
      arguments.push_back("--resume");
  }
  const Outcome done = run(folder, arguments);
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_TRUE(checkpoint_of(killed) == checkpoint_of(folder / "whole"));
  EXPECT_EQ(slurp(killed / "ledger.jsonl"), slurp(folder / "whole" / "ledger.jsonl"));
  EXPECT_GE(lines_of(killed / "ledger.jsonl"), 60);
}

TEST(Train, InterruptStopsCleanly) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 100000);
  const auto out = folder / "run";
  Process process(folder, {"train", config, "--out", out});
  while (lines_of(out / "ledger.jsonl") < 4) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(process.pid(), SIGINT);
  const Outcome done = process.wait();
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("--resume"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(out / "checkpoint.safetensors"));
}

TEST(Train, SecureModeResumesWithItsOwnKey) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  const std::vector<std::string> secure = {"--set", "noise.source=secure"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), secure.begin(), secure.end());
    return run(folder, arguments);
  };
  const auto a = folder / "a", b = folder / "b";
  ASSERT_EQ(with({"train", config, "--out", a}).status, 0);
  ASSERT_EQ(with({"train", config, "--out", b, "--max-steps", "4"}).status, 0);
  EXPECT_EQ(std::filesystem::status(b / "run.key").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  ASSERT_EQ(with({"train", config, "--out", b, "--resume"}).status, 0);
  EXPECT_EQ(lines_of(a / "ledger.jsonl"), lines_of(b / "ledger.jsonl"));
  EXPECT_FALSE(checkpoint_of(a) == checkpoint_of(b)) << "two secure runs shared their noise";
  std::filesystem::remove(b / "run.key");
  const Outcome lost = with({"train", config, "--out", b, "--resume"});
  EXPECT_EQ(lost.status, 3) << lost.err;
}

TEST(Train, LearnsTheToyTaskWithAndWithoutPrivacy) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 60);
  const Outcome with = run(folder, {"train", config, "--out", folder / "private", "--json"});
  ASSERT_EQ(with.status, 0) << with.err;
  const auto summary = with.json();
  EXPECT_GT(summary.at("test_accuracy_ema").get<double>(), 0.9);
  EXPECT_LE(summary.at("epsilon").at("upper").get<double>(), 8.0);
  EXPECT_LE(summary.at("epsilon").at("lower").get<double>(), summary.at("epsilon").at("upper").get<double>());
  for (const char* key :
       {"delta", "noise_multiplier", "sampling_rate", "steps", "steps_done", "parameters", "train_examples",
        "test_examples", "views_per_example", "seconds", "views_per_second", "peak_memory_bytes", "device",
        "dataset", "config_hash", "plan_hash", "version"})
    EXPECT_TRUE(summary.contains(key)) << key;
  EXPECT_EQ(nlohmann::json::parse(slurp(folder / "private" / "summary.json")), summary);

  const Outcome without = run(folder, {"train", config, "--out", folder / "open", "--non-private", "--json",
                                       "--set", "train.learning_rate=0.2"});
  ASSERT_EQ(without.status, 0) << without.err;
  EXPECT_EQ(without.json().at("epsilon"), "inf");
  EXPECT_GT(without.json().at("test_accuracy").get<double>(), 0.95);
  EXPECT_FALSE(std::filesystem::exists(folder / "open" / "ledger.jsonl"));

  const Outcome again = run(folder, {"evaluate", folder / "private", "--json"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.json().at("test_accuracy"), summary.at("test_accuracy"));
  EXPECT_EQ(again.json().at("test_accuracy_ema"), summary.at("test_accuracy_ema"));
  const Outcome cost = run(folder, {"account", "ledger", folder / "private", "--json"});
  ASSERT_EQ(cost.status, 0) << cost.err;
  EXPECT_EQ(cost.json().at("epsilon").at("upper"), summary.at("epsilon").at("upper"));
}

TEST(Train, MetricsHoldNothingPrivateUnlessAsked) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "quiet"}).status, 0);
  EXPECT_EQ(slurp(folder / "quiet" / "metrics.jsonl").find("nonprivate"), std::string::npos);
  const Outcome loud =
      run(folder, {"train", config, "--out", folder / "loud", "--set", "log.nonprivate=true"});
  ASSERT_EQ(loud.status, 0);
  EXPECT_NE(slurp(folder / "loud" / "metrics.jsonl").find("nonprivate_loss"), std::string::npos);
  EXPECT_NE(loud.err.find("not private"), std::string::npos);
  EXPECT_TRUE(checkpoint_of(folder / "quiet") == checkpoint_of(folder / "loud"));
}

TEST(Train, EveryModeOfTheDataPathRuns) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  const std::vector<std::vector<std::string>> modes = {
      {"augment.base=1", "augment.mix=0", "augment.crop_padding=0"},  // plain DP-SGD
      {"augment.base=4", "augment.mix=0"},                            // self-augmentation
      {"augment.method=cutmix"},                                      // cutmix as views
      {"augment.mix_degenerate=true"},                                // the control
      {"privacy.units=microbatch", "privacy.microbatch_size=2"},      // Table 1: plain
      {"privacy.units=microbatch", "privacy.microbatch_size=2", "privacy.microbatch_mix=added"},
      {"privacy.units=microbatch", "privacy.microbatch_size=2", "privacy.microbatch_mix=replacing"},
      {"train.optimizer=adam", "train.learning_rate=0.01", "train.momentum=0"},
      {"model.name=linear", "model.layers=[]"},
      {"train.schedule=cosine", "train.warmup_steps=2", "train.ema_decay=0"}};
  int number = 0;
  for (const auto& mode : modes) {
    std::vector<std::string> arguments = {"train", config, "--out",
                                          folder / ("run" + std::to_string(number++))};
    for (const std::string& change : mode) arguments.insert(arguments.end(), {"--set", change});
    const Outcome done = run(folder, arguments);
    EXPECT_EQ(done.status, 0) << mode[0] << ": " << done.err;
  }
  // The micro-batch mode costs twice the noise for the same epsilon.
  const auto sigma = [&](const char* run) {
    return nlohmann::json::parse(slurp(folder / run / "summary.json")).at("noise_multiplier").get<double>();
  };
  EXPECT_NEAR(sigma("run4") / sigma("run0"), 2.0, 0.01);
}

TEST(Train, MixesWithAPublicPool) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  write_toy_data(folder / "pool", 32, 4);
  // Another set of images: the pool must not be the data.
  std::string images = slurp(folder / "pool" / "train-images-idx3-ubyte");
  for (size_t i = 16; i < images.size(); ++i) images[i] = static_cast<char>(images[i] ^ 1);
  spill(folder / "pool" / "train-images-idx3-ubyte", images);
  std::string with_pool = slurp(config) + "[pool]\nformat = \"idx\"\npath = \"" + (folder / "pool").string() +
                          "\"\nprovenance = \"made by the test\"\n";
  with_pool.replace(with_pool.find("mix = 2"), 7, "mix = 2\npool = 2");
  spill(folder / "pool.toml", with_pool);
  const Outcome done = run(folder, {"train", folder / "pool.toml", "--out", folder / "run", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.json().at("views_per_example"), 6);
  EXPECT_NE(slurp(folder / "run" / "ledger.jsonl").find("made by the test"), std::string::npos);
}

TEST(Train, ARefusedStartLeavesNoFolder) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  for (const char* change : {"augment.crop_padding=12", "model.layers=[\"conv 16 k99\", \"classifier\"]",
                             "speed.threads=65536", "train.expected_batch_size=1000"}) {
    EXPECT_EQ(run(folder, {"train", config, "--out", folder / "run", "--set", change}).status, 2) << change;
    EXPECT_FALSE(std::filesystem::exists(folder / "run")) << change;
  }
  EXPECT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
}

TEST(Train, DivergenceIsSaid) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  // Weights that are not finite end the run; finite ones whose loss is not are said at its end.
  for (const auto& [rate, status] :
       {std::pair{"train.learning_rate=1e300", 2}, {"train.learning_rate=1e38", 0}}) {
    std::filesystem::remove_all(folder / "run");
    const Outcome done = run(folder, {"train", config, "--out", folder / "run", "--set", rate});
    EXPECT_EQ(done.status, status) << rate << done.err;
    EXPECT_NE(done.err.find("diverged"), std::string::npos) << done.err;
  }
}

TEST(Train, ThePoolMustNotHoldTrainingImages) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  std::string with_pool = slurp(config) + "[pool]\nformat = \"idx\"\npath = \"" + (folder / "toy").string() +
                          "\"\nprovenance = \"not public at all\"\n";
  with_pool.replace(with_pool.find("mix = 2"), 7, "mix = 2\npool = 2");
  spill(folder / "pool.toml", with_pool);
  const Outcome done =
      run(folder, {"train", folder / "pool.toml", "--out", folder / "run", "--set", "data.train_limit=100"});
  EXPECT_EQ(done.status, 3) << done.err;
  EXPECT_NE(done.err.find("is in the training data"), std::string::npos) << done.err;
}

TEST(Train, EvaluatingNeedsNoPrivateData) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
  for (const char* file : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"})
    std::filesystem::remove(folder / "toy" / file);
  const Outcome done = run(folder, {"evaluate", folder / "run", "--json"});
  EXPECT_EQ(done.status, 0) << done.err;
}

TEST(Train, AFinishedRunIsNotTouchedAgain) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
  const std::string summary = slurp(folder / "run" / "summary.json");
  EXPECT_EQ(run(folder, {"train", config, "--out", folder / "run", "--resume"}).status, 0);
  EXPECT_EQ(slurp(folder / "run" / "summary.json"), summary);
}

TEST(Train, ACutLedgerDoesNotVerifyBesideItsCheckpoint) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const auto ledger = folder / "run" / "ledger.jsonl";
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
  std::string text = slurp(ledger);
  text.erase(text.rfind('\n', text.size() - 2) + 1);  // its last line, cleanly
  spill(ledger, text);
  EXPECT_EQ(run(folder, {"account", "ledger", folder / "run"}).status, 3);
  EXPECT_EQ(run(folder, {"train", config, "--out", folder / "run", "--resume"}).status, 3);
}

TEST(Train, APlanThatWasNotWrittenToItsEndGivesNoDelta) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 2);
  const auto ledger = folder / "run" / "ledger.jsonl";
  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "run"}).status, 0);
  spill(ledger, slurp(ledger) + R"({"type":"plan","plan_hash":"ab","plan":"steps=2\ndelta=0.5)");
  const Outcome told = run(folder, {"account", "ledger", folder / "run", "--json"});
  EXPECT_EQ(told.status, 0) << told.err;
  EXPECT_EQ(nlohmann::json::parse(told.out)["delta"], 1e-3);
}

// A budget is calibrated to the planned steps. A step that was released before with another sum would cost
// more: it is refused before it is recorded or any noise is drawn, whether it is behind or ahead.
TEST(Train, AReleaseBeyondTheBudgetIsRefusedBeforeItIsMade) {
  for (const int64_t forked : {2, 5}) {
    const TempFolder folder;
    const auto config = write_toy_config(folder);
    const auto out = folder / "run", file = out / "ledger.jsonl";
    ASSERT_EQ(run(folder, {"train", config, "--out", out, "--max-steps", "5"}).status, 0);
    {
      const apps::Config same = apps::load_config(config);
      const std::string ledger = slurp(file);
      const nlohmann::json last = nlohmann::json::parse(ledger.substr(ledger.rfind('{')));
      const int64_t parameters = last["parameters"];
      dp::Ledger again(file, apps::plan_of(same, 256, parameters));
      again.append(forked, parameters, std::string(64, 'a'),
                   last["sampler"].get<std::string>());  // another sum
    }
    const std::string before = slurp(file);
    const Outcome done = run(folder, {"train", config, "--out", out, "--resume"});
    EXPECT_EQ(done.status, 3) << done.err;
    EXPECT_NE(done.err.find("privacy.epsilon"), std::string::npos) << done.err;
    EXPECT_EQ(slurp(file), before);
    EXPECT_FALSE(std::filesystem::exists(out / "ledger.tried.jsonl"));
  }
}

// The last examples are held out: trained on without them, scored on them, and evaluate scores on the test
// set.
TEST(Train, ValidationTakesThePlaceOfTheTestSet) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  const Outcome done =
      run(folder, {"train", config, "--out", folder / "run", "--set", "data.validation=56", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.json().at("train_examples"), 200);
  EXPECT_EQ(done.json().at("test_examples"), 56);
  EXPECT_EQ(done.json().at("test_set"), "validation");
  // As if the file had ended before them: the same training data, the same run.
  const Outcome cut =
      run(folder, {"train", config, "--out", folder / "cut", "--set", "data.train_limit=200", "--json"});
  EXPECT_EQ(cut.json().at("test_set"), "test");
  const Outcome tested = run(folder, {"evaluate", folder / "run", "--json"});
  EXPECT_EQ(tested.json().at("test_examples"), cut.json().at("test_examples"));
  const Outcome all = run(folder, {"train", config, "--out", folder / "all", "--set", "data.validation=256"});
  EXPECT_EQ(all.status, 2);
  EXPECT_NE(all.err.find("data.validation"), std::string::npos) << all.err;
}

// A rehearsal keeps the noise on the mean gradient and says which epsilon that spends.
TEST(Train, ARehearsalKeepsTheNoisePerExample) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  const auto full = run(folder, {"train", config, "--out", folder / "full", "--json"}).json();
  const Outcome done = run(folder, {"train", config, "--out", folder / "run", "--simulate", "6", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  const auto small = done.json();
  EXPECT_EQ(small.at("expected_batch_size"), 6);
  EXPECT_EQ(small.at("simulated_batch_size"), 24);
  EXPECT_FALSE(full.contains("simulated_batch_size"));
  EXPECT_NEAR(small.at("noise_multiplier").get<double>() * 4, full.at("noise_multiplier"), 1e-12);
  EXPECT_NEAR(small.at("sampling_rate").get<double>() * 4, full.at("sampling_rate"), 1e-6);
  EXPECT_GT(small.at("epsilon").at("lower"), full.at("epsilon").at("upper"));
  EXPECT_NE(done.err.find("rehearsal"), std::string::npos) << done.err;
  // It goes on as itself, also from its own config, and not as what it stands for.
  EXPECT_EQ(run(folder, {"train", config, "--out", folder / "run", "--resume", "--simulate", "6"}).status, 0);
  EXPECT_EQ(run(folder, {"train", folder / "run/config.toml", "--out", folder / "run", "--resume"}).status,
            0);
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {config, "--out", folder / "run", "--resume"},
           {config, "--out", folder / "new", "--simulate", "24"},
           {config, "--out", folder / "new", "--simulate", "0"},
           {config, "--out", folder / "new", "--simulate", "6", "--non-private"},
           {folder / "run/config.toml", "--out", folder / "new", "--simulate", "3"}}) {
    std::vector<std::string> arguments{"train"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    const Outcome refused = run(folder, arguments);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "new"));
  }
}

// N is what the config says, not what is in the file: one example more or less changes no plan.
TEST(Train, ThePlanDoesNotDependOnThePrivateNumberOfExamples) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 2);
  std::string first;
  for (const char* limit : {"data.train_limit=256", "data.train_limit=255"}) {
    std::filesystem::remove_all(folder / "run");
    // train_limit itself is public and in the config; the plan is what must not move.
    const Outcome done = run(folder, {"train", config, "--out", folder / "run", "--set", limit, "--set",
                                      "data.examples=300", "--json"});
    ASSERT_EQ(done.status, 0) << done.err;
    const std::string plan = done.json().at("plan_hash");
    if (first.empty()) first = plan;
    EXPECT_EQ(plan, first);
  }
  const Outcome more = run(folder, {"train", config, "--out", folder / "more", "--set", "data.examples=100"});
  EXPECT_EQ(more.status, 2);
}

}  // namespace
}  // namespace pergrad::test
