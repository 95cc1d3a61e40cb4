// What the tests of checkpoints and run folders share: a folder that goes away, a config, and a small disk.
#pragma once

#include "apps/config.h"
#include "apps/run_folder.h"
#include "core/error.h"
#include "tests/apps/temp_folder.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace pergrad::apps {

namespace fs = std::filesystem;
using test::slurp;
using test::spill;
using test::TempFolder;

// While it lives no file of this process grows beyond `bytes`: "File too large", as good as a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    PG_CHECK(::getrlimit(RLIMIT_FSIZE, &old_) == 0, "getrlimit");
    const rlimit small{bytes, old_.rlim_max};
    PG_CHECK(::setrlimit(RLIMIT_FSIZE, &small) == 0, "setrlimit");
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit old_{};
  void (*old_handler_)(int) = SIG_DFL;
};

// A config that is right; `source` of the noise.
inline Config good_config(const std::string& source = "reproducible",
                          const std::vector<std::string>& set = {}) {
  return parse_config(
      "[data]\nformat = 'idx'\npath = 'x'\nmean = [0.5]\nstd = [0.5]\n"
      "[privacy]\nepsilon = 3\n"
      "[train]\nexpected_batch_size = 10\nsteps = 20\nlearning_rate = 1.0\n"
      "[noise]\nsource = '" +
          source + "'\n",
      "good.toml", {.set = set});
}

// The message of what `f` throws; "" if it throws nothing.
template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// A new run that has begun: its folder stays when the object goes.
inline RunFolder kept_run(const fs::path& path, const Config& config) {
  RunFolder folder = RunFolder::create(path, config);
  folder.keep();
  return folder;
}

}  // namespace pergrad::apps
