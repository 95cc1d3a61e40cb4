// The run folder that was named: ledger, checkpoint, summary and config must tell one story. Nothing in it is
// touched.
#include "apps/audit/lifecycle.h"
#include "apps/checkpoint.h"
#include "dp/accountant.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

using Files = std::map<std::string, std::pair<uint64_t, fs::file_time_type>>;

Files files_in(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().filename().native()] = {entry.file_size(), entry.last_write_time()};
  return files;
}

}  // namespace

void audit_named_run(const Subject& subject, Checks& checks) {
  const fs::path& run = *subject.run;
  const fs::path ledger = run / "ledger.jsonl";
  const Files before = files_in(run);
  checks.require(fs::exists(ledger), "the run has no ledger");
  if (!fs::exists(ledger)) return;
  check_folder(run, "the run", checks);
  const LedgerLines lines = read_lines(ledger);
  checks.require(lines.plan_hash == subject.plan.hash(), "the run: its last release is of plan ",
                 lines.plan_hash, ", its config makes plan ", subject.plan.hash());
  int64_t done = 0;
  if (apps::has_checkpoint(run)) {
    const apps::CheckpointRead read = apps::read_checkpoint_info(run);
    done = read.info.step;
    checks.require(read.warning.empty(), "the run: ", read.warning);
    checks.require(read.info.plan_hash == subject.plan.hash(), "the run: its checkpoint is of another plan");
    checks.require(read.info.config_hash == apps::config_hash(subject.config),
                   "the run: its checkpoint is of another config");
  }
  const double cost = dp::spent_cost(ledger.native(), subject.plan->delta).epsilon_upper;
  const nlohmann::json summary = nlohmann::json::parse(text_of_file(run / "summary.json"), nullptr, false);
  if (summary.is_object() && summary.contains("epsilon")) {
    const nlohmann::json& said = summary["epsilon"]["upper"];
    const double epsilon = said.is_number() ? said.get<double>() : INFINITY;
    // A run that went on since then and was killed has spent more than its last summary says.
    const bool up_to_date = summary.value("steps_done", int64_t{-1}) == lines.steps;
    checks.require(up_to_date ? epsilon == cost || std::fabs(epsilon / cost - 1) < 1e-9 : epsilon <= cost,
                   "the run: summary.json says epsilon ", epsilon, ", the ledger costs ", cost);
    checks.require(summary.value("plan_hash", "") == subject.plan.hash(),
                   "the run: summary.json is of another plan");
  }
  checks.require(files_in(run) == before, "the run: the audit changed its folder, or somebody trains in it");
  checks.found(fmt::format(
      "the run's ledger verifies: {} releases of {} steps ({} beyond the first of a step) for {} steps done, "
      "epsilon {:.4f} in all",
      lines.releases, lines.steps, lines.releases - lines.steps, done, cost));
}

}  // namespace pergrad::audit
