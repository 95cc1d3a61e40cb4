// Toy data, the toy config, and the program in a process of its own.
#include "apps/audit/toy_run.h"

#include "apps/atomic_file.h"
#include "core/error.h"
#include "core/philox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

constexpr uint32_t kSide = 12, kClasses = 4;

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

void write_idx(const fs::path& folder, const std::string& prefix, uint32_t count, PhiloxStream& random) {
  std::string images = big_endian(0x803) + big_endian(count) + big_endian(kSide) + big_endian(kSide);
  std::string labels = big_endian(0x801) + big_endian(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t label = i % kClasses;
    labels += static_cast<char>(label);
    for (uint32_t y = 0; y < kSide; ++y)
      for (uint32_t x = 0; x < kSide; ++x) {
        const bool bright = (y >= kSide / 2) * 2u + (x >= kSide / 2) == label;
        images += static_cast<char>(bright ? 160 + random.below(96) : random.below(128));
      }
  }
  write_text(folder / (prefix + "-images-idx3-ubyte"), images);
  write_text(folder / (prefix + "-labels-idx1-ubyte"), labels);
}

// Whether this system call changes files: those are where a kill may tear something.
bool changes_files(const __ptrace_syscall_info& info) {
  switch (info.entry.nr) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
      return info.entry.args[0] > 2;
    case SYS_openat:
      return (info.entry.args[2] & O_CREAT) != 0;
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_ftruncate:
    case SYS_fchmod:
    case SYS_linkat:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlinkat:
#ifdef SYS_rename  // old calls that not every processor has
    case SYS_link:
    case SYS_mkdir:
    case SYS_rename:
    case SYS_unlink:
#endif
    case SYS_mkdirat:
      return true;
    default:
      return false;
  }
}

}  // namespace

void write_toy_data(const fs::path& root, const Key& random, int64_t images) {
  const fs::path folder = root / kToyData;
  fs::create_directories(folder);
  PhiloxStream numbers = PhiloxStream::of(random, 0, 0);
  write_idx(folder, "train", static_cast<uint32_t>(images), numbers);
  write_idx(folder, "t10k", 48, numbers);
}

void change_images(const fs::path& root, int64_t images) {
  const fs::path file = root / kToyData / "train-images-idx3-ubyte";
  std::string bytes = text_of_file(file);
  for (int64_t i = 0; i < images; ++i) {
    char& pixel = bytes.at(static_cast<size_t>(16 + i * kSide * kSide + 40));
    pixel = static_cast<char>(pixel ^ 0x40);
  }
  write_text(file, bytes);
}

std::string toy_config(const ToySettings& settings) {
  const bool adam = settings.optimizer == "adam";
  return fmt::format(
      R"([data]
format = "idx"
path = "{}"
mean = [0.4]
std = [0.3]
label_count = 4
examples = {}
[model]
name = "sequential"
weight_standardization = true
layers = ["conv 8 k3 p1", "group_norm 4", "relu", "average_pool 3", "classifier"]
[augment]
base = 2
mix = 1
crop_padding = 1
[privacy]
noise_multiplier = 1.2
delta = 1e-3
clip_norm = 0.8
[train]
expected_batch_size = {}
steps = {}
optimizer = "{}"
learning_rate = {}
momentum = {}
ema_decay = 0.9
checkpoint_every = {}
seed = {}
[noise]
source = "{}"
[speed]
threads = 1
[log]
every = 25
)",
      kToyData, settings.images, settings.expected_batch, settings.steps, settings.optimizer,
      adam ? "0.02" : "1.0", adam ? "0.0" : "0.5", settings.checkpoint_every, settings.seed,
      settings.noise_source);
}

std::string Outcome::text() const {
  const std::string how = late     ? "did not end"
                          : signal ? concat("died of signal ", signal)
                                   : concat("ended with status ", status);
  std::string tail = output.size() > 300 ? "..." + output.substr(output.size() - 300) : output;
  return concat(how, ": ", apps::printable(tail));
}

Child::Child(const fs::path& program, const std::vector<std::string>& arguments, fs::path log,
             std::optional<uint64_t> file_limit, bool traced)
    : log_(std::move(log)), begin_(std::chrono::steady_clock::now()) {
  // All that needs memory is done before the fork: other threads may hold the allocator's locks.
  std::vector<std::string> words = arguments;
  words.insert(words.begin(), program.native());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  PG_CHECK(pid_ >= 0, "audit: no process can be started: ", std::strerror(errno));
  if (pid_ > 0) return;
  const int out = ::open(log_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  const int in = ::open("/dev/null", O_RDONLY);
  if (file_limit) {
    const rlimit limit{*file_limit, *file_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (traced) {
    ::alarm(static_cast<unsigned>(kPatience.count()));  // its tracer sleeps until it stops
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(127);
  }
  if (out >= 0 && in >= 0 && ::dup2(in, 0) == 0 && ::dup2(out, 1) == 1 && ::dup2(out, 2) == 2)
    ::execv(argv[0], argv.data());
  ::_exit(127);
}

Child::~Child() {
  if (reaped_) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, &state_, 0) < 0 && errno == EINTR) continue;
}

void Child::signal(int number) const {
  if (!reaped_) ::kill(pid_, number);
}

bool Child::ended() {
  if (!reaped_) reaped_ = ::waitpid(pid_, &state_, WNOHANG) == pid_;
  return reaped_;
}

int64_t Child::kill_before_change(int64_t n) {
  bool entering = true;
  int64_t made = 0;
  for (bool first = true;; first = false) {
    int state = 0;
    pid_t who = 0;
    while ((who = ::waitpid(pid_, &state, 0)) < 0 && errno == EINTR) continue;
    PG_CHECK(who == pid_, "audit: a process cannot be waited for: ", std::strerror(errno));
    if (!WIFSTOPPED(state)) {
      reaped_ = true;
      state_ = state;
      return made;
    }
    if (first)  // at its start
      PG_CHECK(::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0,
               "audit: a process cannot be traced: ", std::strerror(errno));
    int pass_on = 0;
    if (WSTOPSIG(state) == (SIGTRAP | 0x80)) {
      __ptrace_syscall_info info{};
      if (entering) {
        PG_CHECK(::ptrace(PTRACE_GET_SYSCALL_INFO, pid_, sizeof info, &info) > 0,
                 "audit: system calls cannot be told: ", std::strerror(errno));
        if (changes_files(info) && made++ == n) {
          signal(SIGKILL);
          return n;
        }
      }
      entering = !entering;
    } else if (!first) {
      pass_on = WSTOPSIG(state);
    }
    ::ptrace(PTRACE_SYSCALL, pid_, nullptr, pass_on);
  }
}

Outcome Child::wait() {
  Outcome outcome;
  while (!ended()) {
    if (std::chrono::steady_clock::now() - begin_ > kPatience && !outcome.late) {
      outcome.late = true;
      signal(SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  if (WIFEXITED(state_)) outcome.status = WEXITSTATUS(state_);
  if (WIFSIGNALED(state_)) outcome.signal = WTERMSIG(state_);
  outcome.output = text_of_file(log_);
  return outcome;
}

std::string text_of_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  PG_CHECK(out.good(), "audit: ", apps::shown(path), ": cannot be written");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.push_back(text.substr(begin, end + 1 - begin));
  return lines;
}

void copy_folder(const fs::path& from, const fs::path& to) {
  fs::remove_all(to);
  fs::copy(from, to, fs::copy_options::recursive);
}

}  // namespace pergrad::audit
