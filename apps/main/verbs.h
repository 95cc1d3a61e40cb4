// The verbs of the program: which flags each has, and what it does with them.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace pergrad::apps {

// What every verb shares.
struct Common {
  bool json = false;
  std::string data_root;
  std::function<void()> action;  // of the verb that was named
  int status = 0;                // that the action ends with
};

// Adds all verbs. Parsing a command line leaves in `common` the action of the one that it named.
void add_verbs(CLI::App& program, Common& common);

}  // namespace pergrad::apps
