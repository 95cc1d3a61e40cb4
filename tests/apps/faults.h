// What the tests of faults share: short runs, how the program must end, and what must be left on the disk.
#pragma once

#include "program.h"

#include <algorithm>
#include <set>

namespace pergrad::test {

// Training on the toy data with a noise multiplier (a target is slow to calibrate), and more settings.
inline std::vector<std::string> training(const std::filesystem::path& config,
                                         const std::filesystem::path& out,
                                         const std::vector<std::string>& set = {},
                                         const std::vector<std::string>& flags = {}) {
  std::vector<std::string> all = {"train", config, "--out", out, "--set", "privacy.noise_multiplier=1.0"};
  for (const std::string& change : set) all.insert(all.end(), {"--set", change});
  all.insert(all.end(), flags.begin(), flags.end());
  return all;
}

// The program ended with this status and said why in one line, its last: no signal, no status 1.
inline void expect_refusal(const Outcome& done, int status, const std::string& says,
                           const std::string& what) {
  EXPECT_EQ(done.status, status) << what << "\n" << done.err;
  const size_t at = done.err.find("pergrad: ");
  ASSERT_NE(at, std::string::npos) << what << "\n" << done.err;
  EXPECT_EQ(done.err.find('\n', at), done.err.size() - 1) << what << "\n" << done.err;
  EXPECT_NE(done.err.find(says, at), std::string::npos) << what << ", wanted: " << says << "\n" << done.err;
}

inline std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  if (!std::filesystem::exists(folder)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

// Nothing in a run's folder but whole files of known names.
inline void expect_nothing_half_written(const std::filesystem::path& run, const std::string& what) {
  const std::set<std::string> known = {"config.toml",
                                       "metrics.jsonl",
                                       "ledger.jsonl",
                                       "checkpoint.safetensors",
                                       "checkpoint.previous.safetensors",
                                       "summary.json",
                                       "run.json",
                                       "run.key",
                                       "lock"};
  for (const std::string& name : names_in(run)) EXPECT_TRUE(known.contains(name)) << what << ": " << name;
}

inline std::string checkpoint_in(const std::filesystem::path& run) {
  return slurp(run / "checkpoint.safetensors");
}

// The run that was broken off goes on to the end that it would have had; if nothing is left, it starts anew.
inline void expect_same_end(const TempFolder& folder, std::vector<std::string> arguments,
                            const std::filesystem::path& broken, const std::filesystem::path& whole,
                            const std::string& what) {
  if (std::filesystem::exists(broken / "ledger.jsonl")) {
    EXPECT_EQ(run(folder, {"account", "ledger", broken}).status, 0) << what;
    arguments.push_back("--resume");
  }
  const Outcome done = run(folder, arguments);
  ASSERT_EQ(done.status, 0) << what << "\n" << done.err;
  EXPECT_TRUE(checkpoint_in(broken) == checkpoint_in(whole)) << what;
  EXPECT_EQ(slurp(broken / "ledger.jsonl"), slurp(whole / "ledger.jsonl")) << what;
}

inline int64_t releases_in(const std::filesystem::path& run) {
  const std::string text = slurp(run / "ledger.jsonl");
  int64_t count = 0;
  for (size_t at = 0; (at = text.find("\"type\":\"release\"", at)) != std::string::npos; ++at) ++count;
  return count;
}

}  // namespace pergrad::test
