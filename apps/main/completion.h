// Scripts by which a shell completes the program's verbs, flags and values, made from its own flags.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace pergrad::apps {

// What a value can be follows from the type in the help: "{a,b}" is one of these words, DIR a folder, FILE or
// PATH anything on disk; other values are not completed.   shell: "bash" or "zsh".
std::string completion_script(const CLI::App& program, const std::string& shell);

}  // namespace pergrad::apps
