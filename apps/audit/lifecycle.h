// What the parts of the lifecycle rung share: toy runs that were never stopped, and what must stay true of
// one that was.
#pragma once

#include "apps/audit/rungs.h"
#include "apps/audit/toy_run.h"
#include "core/philox.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace pergrad::audit {

// A training, and its result where nothing disturbed it.
struct ToyRun {
  std::string name;
  std::filesystem::path program, config, data_root;  // what is run, and with which files
  std::filesystem::path begun;  // secure noise: a run that has its key and did no step, to be copied
  std::filesystem::path whole;  // the run that was never stopped
  double seconds = 0;           // that it took
  ToySettings settings;

  // Makes the data, the config and both runs in `folder`.   THROWS: Error if the program cannot do that.
  ToyRun(const Subject& subject, const std::filesystem::path& folder, const ToySettings& of);

  // An empty place for another run of it: with the same key, so that the same noise must come.
  void begin(const std::filesystem::path& out) const;
  // The command line that starts it, or goes on with it.
  std::vector<std::string> arguments(const std::filesystem::path& out) const;
  // Runs it to its end, or for so many steps.
  Outcome go_on(const std::filesystem::path& out, std::optional<int64_t> steps = {}) const;
  // What differs, in the result, from the run that was never stopped; "" if nothing does.
  std::string difference(const std::filesystem::path& out) const;
};

// What a ledger holds, read as JSON: not by the code that is audited.
struct LedgerLines {
  int64_t releases = 0;
  int64_t steps = 0;            // that have a release
  int64_t draws = 0;            // that were released: steps, each of a run key and a plan
  bool repeated_tag = false;    // a step has a line twice
  std::string plan_hash, head;  // of the last plan line; of the last line
};
LedgerLines read_lines(const std::filesystem::path& ledger);

// What must be true of a run folder at every moment: the ledger verifies, no line is there twice, and it
// holds every step that the checkpoint knows of. `what`: begins the sentences of what is wrong.
void check_folder(const std::filesystem::path& out, const std::string& what, Checks& checks);

// Independent jobs, as many at a time as there are processors. What one throws is a failure.
using Job = std::function<void(Checks&)>;
void in_parallel(const std::vector<Job>& jobs, Checks& checks);

// The parts, in files of their own. Those that use the ledger in this process come first: a child that was
// forked beside them would hold its lock for a moment.
void audit_mechanism_forks(const Subject& subject, Checks& checks);  // lifecycle_forks.cpp
void audit_write_ahead(const Subject& subject, Checks& checks);      //
void audit_ledger_edits(const Subject& subject, Checks& checks);     // lifecycle_edits.cpp
std::vector<Job> kill_jobs(const Subject& subject, const ToyRun& sgd, const ToyRun& secure);
std::vector<Job> exact_kill_jobs(const Subject& subject);                 // lifecycle_exact_kills.cpp
std::vector<Job> folder_jobs(const Subject& subject, const ToyRun& run);  // lifecycle_folder.cpp
std::vector<Job> key_jobs(const Subject& subject, const ToyRun& sgd,
                          const ToyRun& secure);               // lifecycle_keys.cpp
void audit_named_run(const Subject& subject, Checks& checks);  // lifecycle_named_run.cpp

}  // namespace pergrad::audit
