// Kills between any two changes of files: what random moments may miss.
#include "apps/audit/lifecycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

// Starts the run, or goes on with it, and kills it before its n-th change. Returns the changes it made.
int64_t killed_before(const ToyRun& run, const fs::path& out, int64_t n) {
  Child child(run.program, run.arguments(out), out.native() + ".log", {}, true);
  const int64_t made = child.kill_before_change(n);
  (void)child.wait();
  return made;
}

void kill_here(const ToyRun& run, const fs::path& out, int64_t n, int64_t second, Checks& checks) {
  const std::string what = fmt::format("{}, killed before change {} of its files", run.name, n + 1);
  checks.require(killed_before(run, out, n) == n, what, ": it ended before");
  const auto settle = [&] {
    if (fs::exists(out) && !fs::exists(out / "config.toml")) {  // not yet a run
      checks.require(!fs::exists(out / "ledger.jsonl"), what, ": something was released without a config");
      fs::remove_all(out);
    } else if (fs::exists(out)) {
      check_folder(out, what, checks);
    }
  };
  settle();
  if (killed_before(run, out, second) == second) settle();  // and once more while it goes on
  const Outcome end = run.go_on(out);
  checks.require(end.status == 0, what, ": it does not go on: it ", end.text());
  const LedgerLines lines = read_lines(out / "ledger.jsonl");
  checks.require(lines.releases == run.settings.steps && lines.steps == run.settings.steps, what, ": ",
                 lines.releases, " releases of ", lines.steps, " steps, wanted one of each");
  if (run.settings.noise_source == "secure") return;  // a key of its own: other bits
  const std::string difference = end.status == 0 ? run.difference(out) : "";
  checks.require(difference.empty(), what, ": the run ends in another ", difference);
}

}  // namespace

std::vector<Job> exact_kill_jobs(const Subject& subject) {
  const fs::path folder = subject.scratch / "lifecycle" / "exact";
  fs::create_directories(folder);
  ToySettings settings{.images = 48, .expected_batch = 12, .steps = 5, .checkpoint_every = 2};
  const auto reproducible = std::make_shared<ToyRun>(subject, folder, settings);
  const auto secure = std::make_shared<ToyRun>(*reproducible);  // each begins from nothing, with its own key
  secure->settings.noise_source = settings.noise_source = "secure";
  secure->name = "secure noise";
  secure->config = folder / "secure.toml";
  write_text(secure->config, toy_config(settings));
  int64_t changes = 0;
  try {
    changes = killed_before(*reproducible, folder / "counted", std::numeric_limits<int64_t>::max());
  } catch (const Error& error) {
    return {[why = std::string(error.what())](Checks& checks) {
      checks.found(why + ": kills came at random moments only, not between any two changes of files");
    }};
  }
  // Every place for both, or some, in a random order.
  std::vector<int64_t> places(static_cast<size_t>(2 * changes));
  std::iota(places.begin(), places.end(), 0);
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "exact kills"), 0, 0);
  for (size_t i = places.size(); i > 1; --i)
    std::swap(places[i - 1], places[random.below(static_cast<uint32_t>(i))]);
  if (!subject.full) places.resize(std::min<size_t>(places.size(), 8));
  std::vector<Job> jobs;
  for (const int64_t place : places)
    jobs.push_back([=, second = random.below(30)](Checks& checks) {
      const fs::path out = folder / concat("at-", place);
      kill_here(place % 2 ? *secure : *reproducible, out, place / 2, second, checks);
      if (checks.passed()) fs::remove_all(out);
    });
  jobs.push_back([=, tried = places.size()](Checks& checks) {
    checks.require(changes >= 30, "a run of five steps changes its files ", changes,
                   " times: these are not all its changes");
    checks.found(fmt::format(
        "a short run changes its files {} times: {} runs were killed right before {} of these, and again "
        "later, and ended as if they had not been",
        changes, tried, static_cast<int64_t>(tried) == 2 * changes ? "each" : "one"));
  });
  return jobs;
}

}  // namespace pergrad::audit
