// `pergrad audit`: the program proves itself, rung by rung.
#pragma once

#include "apps/config.h"
#include "apps/console.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pergrad::audit {

struct AuditOptions {
  std::filesystem::path target;  // a run folder or a config; empty = a small built-in one on synthetic images
  apps::ConfigChanges changes;   // --set; not of a run, which is what it is
  bool full = false;             // --full: ten minutes in place of one
  std::vector<std::string> only;  // --only: these rungs; empty = all
  std::optional<uint64_t> seed;   // --seed: repeats an audit; else the system's entropy
  std::string data_root;
  std::filesystem::path program = "/proc/self/exe";  // what the lifecycle rung runs
};

struct AuditResult {
  bool passed = false;  // every rung that was asked for
  nlohmann::ordered_json
      json;          // cli.md: {"passed", "rungs": [{"name", "passed", "checks", ..}], "plan_hash"}
  std::string text;  // a report for people, one page to sign at its end
};

// Climbs the ladder; stops at the first rung that fails: what stands above it rests on it.
//   THROWS: Error and its kinds, in one line, where the target cannot be read.
AuditResult audit(const AuditOptions& options, apps::Console& console);

// What --only takes: "plan, structure, ...".
std::string rung_list();

}  // namespace pergrad::audit
