// Completion scripts hold every verb; bash, where it is, takes its own and completes with it. And help.
#include "program.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

namespace pergrad::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

// The verbs that --help lists.
std::vector<std::string> verbs_below(const TempFolder& folder, std::vector<std::string> verb) {
  verb.push_back("--help");
  std::istringstream help(run(folder, verb).out);
  std::vector<std::string> verbs;
  std::string line;
  while (std::getline(help, line) && line != "Subcommands:") {
  }
  while (std::getline(help, line) && line.starts_with("  "))
    verbs.push_back(line.substr(2, line.find(' ', 2) - 2));
  return verbs;
}

bool has(const std::string& shell) { return std::system((shell + " -c : 2>/dev/null").c_str()) == 0; }

// What bash offers behind a line of words; the last one may be empty.
std::vector<std::string> offered(const TempFolder& folder, const std::vector<std::string>& line) {
  std::string words;
  for (const std::string& word : line) words += " '" + word + "'";
  spill(folder / "ask.bash", "source '" + (folder / "script.bash").string() + "'\nCOMP_WORDS=(" + words +
                                 ")\nCOMP_CWORD=" + std::to_string(line.size() - 1) +
                                 "\n_pergrad\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n");
  const std::string answer = (folder / "answer").string();
  EXPECT_EQ(std::system(("bash '" + (folder / "ask.bash").string() + "' > '" + answer + "'").c_str()), 0);
  std::istringstream lines(slurp(answer));
  std::vector<std::string> words_offered;
  for (std::string one; std::getline(lines, one);)
    if (!one.empty()) words_offered.push_back(one);
  return words_offered;
}

TEST(Completion, BothScriptsHoldEveryVerb) {
  const TempFolder folder;
  const std::vector<std::string> verbs = verbs_below(folder, {});
  EXPECT_THAT(verbs, Contains("train"));
  for (const char* shell : {"bash", "zsh"}) {
    const Outcome script = run(folder, {"completion", shell});
    ASSERT_EQ(script.status, 0) << script.err;
    for (const std::string& verb : verbs) EXPECT_THAT(script.out, HasSubstr("'" + verb)) << shell;
    for (const char* flag : {"--out", "--target-epsilon", "--overwrite", "--public-data"})
      EXPECT_THAT(script.out, HasSubstr(flag)) << shell;
    spill(folder / shell, script.out);
    if (!has(shell)) continue;
    EXPECT_EQ(std::system((std::string(shell) + " -n '" + (folder / shell).string() + "'").c_str()), 0);
  }
  EXPECT_EQ(run(folder, {"completion", "fish"}).status, 2);
  EXPECT_EQ(run(folder, {"completion"}).status, 2);
}

TEST(Completion, BashCompletes) {
  if (!has("bash")) GTEST_SKIP() << "no bash";
  const TempFolder folder;
  spill(folder / "script.bash", run(folder, {"completion", "bash"}).out);
  const auto offers = [&](const std::vector<std::string>& line) { return offered(folder, line); };
  EXPECT_THAT(offers({"pergrad", "tr"}), UnorderedElementsAre("train"));
  EXPECT_THAT(offers({"pergrad", ""}), testing::UnorderedElementsAreArray(verbs_below(folder, {})));
  EXPECT_THAT(offers({"pergrad", "train", "--ou"}), UnorderedElementsAre("--out"));
  EXPECT_THAT(offers({"pergrad", "train", ""}), UnorderedElementsAre());  // a file: readline's own
  EXPECT_THAT(offers({"pergrad", "train", "--max-steps", ""}), UnorderedElementsAre());
  EXPECT_THAT(offers({"pergrad", "train", "--device", "c"}), UnorderedElementsAre("cpu", "cuda"));
  EXPECT_THAT(offers({"pergrad", "train", "--device", "=", "e"}), UnorderedElementsAre("emulated"));
  EXPECT_THAT(offers({"pergrad", "account", "tr"}), UnorderedElementsAre("trade-off"));
  EXPECT_THAT(offers({"pergrad", "account", "epsilon", "--sampling", "p"}), UnorderedElementsAre("poisson"));
  EXPECT_THAT(offers({"pergrad", "account", "epsilon", ""}), Contains("--noise-multiplier"));
  EXPECT_THAT(offers({"pergrad", "audit", "--only", "st"}), UnorderedElementsAre("structure"));
  EXPECT_THAT(offers({"pergrad", "report", "data", "--pub"}), UnorderedElementsAre("--public-data"));
  EXPECT_THAT(offers({"pergrad", "completion", ""}), UnorderedElementsAre("bash", "zsh"));
}

// Every verb, on every level: a line, flags, examples that name it, exit status; nothing that a terminal of
// 110 columns breaks.
TEST(Help, IsThereForEveryVerb) {
  const TempFolder folder;
  std::vector<std::vector<std::string>> paths = {{}};
  for (const std::string& verb : verbs_below(folder, {})) {
    paths.push_back({verb});
    for (const std::string& below : verbs_below(folder, {verb})) paths.push_back({verb, below});
  }
  EXPECT_GE(paths.size(), 24u);
  for (std::vector<std::string> path : paths) {
    std::string name = "pergrad";
    for (const std::string& verb : path) name += ' ' + verb;
    path.push_back("--help");
    const Outcome help = run(folder, path);
    EXPECT_EQ(help.status, 0) << name;
    const size_t examples = help.out.find("\nExamples:\n"), status = help.out.find("\nExit status:\n  0  ");
    ASSERT_NE(examples, std::string::npos) << name;
    ASSERT_NE(status, std::string::npos) << name;
    EXPECT_THAT(help.out.substr(examples, status - examples), HasSubstr(name + (path.size() > 2 ? "" : " ")));
    std::istringstream lines(help.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110u) << name << ": " << line;
  }
}

}  // namespace
}  // namespace pergrad::test
