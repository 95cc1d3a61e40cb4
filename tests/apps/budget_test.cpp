// Budget: a release that would be too much is refused before it is made, judged by the draw that it is of.
#include "apps/budget.h"
#include "core/error.h"
#include "core/hash.h"
#include "tests/apps/temp_folder.h"

#include <gtest/gtest.h>

#include <cmath>

namespace pergrad::apps {
namespace {

using test::slurp, test::TempFolder;

std::string tag(int64_t i) { return sha256_hex(std::to_string(i)); }

TEST(Budget, JudgesWhatIsReleasedAgainByTheDrawThatItIsOf) {
  dp::PlanSettings settings;
  settings.sampling_rate = 0.03125, settings.noise_multiplier = 1, settings.steps = 10;
  settings.expected_batch = 10, settings.delta = 1e-5, settings.max_examples = 1000;
  const dp::Plan plan(settings);
  constexpr int64_t P = 50;
  const dp::Phase step{1, 0.03125, 1, P, plan.noise_std_on_grid()};
  // What finishing costs with a draw of another run key in a step, and with a fork of the draw that it had.
  const auto cost = [&](int64_t steps, double noise) {
    dp::Phase once = step, again = step;
    once.releases = steps, again.noise_multiplier = noise;
    return dp::cost_of({once, again}, 1e-5).epsilon_upper;
  };
  const double draw = cost(10, 1), fork = cost(9, 1 / std::sqrt(2.0));
  ASSERT_GT(fork, 1.1 * draw);

  const TempFolder folder;
  const auto file = folder / "ledger.jsonl";
  dp::Ledger ledger(file, plan);
  for (int64_t i = 0; i < 5; ++i) ledger.append(i, P, tag(i), "mine");
  const std::string before = slurp(file);
  Budget budget(plan, P, (draw + fork) / 2, ledger, file);
  EXPECT_NO_THROW(budget.before_release(2, tag(2), "mine"));       // a replay
  EXPECT_NO_THROW(budget.before_release(5, tag(5), "mine"));       // the next step
  EXPECT_NO_THROW(budget.before_release(2, tag(100), "another"));  // another draw
  EXPECT_THROW(budget.before_release(2, tag(100), "mine"), PrivacyError);
  EXPECT_EQ(slurp(file), before);
  EXPECT_FALSE(std::filesystem::exists(folder / "ledger.tried.jsonl"));
}

}  // namespace
}  // namespace pergrad::apps
