// Progress of what takes a while: what is being done, how much of it is done, called seldom.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace pergrad::apps {

// Called with what is being done ("decoding cifar10 (train)"), how many are done and how many there are.
// Always from the thread that called the slow function.
using Progress = std::function<void(std::string_view what, int64_t done, int64_t total)>;

// Calls a Progress at most five times a second, and not at all in the first second, so that what is quick
// is silent. The last call (done == total) comes only if an earlier one did.
class ProgressMeter {
 public:
  ProgressMeter(const Progress& report, std::string what, int64_t total)
      : report_(report), what_(std::move(what)), total_(total) {}

  void update(int64_t done) {
    if (!report_) return;
    const auto now = Clock::now();
    const bool last = done >= total_ && shown_;
    if (!last && (now - begin_ < std::chrono::seconds(1) || now - previous_ < std::chrono::milliseconds(200)))
      return;
    previous_ = now;
    shown_ = true;
    report_(what_, done, total_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Progress& report_;
  std::string what_;
  int64_t total_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point previous_ = begin_;
  bool shown_ = false;
};

}  // namespace pergrad::apps
