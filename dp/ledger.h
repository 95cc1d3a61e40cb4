// Ledger: the append-only record of every release, one JSON line each, chained by SHA-256.
//
// 1. A line is on the disk before the noise of its release is drawn: charged >= released, whatever crashes.
// 2. Lines are never taken back: what was released on a branch that was given up stays charged.
// 3. The chain shows corruption, edits, reordering and lines lost from the middle. It has no secret:
//    whoever may write the file can forge all of it, and a clean cut at the end shows only against a head()
//    kept elsewhere (checkpoints keep it, and ask contains() at resume).
#pragma once

#include "dp/plan.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::dp {

class Ledger {
 public:
  // Creates the file, or verifies it and goes on. A header line holds the plan; another plan starts a new
  // phase. An incomplete last line (a crash while it was written: nothing had been released) is cut off.
  //   THROWS: PrivacyError naming the line that does not verify; Error if the file cannot be opened or
  //   written, or another process has it open.
  Ledger(std::string path, const Plan& plan);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  struct Receipt {
    std::string tag;      // as recorded; the noise is keyed by it, so it cannot be drawn without a receipt
    int64_t branch = 0;   // how many other releases of this step were recorded before this one
    bool replay = false;  // this very release is in the ledger already: nothing was written or charged
  };
  // Records that `parameters` noisy numbers are about to be released for `step`; `tag` commits to them under
  // the run key, `sampler` names whose draw they are of.
  //   Guarantee: when it returns, the line is synced to the disk. The same (plan, step, tag) again is a
  //   replay; the same step with anything else is a new branch, and charged: a fork of the draw, or a draw.
  //   THROWS: Error if the line could not be written: earlier lines stay, and nothing may be released.
  Receipt append(int64_t step, int64_t parameters, std::string_view tag, std::string_view sampler);
  // The step was released before, and not with this tag.
  bool would_fork(int64_t step, std::string_view tag) const;

  const std::string& plan_hash() const { return plan_hash_; }
  const std::string& head() const { return head_; }  // hash of the last line
  bool contains(const std::string& line_hash) const { return hashes_.contains(line_hash); }
  int64_t releases() const { return static_cast<int64_t>(branches_.size()); }
  // Releases beyond the first of each step, forks or not.
  int64_t forks() const { return releases() - static_cast<int64_t>(releases_of_step_.size()); }

 private:
  void write_line(std::string body);
  void remember(std::string_view line);
  std::string path_;
  int file_ = -1;
  int64_t bytes_ = 0;  // that are on the disk for certain
  bool failed_ = false;
  Plan plan_;
  std::string plan_hash_;  // of the last header
  std::string head_;
  std::set<std::string> hashes_;
  std::map<std::string, int64_t, std::less<>> branches_;  // "plan step tag" -> branch
  std::map<int64_t, int64_t> releases_of_step_;
};

// Steps of equal cost. The k releases that a sampler has of one step, forks included, share one Poisson
// sample: together they are one release of it with noise 1 / sqrt(k) of each (accountant.cpp), not k steps.
struct Phase {
  double noise_multiplier = 0;    // effective: noise std / sensitivity / sqrt(k)
  double sampling_rate = 0;       // exactly the sampler's
  int64_t releases = 0;           // steps
  int64_t parameters = 0;         // numbers released in a step, on all branches
  int64_t noise_std_on_grid = 0;  // integer standard deviation of the discrete noise
  bool operator==(const Phase&) const = default;
};

// Verifies a ledger and returns its steps, those of equal cost together; changes nothing. If a release names
// no sampler, as once none did, no name counts: what one step has is of one draw, if all had one run key.
//   THROWS: PrivacyError naming the line that does not verify, Error if the file cannot be read.
std::vector<Phase> read_ledger(const std::string& path);

}  // namespace pergrad::dp
