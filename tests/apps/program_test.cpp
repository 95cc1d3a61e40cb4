// The face of the program: verbs, exit status, JSON, one line for bad input.
#include "program.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace pergrad::test {
namespace {

TEST(Program, AccountEpsilonAnswersAsPromised) {
  const TempFolder folder;
  const Outcome done = run(folder, {"account", "epsilon", "--noise-multiplier", "4", "--sampling-rate",
                                    "0.08192", "--steps", "1687", "--delta", "1e-5", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  const auto json = done.json();
  // Exact value 3.68768 (inverse Laplace transform); RDP gives 3.99623.
  EXPECT_LE(json.at("epsilon").at("lower").get<double>(), 3.6876805063);
  EXPECT_GE(json.at("epsilon").at("upper").get<double>(), 3.6876805063);
  EXPECT_LE(json.at("epsilon").at("upper").get<double>(), 3.6876805063 * 1.0001);
  EXPECT_EQ(json.at("accountant"), "pld");
  EXPECT_GE(json.at("remove").at("upper").get<double>(), 3.6876805063);
  EXPECT_GE(json.at("add").at("upper").get<double>(), 3.58590599902);
  for (const char* key : {"rdp_epsilon", "rdp_order", "delta", "noise_multiplier", "sampling_rate", "steps",
                          "adjacency", "accountant", "seconds"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json.at("adjacency"), "add_remove");
}

TEST(Program, AccountNoiseIsInverse) {
  const TempFolder folder;
  const Outcome done = run(folder, {"account", "noise", "--target-epsilon", "3", "--delta", "1e-5",
                                    "--sampling-rate", "0.03", "--steps", "600", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_LE(done.json().at("epsilon").at("upper").get<double>(), 3.0);
  EXPECT_GT(done.json().at("noise_multiplier").get<double>(), 0.5);
}

TEST(Program, AccountAnswersInOtherWords) {
  const TempFolder folder;
  const auto upper = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "account");
    arguments.insert(arguments.end(), {"--json"});
    const Outcome done = run(folder, arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    return done.json().at("epsilon").at("upper").get<double>();
  };
  const double whole = upper(
      {"epsilon", "--noise-multiplier", "2", "--sampling-rate", "0.1", "--steps", "200", "--delta", "1e-5"});
  EXPECT_NEAR(upper({"epsilon", "--phase", "2,0.1,50", "--phase", "2,0.1,150", "--delta", "1e-5"}), whole,
              1e-6);
  EXPECT_GT(upper({"epsilon", "--noise-multiplier", "2", "--sampling-rate", "0.1", "--steps", "200",
                   "--delta", "1e-5", "--adjacency", "substitution"}),
            whole);
  EXPECT_NEAR(upper({"epsilon", "--noise-multiplier", "10", "--steps", "100", "--delta", "1e-5", "--sampling",
                     "full_batch"}),
              4.37717809568, 1e-8);
  const Outcome batch =
      run(folder, {"account", "batch", "--target-epsilon", "3", "--delta", "1e-5", "--noise-multiplier", "2",
                   "--steps", "250", "--examples", "50000", "--json"});
  ASSERT_EQ(batch.status, 0) << batch.err;
  EXPECT_NEAR(batch.json().at("expected_batch_size").get<double>(), 4059, 60);  // 4096 costs 3.0295
  EXPECT_LE(batch.json().at("epsilon").at("upper").get<double>(), 3.0);
  const Outcome curve = run(folder, {"account", "trade-off", "--noise-multiplier", "10", "--sampling-rate",
                                     "1", "--steps", "100", "--csv", folder / "t.csv", "--json"});
  ASSERT_EQ(curve.status, 0) << curve.err;
  EXPECT_TRUE(slurp(folder / "t.csv").starts_with("false_positive,false_negative_lower\n"));
  EXPECT_NEAR(curve.json().at("gdp_mu_approximation_no_guarantee").get<double>(), 1.0, 1e-12);
}

TEST(Program, InfoAndVersion) {
  const TempFolder folder;
  EXPECT_EQ(run(folder, {"--version"}).status, 0);
  const Outcome done = run(folder, {"info", "--json"});
  ASSERT_EQ(done.status, 0);
  EXPECT_TRUE(done.json().contains("version"));
  EXPECT_TRUE(done.json().contains("devices"));
}

// Variables that libgomp reads before main are there in time: threads that wait sleep.
TEST(Program, LibrariesAreSetUp) {
  const TempFolder folder;
  setenv("OMP_DISPLAY_ENV", "verbose", 1);
  const Outcome done = run(folder, {"info"});
  unsetenv("OMP_DISPLAY_ENV");
  ASSERT_EQ(done.status, 0) << done.err;
  if (done.err.find("GOMP_SPINCOUNT") == std::string::npos) GTEST_SKIP() << "not libgomp";
  EXPECT_NE(done.err.find("GOMP_SPINCOUNT = '0'"), std::string::npos) << done.err;
}

// The audit of what was trained: it is about this plan; what it finds decides the exit status.
TEST(Program, AuditOfARun) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 4);
  const std::filesystem::path out = folder / "run";
  ASSERT_EQ(run(folder, {"train", config, "--out", out}).status, 0);
  const auto summary = nlohmann::json::parse(slurp(out / "summary.json"));
  for (const std::filesystem::path& target : {out, config}) {
    const Outcome done = run(folder, {"audit", target, "--only", "plan", "--json"});
    ASSERT_EQ(done.status, 0) << done.err << done.out;
    EXPECT_TRUE(done.json()["passed"]);
    EXPECT_EQ(done.json()["plan_hash"], summary["plan_hash"]);
    EXPECT_EQ(done.json()["rungs"].size(), 1);
    EXPECT_GT(done.json()["rungs"][0]["checks"], 100);
  }
  nlohmann::json edited = summary;
  edited["epsilon"]["upper"] = 0.5 * summary["epsilon"]["upper"].get<double>();
  spill(out / "summary.json", edited.dump());
  const Outcome done = run(folder, {"audit", out, "--only", "lifecycle", "--json"});
  EXPECT_EQ(done.status, 3) << done.out;
  EXPECT_FALSE(done.json()["passed"]);
  EXPECT_THAT(done.json()["rungs"][0]["detail"], testing::HasSubstr("summary.json says epsilon"));

  ASSERT_EQ(run(folder, {"train", config, "--out", folder / "open", "--non-private"}).status, 0);
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"audit", "--only", "nothing"},
                                              {"audit", folder / "nowhere"},
                                              {"audit", folder / "open"},
                                              {"audit", out, "--set", "train.steps=5"},
                                              {"audit", "--full", "--quick"}}) {
    const Outcome refused = run(folder, bad);
    EXPECT_EQ(refused.status, 2) << bad[1] << refused.err;
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
}

TEST(Program, HelpOfEveryVerb) {
  const TempFolder folder;
  for (const char* verb : {"train", "evaluate", "account", "data", "audit", "bench", "info"}) {
    const Outcome done = run(folder, {verb, "--help"});
    EXPECT_EQ(done.status, 0) << verb;
    EXPECT_GT(done.out.size(), 100u) << verb;
  }
}

TEST(Program, BenchStepOnASmallModel) {
  const TempFolder folder;
  const auto config = write_toy_config(folder);
  const Outcome done = run(folder, {"bench", "step", config, "--set", "speed.max_examples=4", "--set",
                                    "data.height=12", "--set", "data.width=12", "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  for (const char* key : {"device", "model", "examples", "views", "dtype", "private_views_per_second",
                          "nonprivate_views_per_second", "private_to_nonprivate", "peak_memory_bytes"})
    EXPECT_TRUE(done.json().contains(key)) << key;
  const Outcome one_side =
      run(folder, {"bench", "step", config, "--set", "speed.max_examples=4", "--set", "data.height=12",
                   "--set", "data.width=12", "--seconds", "0", "--private-only", "--json"});
  ASSERT_EQ(one_side.status, 0) << one_side.err;
  EXPECT_GT(one_side.json().at("private_views_per_second").get<double>(), 0);
  EXPECT_FALSE(one_side.json().contains("nonprivate_views_per_second"));
}

TEST(Program, AnAuditOfSomeRungsSaysSo) {
  const TempFolder folder;
  const Outcome done = run(folder, {"audit", "--only", "plan"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("audit PASSED (1 of 8 rungs were run)"), std::string::npos) << done.out;
}

TEST(Program, FullBatchesAreNotCalledPoisson) {
  const TempFolder folder;
  const Outcome done = run(folder, {"account", "epsilon", "--noise-multiplier", "9", "--steps", "3",
                                    "--delta", "1e-5", "--sampling", "full_batch"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("all examples in every step"), std::string::npos) << done.out;
  EXPECT_EQ(done.out.find("Poisson"), std::string::npos) << done.out;
}

// What a user can get wrong on the command line: exit status 2 (3 where privacy is at stake), one line.
TEST(Program, BadInputIsOneLine) {
  const TempFolder folder;
  const std::string config = write_toy_config(folder).string();
  const std::string used = (folder / "used").string();
  ASSERT_EQ(run(folder, {"train", config, "--out", used, "--max-steps", "1"}).status, 0);
  spill(folder / "tampered" / "config.toml", slurp(folder / "used" / "config.toml"));
  std::string ledger = slurp(folder / "used" / "ledger.jsonl");
  ledger[ledger.size() / 2] ^= 1;
  spill(folder / "tampered" / "ledger.jsonl", ledger);
  ASSERT_EQ(
      run(folder, {"train", config, "--out", folder / "free", "--max-steps", "1", "--non-private"}).status,
      0);
  std::string relative = slurp(config);
  relative.replace(relative.find((folder / "toy").string()), (folder / "toy").string().size(), "toy");
  spill(folder / "relative.toml", relative);

  struct Case {
    std::vector<std::string> arguments;
    int status;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{}, 2, "subcommand"},
      {{"trian"}, 2, "trian"},
      {{"train"}, 2, "config"},
      {{"train", (folder / "none.toml").string()}, 2, "No such file"},
      {{"train", folder.path().string()}, 2, ""},
      {{"train", config, "--colour"}, 2, "--colour"},
      {{"train", config, "--out", used}, 2, "used"},
      {{"train", config, "--resume"}, 2, "--out"},
      {{"train", config, "--resume", "--out", (folder / "nowhere").string()}, 2, "wanted a run's folder"},
      {{"train", config, "--resume", "--out", used, "--set", "train.learning_rate=3"},
       2,
       "train.learning_rate"},
      {{"train", config, "--max-minutes", "soon"}, 2, "max-minutes"},
      {{"train", config, "--max-minutes", "nan"}, 2, "max-minutes"},
      {{"train", config, "--max-steps", "-1"}, 2, "max-steps"},
      {{"train", config, "--device", "cuda:9"}, 2, "cuda"},
      {{"train", config, "--device", "tpu"}, 2, "tpu"},
      {{"train", config, "--set", "train.stepz=3"}, 2, "steps"},
      {{"train", config, "--set", "train.steps=zero"}, 2, "train.steps"},
      {{"train", config, "--set", "train.expected_batch_size=1000"}, 2, "expected_batch_size"},
      {{"train", config, "--set", "privacy.epsilon=-1"}, 2, "privacy.epsilon"},
      {{"train", config, "--set", "model.layers=[\"conv 16 k99\", \"classifier\"]"}, 2, ""},
      {{"train", config, "--set", "model.layers=[\"classifier\", \"relu\"]"}, 2, "classifier"},
      {{"train", config, "--set", "model.layers=[\"convolve 3\", \"classifier\"]"}, 2, "convolve"},
      {{"train", config, "--set", "model.name=resnet"}, 2, "resnet"},
      {{"train", config, "--max-minute", "1"}, 2, "no flag --max-minute; did you mean --max-minutes?"},
      {{"account", "epsilon", "--sigma", "4"}, 2, "no flag --sigma (see"},
      {{"account", "eps", "--noise-multiplier", "4"}, 2, "account: wanted epsilon, delta,"},
      {{"train", config, "--device", "gpu"}, 2, "command line: speed.device: got"},
      {{"train", config, "--set", "privacy.sampling=shuffle"}, 2, "command line: privacy.sampling: got"},
      {{"train", (folder / "relative.toml").string(), "--data-root", (folder / "none").string()},
       2,
       "--data-root: "},
      {{"report", config}, 2, "wanted a run's folder"},
      {{"account", "ledger", config}, 2, "wanted a run's folder"},
      {{"account", "ledger", (folder / "free").string()}, 2, "was trained without privacy"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "9", "--delta",
        "1e-5", "--sampling", "full_batch"},
       2,
       "--sampling full_batch"},
      {{"evaluate", (folder / "nowhere").string()}, 2, "nowhere"},
      {{"evaluate", config}, 2, ""},
      {{"evaluate", used, "--ema", "--raw"}, 2, "--"},
      {{"account", "epsilon"}, 2, "required"},
      {{"account", "epsilon", "--noise-multiplier", "0", "--sampling-rate", "0.1", "--steps", "1", "--delta",
        "1e-5"},
       2,
       "noise"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "1.5", "--steps", "1", "--delta",
        "1e-5"},
       2,
       "sampling"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "nan", "--steps", "1", "--delta",
        "1e-5"},
       2,
       "sampling"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.5", "--steps", "1", "--delta",
        "0"},
       2,
       "delta"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.5", "--steps", "-3", "--delta",
        "1e-5"},
       2,
       "steps"},
      {{"account", "noise", "--target-epsilon", "-1", "--delta", "1e-5", "--sampling-rate", "0.1", "--steps",
        "10"},
       2,
       "epsilon"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "1.5",
        "--delta", "1e-5"},
       2,
       "steps"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "0", "--delta",
        "1e-5"},
       2,
       "steps"},
      {{"account", "epsilon", "--phase", "1,0.1", "--delta", "1e-5"}, 2, "--phase"},
      {{"account", "epsilon", "--phase", "1,0.1,5", "--steps", "3", "--delta", "1e-5"}, 2, "--steps"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "9", "--delta",
        "1e-5", "--sampling", "shuffle"},
       2,
       "shuffle"},
      {{"account", "epsilon", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "9", "--delta",
        "1e-5", "--precision", "0"},
       2,
       "precision"},
      {{"account", "curve", "--noise-multiplier", "1", "--sampling-rate", "0.1", "--steps", "9",
        "--adjacency", "substitution"},
       2,
       "substitution"},
      {{"account", "batch", "--target-epsilon", "1", "--delta", "1e-5", "--noise-multiplier", "1", "--steps",
        "9", "--examples", "0"},
       2,
       "examples"},
      {{"account", "ledger", (folder / "nowhere").string()}, 2, "nowhere"},
      {{"account", "ledger", (folder / "tampered").string()}, 3, "ledger"},
      {{"data", "inspect", (folder / "toy").string()}, 2, "format"},
      {{"data", "inspect", (folder / "toy").string(), "--format", "tar"}, 2, "tar"},
      {{"data", "inspect", (folder / "nowhere").string(), "--format", "idx"}, 2, "nowhere"},
      {{"bench", "step", (folder / "none.toml").string()}, 2, "No such file"},
      {{"bench", "step", config, "--seconds", "soon"}, 2, "seconds"},
      {{"bench", "step", config, "--seconds", "-1"}, 2, "--seconds"},
      {{"bench", "step", config, "--export"}, 2, "--export"},
      {{"bench", "step", config, "--set", "speed.max_examples=2", "--export",
        (folder / "nowhere" / "step.safetensors").string()},
       2,
       "No such file"},
      {{"bench", "step", config, "--set", "speed.max_examples=2", "--export", folder.path().string()}, 2, ""},
  };
  for (const Case& c : cases) {
    const Outcome done = run(folder, c.arguments);
    std::string shown;
    for (const std::string& argument : c.arguments) shown += argument + " ";
    EXPECT_EQ(done.status, c.status) << shown << "\n" << done.err;
    EXPECT_TRUE(done.out.empty()) << shown << done.out;
    // Progress and warnings may come before; the message is the last line, and one line.
    const size_t at = done.err.rfind("pergrad: ");
    ASSERT_NE(at, std::string::npos) << shown << done.err;
    EXPECT_EQ(done.err.find('\n', at), done.err.size() - 1) << shown << done.err;
    EXPECT_NE(done.err.find(c.says, at), std::string::npos) << shown << "\n" << done.err;
  }
}

}  // namespace
}  // namespace pergrad::test
