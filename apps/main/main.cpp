// pergrad: sets the libraries up, hands the command line to the verbs, and turns what they throw into one
// line and an exit status: 0 done, 1 our fault, 2 the user's, 3 privacy.
#include "apps/atomic_file.h"
#include "apps/edit_distance.h"
#include "apps/main/help.h"
#include "apps/main/verbs.h"
#include "core/error.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

// Two libraries read variables before main and are set up here, by starting the program anew with them: what
// setenv does before the C library is set up is lost.
// OMP_WAIT_POLICY: threads that wait for others sleep. libgomp's way is to spin for milliseconds, which on a
// machine with anything else to do takes the core from the very thread that is waited for: steps of a small
// net were 2 to 3 times slower beside one other busy process. OPENBLAS_NUM_THREADS: OpenBLAS starts threads
// that we never use (core/gemm.cpp), and hangs where memory for them is short.
void set_up_libraries(int, char** argv, char** environment) {
  constexpr std::string_view kSleep = "OMP_WAIT_POLICY=", kOne = "OPENBLAS_NUM_THREADS=";
  bool sleeps = false, one = false;
  std::vector<char*> changed;
  for (char** entry = environment; *entry; ++entry) {
    const std::string_view text = *entry;
    sleeps = sleeps || text.starts_with(kSleep);
    if (text.starts_with(kOne)) {
      one = text.substr(kOne.size()) == "1";
      if (!one) continue;
    }
    changed.push_back(*entry);
  }
  if (sleeps && one) return;
  static char passive[] = "OMP_WAIT_POLICY=passive", one_thread[] = "OPENBLAS_NUM_THREADS=1";
  if (!sleeps) changed.push_back(passive);
  if (!one) changed.push_back(one_thread);
  changed.push_back(nullptr);
  static char program[4096];  // zeros behind the name
  if (::readlink("/proc/self/exe", program, sizeof program - 1) > 0) ::execve(program, argv, changed.data());
  // Where that cannot be, it works without, slower.
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeLibraries)(int, char**,
                                                                             char**) = set_up_libraries;

using namespace pergrad::apps;

// "train, evaluate, ... or completion".
std::string verbs_of(const CLI::App& app) {
  const std::vector<const CLI::App*> verbs = app.get_subcommands({});
  std::string text;
  for (const CLI::App* verb : verbs)
    text += (text.empty() ? "" : verb == verbs.back() ? " or " : ", ") + verb->get_name();
  return text;
}

// "; did you mean NAME?" with the name most like `given`, if one is.
std::string did_you_mean(const std::string& given, const std::vector<std::string>& names) {
  const auto distance = [&](const std::string& name) { return edit_distance(given, name); };
  const auto nearest = std::ranges::min_element(names, {}, distance);
  if (nearest == names.end() || 3 * distance(*nearest) > given.size()) return "";
  return "; did you mean " + *nearest + "?";
}

// A verb without the one below it that it wants, or the first flag that the verb does not know.
std::optional<std::string> unknown_word(const CLI::App& app, int argc, char** argv) {
  const CLI::App* verb = &app;
  while (!verb->get_subcommands().empty()) verb = verb->get_subcommands().front();
  if (verb != &app && !verb->get_subcommands({}).empty())
    return fmt::format("{}: wanted {}", verb->get_name(), verbs_of(*verb));
  std::vector<std::string> known;
  for (const CLI::Option* option : verb->get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string word = argv[i], flag = word.substr(0, word.find('='));
    if (flag.size() > 2 && flag.starts_with("--") && std::ranges::find(known, flag) == known.end())
      return fmt::format("no flag {}{}", printable(flag), did_you_mean(flag, known));
  }
  return std::nullopt;
}

// One line, whatever the message was made of.
int fail(int status, const std::string& what) {
  std::string line = what.substr(0, what.find('\n'));
  std::fprintf(stderr, "pergrad: %s\n", line.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is a failed write with a message, not a silent end
  Common common;
  try {
    CLI::App app("Trains image models with differential privacy, and says what it guarantees.", "pergrad");
    app.set_version_flag("--version", std::string("pergrad ") + PG_VERSION);
    app.require_subcommand(1);
    document_program(app);
    add_verbs(app, common);
    const auto is_named = [&](const CLI::App* verb) { return verb->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && std::as_const(app).get_subcommands(is_named).empty())
      return fail(2, fmt::format("no verb \"{}\"; wanted {}", printable(argv[1]), verbs_of(app)));
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& success) {
      return app.exit(success);
    } catch (const CLI::ParseError& error) {
      return fail(2, unknown_word(app, argc, argv).value_or(error.what()) + " (see --help)");
    }
    common.action();
    return common.status;
  } catch (const pergrad::PrivacyError& error) {
    return fail(3, error.what());
  } catch (const pergrad::Error& error) {
    return fail(2, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(2, error.what());
  } catch (const std::bad_alloc&) {
    return fail(2, "out of memory: a smaller model, speed.max_examples or speed.threads needs less");
  } catch (const std::exception& error) {
    return fail(1, std::string("internal error: ") + error.what());
  }
}
