// The ladder: what is audited, which rung comes when, and the report.
#include "apps/audit/audit.h"

#include "apps/audit/instruments.h"
#include "apps/audit/rungs.h"
#include "apps/bench_parts.h"
#include "apps/compute.h"
#include "apps/planning.h"
#include "apps/run_folder.h"
#include "apps/scratch_folder.h"
#include "apps/scoring.h"
#include "apps/training_data.h"
#include "dp/accountant.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

using Json = nlohmann::ordered_json;

struct Rung {
  std::string_view name;
  std::string_view question;
  void (*climb)(const Subject&, Checks&);
};
constexpr Rung kRungs[] = {
    {"plan", "Do sampler, mechanism, ledger and accountant read one plan, and are unsafe ones refused?",
     audit_plan},
    {"structure", "Can one record move the sum by more than the clip norm, or anybody else's part at all?",
     audit_structure},
    {"noise", "Is the noise Gaussian, of the stated size, on every number, and never used twice?",
     audit_noise},
    {"sampling", "Does everybody join each step with exactly the accounted probability, independently?",
     audit_sampling},
    {"accountant", "Is the stated epsilon never below what can be proved to be lost?", audit_accountant},
    {"whitebox", "Do the strongest attacks on the real mechanism stay below the stated epsilon?",
     audit_white_box},
    {"onerun", "Do canaries in a real training run stay below it?", audit_one_run},
    {"lifecycle", "Do kills, copies, roll-backs and edits of a run refund or repeat anything?",
     audit_lifecycle},
};

// Small enough for an audit in a minute, and every number of its guarantee differs from 1.
constexpr std::string_view kBuiltIn = R"(
[data]
format = "idx"
path = "synthetic"
mean = [0.5]
std = [0.25]
examples = 600
[model]
name = "small_cnn"
weight_standardization = true
[augment]
base = 2
mix = 2
crop_padding = 1
flip = true
[privacy]
noise_multiplier = 1.3
delta = 1e-5
clip_norm = 0.7
[train]
expected_batch_size = 48
steps = 150
learning_rate = 1.0
[noise]
source = "reproducible"
)";

Subject subject_of(const AuditOptions& options, uint64_t seed, const apps::ScratchFolder& scratch) {
  std::optional<fs::path> run;
  apps::Config config;
  if (options.target.empty()) {
    config = apps::parse_config(kBuiltIn, "the built-in config", options.changes);
  } else if (fs::is_directory(options.target)) {
    PG_CHECK(options.changes.set.empty(), "--set: ", options.target.string(), " is a run: it is what it is");
    run = options.target;
    config = apps::read_run_config(options.target);
  } else {
    config = apps::load_config(options.target, options.changes);
  }
  PG_CHECK(!config.privacy.non_private, "audit: ", options.target.string(),
           ": is non-private: there is nothing that it guarantees");
  Dataset data;
  std::optional<augment::PublicPool> pool;
  if (options.target.empty()) {
    data = apps::synthetic_images(config.data.examples - 10, {14, 14, 1}, 10);  // N is public, not the number
  } else {
    data = apps::load_split(config, options.data_root).train;
    pool = apps::load_public_pool(config, data, options.data_root);
  }
  const int64_t parameters =
      apps::parameter_count(config.model, {data.height, data.width, data.channels}, data.label_count);
  dp::Plan plan = apps::plan_of(config, data.size(), parameters);
  return {.config = std::move(config),
          .data = std::move(data),
          .pool = std::move(pool),
          .parameters = parameters,
          .plan = std::move(plan),
          .run = std::move(run),
          .full = options.full,
          .random = random_key(seed),
          .exec = apps::exec_of(0),
          .scratch = scratch.path(),
          .program = options.program};
}

std::string joined(const std::vector<std::string>& texts, std::string_view between) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : std::string(between)) + text;
  return all;
}

std::string lines_of(const std::vector<std::string>& sentences, std::string_view before) {
  std::string text;
  for (const std::string& sentence : sentences) text += fmt::format("{}{}\n", before, sentence);
  return text;
}

constexpr std::string_view kLimits =
    "What an audit cannot show\n"
    "  - It finds bugs; it is no proof. The proof is the code of dp/README.md, which is short enough to be "
    "read.\n"
    "  - A lower bound from attacks never reaches the stated epsilon: what lies between is not a leak, nor "
    "its\n"
    "    absence. Only the exact rungs (plan, structure, lifecycle) speak of every case that they tried.\n"
    "  - Side channels (time, memory, power) are not looked at, nor is who can read the run's folder.\n"
    "  - That the records are distinct people's, that N, the constants and the pool are public, that the key "
    "is\n"
    "    secret, that the compiler and the processor do what they document: these are assumed.\n";

}  // namespace

std::string rung_list() {
  std::vector<std::string> names;
  for (const Rung& rung : kRungs) names.emplace_back(rung.name);
  return joined(names, ", ");
}

AuditResult audit(const AuditOptions& options, apps::Console& console) {
  for (const std::string& name : options.only)
    PG_CHECK(std::ranges::find(kRungs, name, &Rung::name) != std::end(kRungs), "--only: no rung \"", name,
             "\"; wanted ", rung_list());
  const uint64_t seed =
      options.seed ? *options.seed : std::random_device()() | uint64_t{std::random_device()()} << 32;
  const apps::ScratchFolder scratch;
  const Subject subject = subject_of(options, seed, scratch);

  const std::string target =
      options.target.empty() ? "a small net on synthetic images" : options.target.string();
  AuditResult result{.passed = true, .json = {}, .text = {}};
  Json rungs = Json::array();
  std::string findings, ladder;
  double false_alarm = 0;
  bool all_lower_passed = true;
  for (const Rung& rung : kRungs) {
    const bool wanted =
        options.only.empty() || std::ranges::find(options.only, rung.name) != options.only.end();
    // What stands on a rung that failed is worth nothing: it is not climbed, unless it was asked for.
    if (!wanted || (options.only.empty() && !result.passed)) {
      ladder += fmt::format("  {:<11} not run\n", rung.name);
      all_lower_passed = false;
      continue;
    }
    console.progress(fmt::format("audit: {}", rung.name));
    Checks checks;
    const double seconds = apps::seconds_of([&] {
      try {
        rung.climb(subject, checks);
        if (checks.count() == 0) checks.fail("nothing was checked");
      } catch (const std::exception& error) {
        checks.fail(concat("threw: ", error.what()));
      }
    });
    result.passed = result.passed && checks.passed();
    false_alarm += checks.false_alarm();
    const std::string detail = joined(checks.passed() ? checks.found() : checks.failures(), "; ");
    rungs.push_back({{"name", rung.name},
                     {"passed", checks.passed()},
                     {"cited", checks.passed() && all_lower_passed},
                     {"checks", checks.count()},
                     {"failed", checks.failed()},
                     {"seconds", seconds},
                     {"detail", detail}});
    ladder +=
        fmt::format("  {:<11} {:<7} {:>15} checks {:>7.1f} s{}\n", rung.name,
                    checks.passed() ? "passed" : "FAILED", apps::thousands(checks.count()), seconds,
                    checks.passed() && !all_lower_passed ? "   (not cited: a lower rung was not run)" : "");
    findings += fmt::format("\n{}: {}\n", rung.name, rung.question);
    findings += lines_of(checks.found(), "  - ");
    findings += lines_of(checks.failures(), "  ! ");
    if (checks.failed() > static_cast<int64_t>(checks.failures().size()))
      findings +=
          fmt::format("  ! and {} more\n", checks.failed() - static_cast<int64_t>(checks.failures().size()));
    all_lower_passed = all_lower_passed && checks.passed();
  }
  console.clear();

  std::string verdict = result.passed ? "PASSED" : "FAILED";
  if (rungs.size() < std::size(kRungs))
    verdict += fmt::format(" ({} of {} rungs were run)", rungs.size(), std::size(kRungs));
  const dp::Plan& plan = subject.plan;
  const dp::PrivacyCost cost = dp::planned_cost(plan, subject.parameters);
  result.json = {{"passed", result.passed},    {"rungs", rungs},       {"plan_hash", plan.hash()},
                 {"target", target},           {"full", options.full}, {"seed", seed},
                 {"false_alarm", false_alarm}, {"version", PG_VERSION}};
  result.text = fmt::format("Audit of {}, {}\n\nWhat was checked, and what was found\n{}\n{}\n", target,
                            options.full ? "full" : "quick", findings, kLimits);
  result.text += fmt::format(
      "--------------------------------------------------------------------------------------------------\n"
      "Pergrad {}: audit {}\n\n"
      "  plan        {}\n"
      "  promises    ({:.4f}, {:g})-differential privacy: noise multiplier {:g}, sampling rate "
      "{:g},\n"
      "              {} steps, clip norm {:g}, adding or removing one example\n"
      "  target      {}\n"
      "  audit       {} on rungs below; seed {}; a sound program fails one audit in {:.0e}\n\n{}\n"
      "  I have read what was checked, what was found, and what an audit cannot show.\n\n"
      "  name ______________________________   date ______________   signature _______________________\n",
      PG_VERSION, verdict, plan.hash(), cost.epsilon_upper, plan->delta, plan->noise_multiplier,
      plan->sampling_rate, apps::thousands(plan->steps), plan->clip_norm, target,
      options.full ? "--full" : "--quick", seed, 1 / std::max(false_alarm, 1e-30), ladder);
  return result;
}

}  // namespace pergrad::audit
