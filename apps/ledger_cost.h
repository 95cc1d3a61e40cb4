// What a run's ledger says it cost, held against its checkpoint.
#pragma once

#include "dp/accountant.h"

#include <filesystem>

namespace pergrad::apps {

struct LedgerCost {
  dp::PrivacyCost cost;
  bool checkpoint_agrees =
      false;  // there is a checkpoint, and the release that it was made after is recorded
};

// Verifies RUN_DIR/ledger.jsonl and adds up what it records; delta is the plan's, from the ledger itself.
//   THROWS: PrivacyError if the ledger does not verify, or lacks the release that the checkpoint was made
//   after; Error if there is no ledger.
LedgerCost cost_of_run(const std::filesystem::path& run_folder);

}  // namespace pergrad::apps
