// The reviewer's path: dp/README.md lists every file that the guarantee rests on, with its length, and they
// are few.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;
const fs::path kRoot = PG_SOURCE_DIR;

// Lines that are not blank: the proofs in the comments are to be read too.
int lines_of(const fs::path& file) {
  std::ifstream in(file);
  EXPECT_TRUE(in.good()) << file;
  int count = 0;
  for (std::string line; std::getline(in, line);) {
    count += line.find_first_not_of(" \t") != std::string::npos;
  }
  return count;
}

// Rows "| 3 | `dp/plan.h` | 56 | ..." of the table under this heading: file and lines.
std::map<std::string, int> table(const std::string& heading) {
  std::ifstream in(kRoot / "dp/README.md");
  std::map<std::string, int> files;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) inside = line == "## " + heading;
    const size_t open = line.find(" | `"), close = line.find("` | ");
    if (inside && line.starts_with("| ") && open != std::string::npos && close != std::string::npos)
      files[line.substr(open + 4, close - open - 4)] = std::stoi(line.substr(close + 4));
  }
  return files;
}

// Lines of all files under a heading; each must have about the length that is stated.
int total_of(const std::string& heading) {
  int total = 0;
  for (const auto& [file, stated] : table(heading)) {
    const int lines = lines_of(kRoot / file);
    total += lines;
    EXPECT_NEAR(lines, stated, 5) << "dp/README.md: length of " << file;
  }
  return total;
}

TEST(ReviewersPath, IsShorterThanPromised) {
  const int total = total_of("The reviewer's path");
  RecordProperty("lines", total);
  EXPECT_GT(total, 500);
  EXPECT_LT(total, 1500);
}

// The second, optional sitting: what the published epsilon needs beyond rdp_epsilon.
TEST(ReviewersPath, TheTightAccountantIsShort) {
  const int total = total_of("The tight accountant");
  EXPECT_GT(total, 200);
  EXPECT_LT(total, 550);
}

// What who trains on a GPU reads beside the path.
TEST(ReviewersPath, WhatAGpuAddsIsShort) {
  const int total = total_of("On a GPU");
  EXPECT_GT(total, 50);
  EXPECT_LT(total, 400);
}

TEST(ReviewersPath, LeavesNothingOut) {
  std::set<std::string> listed;
  for (const auto& [file, lines] : table("The reviewer's path")) listed.insert(file);
  for (const char* heading : {"The tight accountant", "On a GPU", "Beside the path"})
    for (const auto& [file, lines] : table(heading)) EXPECT_TRUE(listed.insert(file).second) << file;
  for (const char* file : {"core/rng.h", "core/rng.cpp", "core/example_batch.h", "core/sources.h",
                           "core/hash.h", "core/hash.cpp", "core/exec.h", "augment/augmenter.h"})
    EXPECT_TRUE(table("The reviewer's path").contains(file)) << file;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "dp")) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".h" || extension == ".cpp" || extension == ".cu") {
      EXPECT_TRUE(listed.contains(fs::relative(entry.path(), kRoot).string())) << entry.path();
    }
  }
}

// dp/ sees core/ and itself, nothing else of ours; only nonprivate.* may be without a guarantee.
TEST(ReviewersPath, IncludesPointDownOnly) {
  const std::string include = "#include \"";
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / "dp")) {
    if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
    std::ifstream in(entry.path());
    const bool accounting = entry.path().parent_path().filename() == "accounting";
    for (std::string line; std::getline(in, line);)
      if (line.starts_with(include)) {
        const std::string name = line.substr(include.size(), line.find('"', include.size()) - include.size());
        EXPECT_TRUE(accounting ? name.starts_with("dp/accounting/")
                               : name.starts_with("dp/") || name.starts_with("core/"))
            << entry.path() << " includes " << name;
        EXPECT_TRUE(name != "dp/nonprivate.h" || entry.path().stem() == "nonprivate") << entry.path();
      }
  }
}

}  // namespace
