// `pergrad report RUN`: one page that says what a run guarantees, what it cost and what it reached.
#pragma once

#include "apps/console.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace pergrad::apps {

struct ReportOptions {
  std::filesystem::path run;  // its folder
  std::filesystem::path out;  // the page; empty = RUN/report.html
  std::string data_root;
  bool public_data = false;  // --public-data: the training images are public, and may be shown
};

struct ReportResult {
  nlohmann::ordered_json json;  // {"report", "epsilon", "delta", "test_accuracy", "sections", "nonprivate"}
  std::string text;
};

// The ledger is verified first, and the page holds what it says, not what summary.json says. Pictures are of
// the public pool, or of the first training images if `public_data`; else none. Scores are of the averaged
// weights, on the test set (or what was held out); where it cannot be read the page says so.
//   THROWS: PrivacyError if the ledger does not verify; Error for a folder that is no run.
ReportResult report(const ReportOptions& options, Console& console);

}  // namespace pergrad::apps
