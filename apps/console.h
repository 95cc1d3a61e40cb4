// Console: results to standard output, progress and messages to standard error.
//
// On a terminal progress is one line that is written over; elsewhere a plain line now and then.
#pragma once

#include "apps/progress.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace pergrad::apps {

class Console {
 public:
  explicit Console(bool quiet = false);  // quiet: says nothing
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // A line of its own on standard error.
  void message(const std::string& line);
  void warning(const std::string& line) { message("warning: " + line); }
  // The state of something long; shown at most five times a second on a terminal, else once in 15 seconds.
  // Cheap to call often: `due()` says whether the next call would be shown.
  bool due() const;
  void progress(const std::string& line);
  // Takes the progress line away.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool quiet_;
  bool terminal_;
  bool line_open_ = false;
  Clock::time_point next_;
};

// Shows "what: done of total" on a console, which must live longer.
Progress progress_on(Console& console);

// "1 h 02 min", "4 min 07 s", "12.3 s".
std::string duration_text(double seconds);
// "1,234,567".
std::string thousands(int64_t n);
// "1.5 GiB".
std::string bytes_text(double bytes);
// The largest resident size of this process so far.
int64_t peak_memory_bytes();

}  // namespace pergrad::apps
