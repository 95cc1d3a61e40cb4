// `pergrad explain`: what is said adds up, for the built-in example and for every config that we ship.
#include "apps/explain.h"
#include "core/error.h"
#include "tests/apps/program.h"

#include <gmock/gmock.h>

#include <cmath>

namespace pergrad::apps {
namespace {

using Json = nlohmann::json;

Json explained(const ExplainOptions& options = {}) { return explain(options).json; }

double norm_of(const std::vector<double>& v) {
  double squares = 0;
  for (double x : v) squares += x * x;
  return std::sqrt(squares);
}

TEST(Explain, SaysWhatIsShownSmallerThanAsked) {
  ExplainOptions options;
  EXPECT_EQ(explain(options).text.find("instead of"), std::string::npos);
  options.changes.set = {"augment.base=8", "augment.crop_padding=4"};
  EXPECT_NE(explain(options).text.find(
                "Made small enough to read: base 2 instead of 8, crop_padding 1 instead of 4."),
            std::string::npos);
}

// The chain of one step, recomputed from the numbers that are printed.
void expect_sums_up(const Json& json) {
  const auto& plan = json.at("plan");
  const double C = plan.at("clip_norm"), unit = std::ldexp(C, -40);
  std::vector<int64_t> sum(10, 0);
  ASSERT_EQ(json.value("joined", Json::array()).size(), json.value("clipped", Json::array()).size());
  for (size_t n = 0; n < json.value("clipped", Json::array()).size(); ++n) {
    const std::vector<double> gradient = json.at("gradients")[n].at("gradient");
    const auto& clipped = json.at("clipped")[n];
    EXPECT_NEAR(clipped.at("norm").get<double>(), norm_of(gradient), 1e-6);
    EXPECT_NEAR(clipped.at("factor").get<double>(), std::min(1.0, C / norm_of(gradient)), 1e-6);
    const std::vector<int64_t> on_grid = clipped.at("on_grid");
    std::vector<double> in_units;
    for (size_t i = 0; i < on_grid.size(); ++i) {
      sum[i] += on_grid[i];
      in_units.push_back(static_cast<double>(on_grid[i]) * unit);
      EXPECT_NEAR(in_units[i], gradient[i] * clipped.at("factor").get<double>(), 1e-6 * C);
    }
    EXPECT_LE(norm_of(in_units), C * (1 + 1e-15));
  }
  EXPECT_EQ(json.at("nonprivate_sum"), sum);
  const std::vector<double> noise = json.at("nonprivate_noise"), released = json.at("private_gradient");
  const std::vector<double> before = json.at("weights").at("before"), after = json.at("weights").at("after");
  const double deviation = plan.at("noise_multiplier").get<double>() * C;
  for (size_t i = 0; i < sum.size(); ++i) {
    EXPECT_NEAR((static_cast<double>(sum[i]) * unit + noise[i]) / plan.at("divisor").get<double>(),
                released[i], 1e-6 * deviation);
    EXPECT_LT(std::abs(noise[i]), 6 * deviation);
    EXPECT_NEAR(after[i], before[i] - json.at("weights").at("learning_rate").get<double>() * released[i],
                1e-5 * deviation);
  }
  EXPECT_EQ(json.at("ledger_line").at("step"), json.at("step"));
  EXPECT_EQ(json.at("ledger_line").at("plan_hash"), plan.at("plan_hash"));
  EXPECT_LE(json.at("neighbour").at("norm_of_difference").get<double>(), C * (1 + 1e-15));
}
void expect_adds_up(const Json& json) {
  expect_sums_up(json);
  EXPECT_GT(json.at("plan").at("epsilon_of_all_steps"), json.at("plan").at("epsilon_of_one_step"));
}

TEST(Explain, AddsUp) {
  const Json json = explained();
  expect_adds_up(json);
  EXPECT_GE(json.at("joined").size(), 2);
  EXPECT_TRUE(json.at("neighbour").at("joins"));
  EXPECT_EQ(json.at("views")[0].at("views").size(), 3);
  EXPECT_NEAR(json.at("gradients")[0].at("loss").get<double>(), std::log(2.0), 1e-6);
  // One example is clipped and one is not: both cases are to be seen.
  EXPECT_NE(json.at("clipped")[0].at("factor") == 1.0, json.at("clipped")[1].at("factor") == 1.0);
}

TEST(Explain, IsTheSameAtEveryCallAndOtherForAnotherSeed) {
  EXPECT_EQ(explain({}).text, explain({}).text);
  const Json other = explained({.config = {}, .changes = {.set = {"train.seed=2"}, .non_private = false}});
  expect_adds_up(other);
  EXPECT_NE(other.at("nonprivate_noise"), explained().at("nonprivate_noise"));
}

// One step, whoever joins: nobody, some, with and without the newcomer.
TEST(Explain, AStepMayBeOfNobody) {
  int empty = 0, without = 0;
  for (int seed = 1; seed <= 40; ++seed) {
    const Json json =
        explained({.config = {},
                   .changes = {.set = {"train.steps=1", concat("train.seed=", seed)}, .non_private = false}});
    empty += json.at("joined").empty();
    without += !json.at("neighbour").at("joins").get<bool>();
    expect_sums_up(json);
  }
  EXPECT_GT(empty, 0);  // 0.6^4 of 40: none once in 250 choices of seeds; these are fixed
  EXPECT_GT(without, 0);
}

TEST(Explain, TakesItsNumbersFromAnyConfigThatItCanExplain) {
  int found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(PG_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path().native());
    const Config config = load_config(entry.path());
    const ExplainOptions options{.config = entry.path(), .changes = {}};
    if (config.privacy.non_private || config.privacy.units != "example") {
      EXPECT_THROW(explain(options), Error);
      continue;
    }
    ++found;
    const Json json = explained(options);
    expect_adds_up(json);
    EXPECT_EQ(json.at("plan").at("steps"), config.train.steps);
    EXPECT_LE(json.at("plan").at("epsilon_of_all_steps").get<double>(),
              config.privacy.epsilon.value_or(HUGE_VAL));
  }
  EXPECT_GT(found, 40);
}

TEST(Explain, IsAVerb) {
  const test::TempFolder folder;
  const test::Outcome text = run(folder, {"explain"}), json = run(folder, {"explain", "--json"});
  ASSERT_EQ(text.status, 0) << text.err;
  for (const char* chapter :
       {"1. The data", "2. The plan", "3. Who joins", "4. Views", "5. Per-example gradients", "6. The clip",
        "7. The sum", "8. The release", "9. The update", "10. What if"})
    EXPECT_THAT(text.out, testing::HasSubstr(chapter));
  expect_adds_up(json.json());
  EXPECT_EQ(run(folder, {"explain", "nowhere.toml"}).status, 2);
  EXPECT_EQ(run(folder, {"explain", "--set", "privacy.clip_norm=0"}).status, 2);
  EXPECT_EQ(run(folder, {"explain", "--set", "privacy.non_private=true"}).status, 2);
}

}  // namespace
}  // namespace pergrad::apps
