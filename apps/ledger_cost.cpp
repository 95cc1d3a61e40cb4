// cost_of_run.
#include "apps/ledger_cost.h"

#include "apps/atomic_file.h"
#include "apps/checkpoint.h"
#include "apps/run_folder.h"
#include "core/error.h"
#include "dp/ledger.h"

#include <charconv>
#include <string_view>

namespace pergrad::apps {
namespace {

// The delta of the last plan line that is whole; the last line of all may be torn, or being written. The plan
// stands in the ledger as canonical text, "...\ndelta=1e-05\n...".
double recorded_delta(std::string_view ledger, const std::string& name) {
  constexpr std::string_view key = "\\ndelta=";
  const size_t end = ledger.rfind("\"}");  // of a whole line, and of nothing else
  const size_t at = end == std::string_view::npos ? end : ledger.rfind(key, end);
  double delta = 0;
  if (at != std::string_view::npos) {
    const char* first = ledger.data() + at + key.size();
    std::from_chars(first, ledger.data() + ledger.size(), delta);
  }
  PG_CHECK_AS(PrivacyError, delta > 0 && delta < 1, name, ": names no plan");
  return delta;
}

}  // namespace

LedgerCost cost_of_run(const std::filesystem::path& run_folder) {
  const std::filesystem::path path = run_folder / "ledger.jsonl";
  PG_CHECK(is_folder(run_folder), shown(run_folder), ": wanted a run's folder");
  PG_CHECK(path_exists(path) || !path_exists(run_folder / "config.toml") ||
               !read_run_config(run_folder).privacy.non_private,
           shown(run_folder), ": was trained without privacy: there is no ledger");
  // First the checkpoint: its release is in every ledger that is read after it.
  LedgerCost told;
  const bool has_head = has_checkpoint(run_folder);
  const std::string head = has_head ? read_checkpoint_info(run_folder).info.ledger_head : "";
  told.phases = dp::read_ledger(path.string());  // verifies
  const std::string text = read_file(path);
  told.cost = dp::cost_of(told.phases, recorded_delta(text, shown(path)));
  if (has_head) {
    PG_CHECK_AS(
        PrivacyError, text.find("\"hash\":\"" + head + "\"") != std::string::npos, shown(path),
        ": does not hold the release that the checkpoint was made after: the ledger was cut or replaced");
    told.checkpoint_agrees = true;
  }
  return told;
}

}  // namespace pergrad::apps
