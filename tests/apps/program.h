// Runs the program as a user would, on small data sets made on the spot.
#pragma once

#include "tests/apps/data_fixture.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pergrad::test {

struct Outcome {
  int status = -1;  // exit status, or 128 + signal
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

// What a process may not exceed.
struct Limits {
  std::optional<rlim_t> memory;  // bytes of address space
  std::optional<rlim_t> file;    // bytes of each file: as good as a full disk (but for what it says)
};

// A process of the program, its output in two files.
class Process {
 public:
  Process(const TempFolder& folder, std::vector<std::string> arguments, const Limits& limits = {},
          const std::string& name = "std")
      : out_(folder / (name + "out")), err_(folder / (name + "err")) {
    arguments.insert(arguments.begin(), PG_PROGRAM);
    // With a limit of files, errors come through a pipe; a pipe holds 64 KiB, which is more than is said.
    int ends[2] = {-1, -1};
    if (limits.file && pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    pid_ = fork();
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      const auto redirect = [](const std::filesystem::path& to, int as) {
        dup2(open(to.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), as);
      };
      redirect(out_, STDOUT_FILENO);
      limits.file ? (void)dup2(ends[1], STDERR_FILENO) : redirect(err_, STDERR_FILENO);
      const auto limit = [](auto what, const std::optional<rlim_t>& value) {
        const rlimit both{value.value_or(0), value.value_or(0)};
        if (value && setrlimit(what, &both) != 0) _exit(126);
      };
      limit(RLIMIT_AS, limits.memory);
      limit(RLIMIT_FSIZE, limits.file);
      execv(PG_PROGRAM, argv.data());
      _exit(127);
    }
    if (pid_ < 0) throw std::runtime_error("no process");  // kill(-1) would end everything
    if (limits.file) close(ends[1]);
    pipe_ = ends[0];
  }
  pid_t pid() const { return pid_; }
  Outcome wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    std::string said = pipe_ < 0 ? slurp(err_) : "";
    char block[4096];
    for (ssize_t got; pipe_ >= 0 && (got = read(pipe_, block, sizeof block)) > 0;)
      said.append(block, static_cast<size_t>(got));
    if (pipe_ >= 0) close(pipe_);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(out_), said};
  }

 private:
  std::filesystem::path out_, err_;
  pid_t pid_ = -1;
  int pipe_ = -1;  // of what it says
};

inline Outcome run(const TempFolder& folder, std::vector<std::string> arguments, const Limits& limits = {}) {
  return Process(folder, std::move(arguments), limits).wait();
}

// Four classes of images 12 x 12 that a small net can tell apart: a bright quarter each, on noise. As plain
// idx.
inline void write_toy_data(const std::filesystem::path& folder, uint32_t train = 256, uint32_t test = 64) {
  uint32_t state = 12345;
  const auto next = [&state] { return state = state * 1664525u + 1013904223u, state >> 24; };
  for (const auto& [prefix, n] :
       {std::pair{std::string("train"), train}, std::pair{std::string("t10k"), test}}) {
    std::string pixels, labels;
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t label = i % 4;
      labels += static_cast<char>(label);
      for (uint32_t y = 0; y < 12; ++y)
        for (uint32_t x = 0; x < 12; ++x) {
          const bool bright = (y >= 6) * 2u + (x >= 6) == label;
          pixels += static_cast<char>(bright ? 160 + next() % 96 : next() % 128);
        }
    }
    spill(folder / (prefix + "-images-idx3-ubyte"), idx_images(n, 12, 12, pixels));
    spill(folder / (prefix + "-labels-idx1-ubyte"), idx_labels(labels));
  }
}

// A config for the toy data: DP-Mix on a small net; `more` is appended to its tables by --set in the tests.
inline std::filesystem::path write_toy_config(const TempFolder& folder, int steps = 12) {
  write_toy_data(folder / "toy");
  std::filesystem::path path = folder / "toy.toml";
  spill(path,
        "[data]\nformat = \"idx\"\npath = \"" + (folder / "toy").string() +
            "\"\nmean = [0.4]\nstd = [0.3]\nlabel_count = 4\n"
            "[model]\nname = \"sequential\"\nweight_standardization = true\n"
            "layers = [\"conv 16 k3 p1\", \"group_norm 4\", \"relu\", \"average_pool 3\", \"classifier\"]\n"
            "[augment]\nbase = 2\nmix = 2\ncrop_padding = 1\n"
            "[privacy]\nepsilon = 8.0\ndelta = 1e-3\n"
            "[train]\nexpected_batch_size = 24\nsteps = " +
            std::to_string(steps) +
            "\nlearning_rate = 1.0\nmomentum = 0.5\ncheckpoint_every = 3\nseed = 7\n"
            "[noise]\nsource = \"reproducible\"\n[speed]\nthreads = 1\n[log]\nevery = 1\n");
  return path;
}

}  // namespace pergrad::test
