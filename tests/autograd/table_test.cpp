// Lint: every function of autograd/ops.h has a case in the table.
#include "tests/support/op_runs.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace pergrad::test {
namespace {

// Names of the functions that a header declares at the start of a line.
std::set<std::string> declared_functions(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);)
    for (const std::string type : {"Var ", "WeightVar ", "ConvKernel "}) {
      const size_t open = line.find('(');
      if (!line.starts_with(type) || open == std::string::npos) continue;
      names.insert(line.substr(type.size(), open - type.size()));
    }
  return names;
}

TEST(OpTable, EveryOpHasACase) {
  const std::set<std::string> declared = declared_functions(PG_SOURCE_DIR "/autograd/ops.h");
  std::set<std::string> covered;
  for (const OpCase& c : op_cases()) covered.insert(c.uses.begin(), c.uses.end());
  EXPECT_GE(declared.size(), 11u);
  EXPECT_EQ(covered, declared) << "add a case to autograd/op_cases.cpp";
}

TEST(OpTable, NamesAreUnique) {
  std::set<std::string> names;
  for (const OpCase& c : op_cases()) EXPECT_TRUE(names.insert(c.op + ": " + c.name).second) << c.name;
}

}  // namespace
}  // namespace pergrad::test
