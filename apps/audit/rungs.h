// The rungs of the audit, cheapest and most exact first (docs/audit.md). Each looks at the code that trains,
// not at a model of it, and says what it found.
#pragma once

#include "apps/audit/checks.h"
#include "apps/config.h"
#include "augment/public_pool.h"
#include "core/dataset.h"
#include "core/exec.h"
#include "core/rng.h"
#include "dp/plan.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace pergrad::audit {

// What is audited.
struct Subject {
  apps::Config config;  // of the run, of the file, or the built-in one
  Dataset data;         // its training images; synthetic for the built-in one
  std::optional<augment::PublicPool> pool;
  int64_t parameters = 0;                    // P of the config's model
  dp::Plan plan;                             // the one that training it would use
  std::optional<std::filesystem::path> run;  // the run folder, if one was named

  bool full = false;  // ten minutes in place of one
  Key random;         // of all random numbers that the audit itself draws
  CpuExec exec;       // all threads
  std::filesystem::path
      scratch;  // an empty folder, in memory if there is such a thing: thrown away at the end
  std::filesystem::path program;  // pergrad
};

void audit_plan(const Subject& subject, Checks& checks);        // R0: one immutable plan
void audit_structure(const Subject& subject, Checks& checks);   // a: neighbours, in integers
void audit_noise(const Subject& subject, Checks& checks);       // b
void audit_sampling(const Subject& subject, Checks& checks);    // c
void audit_accountant(const Subject& subject, Checks& checks);  // A
void audit_white_box(const Subject& subject, Checks& checks);   // d: lower bounds from the real mechanism
void audit_one_run(const Subject& subject, Checks& checks);     // e: canaries in one training run
void audit_lifecycle(const Subject& subject, Checks& checks);   // L: kills, forks, tampering

}  // namespace pergrad::audit
