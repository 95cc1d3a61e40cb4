// RunFolder: the folder of one run: who may write to it, what is in it, and what must agree when it goes
// on.
//
// 1. One process at a time: a lock is held as long as this object lives.
// 2. A run goes on only with the same config ([speed] and [log] aside) and the same data.
// 3. In secure mode the run key is in run.key (mode 0600), on the disk before anything is released. Whoever
//    has it can subtract the noise: it is what must never leave the folder.
#pragma once

#include "apps/config.h"
#include "core/rng.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace pergrad::apps {

class RunFolder {
 public:
  // Makes the folder of a new run and writes config.toml.
  //   THROWS: Error if there is something in it, or it is in use.
  static RunFolder create(const std::filesystem::path& path, const Config& config);
  // Opens the folder of a run that was started before.   THROWS: Error if it is none, is in use by another
  // process, or was started with another config: one line naming the first key that differs.
  static RunFolder resume(const std::filesystem::path& path, const Config& config);
  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  RunFolder& operator=(RunFolder&&) = delete;

  // A new folder goes again with this object unless keep() was called: a start that is refused leaves
  // nothing. Call it before the first release.
  void keep() { made_here_ = false; }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path ledger() const { return path_ / "ledger.jsonl"; }

  // The run key, after the data was loaded and before anything is drawn.
  //   secure: made of the system's entropy, kept in run.key and read from there on resuming.
  //   reproducible: a function of (train.seed, config hash, dataset fingerprint).
  //   THROWS: Error if the data is not what the run was started with; if run.key is damaged, missing though
  //   the run has released something, or readable by others.
  Key run_key(const std::string& dataset_fingerprint);
  // HMAC of the fingerprint under a key derived from the run key: equal for equal data, and in secure mode
  // nothing can be learned from it. For checkpoints. REQUIRES: run_key() was called.
  const std::string& dataset_tag() const { return dataset_tag_; }

  // metrics.jsonl: appends one line, an object with an integer "step" (of the update that it was written
  // after, from 0).
  void append_metrics(const nlohmann::ordered_json& line);
  // Makes the lines durable; call before a checkpoint is saved.
  void sync_metrics();
  // On resuming from a checkpoint with `step` updates done: drops, atomically, the lines of steps >= step, so
  // that going on equals never having stopped.
  void rewind_metrics(int64_t step);

  // summary.json, atomically.
  void write_summary(const nlohmann::ordered_json& summary);

 private:
  RunFolder(std::filesystem::path path, Config config, int lock);
  std::filesystem::path path_;
  Config config_;
  bool made_here_ = false;  // and nothing released yet
  int lock_ = -1;
  int metrics_ = -1;
  std::string dataset_tag_;
};

// The config of a run: RUN_DIR/config.toml.   THROWS: Error.
Config read_run_config(const std::filesystem::path& run_folder);

// "runs/<name of the config file>-<seed>", with "-2", "-3", ... if that exists.
std::filesystem::path default_run_folder(const std::filesystem::path& config_file, uint64_t seed);

}  // namespace pergrad::apps
