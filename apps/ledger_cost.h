// What a run's ledger says it cost, held against its checkpoint.
#pragma once

#include "dp/accountant.h"

#include <filesystem>
#include <vector>

namespace pergrad::apps {

struct LedgerCost {
  std::vector<dp::Phase> phases;
  dp::PrivacyCost cost;  // of the phases
  // There is a checkpoint, and the release that it was made after is recorded.
  bool checkpoint_agrees = false;
};

// Verifies RUN_DIR/ledger.jsonl and adds up what it records; delta is the plan's, from the ledger itself. The
// run may be training meanwhile.
//   THROWS: PrivacyError if the ledger does not verify, or lacks the release that the checkpoint was made
//   after; Error if there is no ledger.
LedgerCost cost_of_run(const std::filesystem::path& run_folder);

}  // namespace pergrad::apps
