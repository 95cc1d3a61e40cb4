// What --help says: of each verb a line, examples and what its exit status means; and how it is laid out.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace pergrad::apps {

// Adds a verb, documented by its row in help.cpp ("account epsilon" is epsilon below account).
//   THROWS: std::logic_error if there is no row.
CLI::App* add_documented_verb(CLI::App& parent, const std::string& name);
// Documents the program itself; verbs that are added later share its layout.
void document_program(CLI::App& program);

// Type of an option's value that is one of several words; completion offers them: "{a,b}" of "a, b".
std::string one_of(const std::string& words);

}  // namespace pergrad::apps
