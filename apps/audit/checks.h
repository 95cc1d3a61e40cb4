// Checks: what one rung of the audit looked at, and what it found.
//
// An exact fact holds or does not. A statistical test fails where its result would be rarer than kLevel if
// all were well; the levels add up to the chance that an audit of a sound program raises an alarm.
#pragma once

#include "core/error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::audit {

constexpr double kLevel = 1e-9;  // of one statistical test

class Checks {
 public:
  // An exact fact. `what`: pieces of a sentence that says what is wrong; put together only if it is.
  template <class... Parts>
  void require(bool holds, const Parts&... what) {
    ++count_;
    if (!holds) fail(concat(what...));
  }
  // A statistical test. p: the chance of a result at least as far out, were all well (two-sided). `tries`: of
  // so many like it the worst is given.   A p that is NaN fails.
  template <class... Parts>
  void likely(double p, int64_t tries, const Parts&... what) {
    count_ += tries;
    false_alarm_ += kLevel;
    if (!(p * static_cast<double>(tries) >= kLevel)) fail(concat(what..., " (p = ", p, ")"));
  }
  // So many exact facts that were looked at elsewhere and hold.
  void counted(int64_t facts) { count_ += facts; }
  // A sentence for the report: what was measured, with its number.
  void found(std::string sentence) { found_.push_back(std::move(sentence)); }
  void fail(std::string what) {
    ++failed_;
    if (failures_.size() < 10) failures_.push_back(std::move(what));
  }

  bool passed() const { return failed_ == 0; }
  int64_t count() const { return count_; }
  int64_t failed() const { return failed_; }
  double false_alarm() const { return false_alarm_; }                     // at most
  const std::vector<std::string>& failures() const { return failures_; }  // the first ten
  const std::vector<std::string>& found() const { return found_; }

 private:
  int64_t count_ = 0, failed_ = 0;
  double false_alarm_ = 0;
  std::vector<std::string> failures_, found_;
};

}  // namespace pergrad::audit
