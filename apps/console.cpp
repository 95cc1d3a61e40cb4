// Console and the texts of quantities.
#include "apps/console.h"

#include <fmt/format.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace pergrad::apps {

Console::Console(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

Console::~Console() { clear(); }

void Console::message(const std::string& line) {
  if (quiet_) return;
  clear();
  std::fprintf(stderr, "%s\n", line.c_str());
  std::fflush(stderr);
}

bool Console::due() const { return !quiet_ && Clock::now() >= next_; }

void Console::progress(const std::string& line) {
  if (!due()) return;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    line_open_ = true;
    next_ = Clock::now() + std::chrono::milliseconds(200);
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
    next_ = Clock::now() + std::chrono::seconds(15);
  }
  std::fflush(stderr);
}

void Console::clear() {
  if (line_open_) std::fputs("\r\033[K", stderr);
  line_open_ = false;
}

Progress progress_on(Console& console) {
  return [&console](std::string_view what, int64_t done, int64_t total) {
    console.progress(fmt::format("{}: {} of {}", what, thousands(done), thousands(total)));
  };
}

std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string thousands(int64_t n) {
  std::string digits = std::to_string(n);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > (n < 0 ? 1 : 0); i -= 3)
    digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

std::string bytes_text(double bytes) {
  if (bytes < 1024.0 * 1024) return fmt::format("{:.0f} KiB", bytes / 1024);
  if (bytes < 1024.0 * 1024 * 1024) return fmt::format("{:.0f} MiB", bytes / (1024.0 * 1024));
  return fmt::format("{:.2f} GiB", bytes / (1024.0 * 1024 * 1024));
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

}  // namespace pergrad::apps
