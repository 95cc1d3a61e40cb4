// search.h: where a decreasing function crosses a level.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace pergrad::accounting {

// Where a function that is > 0 at one end of [low, high] and not at the other changes: false position, with
// the weight of an end halved when it is kept twice (Illinois).
struct Bracket {
  double low, high, at_low, at_high;
  int kept = 0;  // +1: the upper end was kept in the last round, -1: the lower

  double crossing() const { return at_low / (at_low - at_high); }  // as a part of the way from low to high
  void take(double x, double at) {
    if ((at > 0.0) == (at_low > 0.0)) {
      low = x;
      at_low = at;
      if (kept > 0) at_high *= 0.5;
      kept = 1;
    } else {
      high = x;
      at_high = at;
      if (kept < 0) at_low *= 0.5;
      kept = -1;
    }
  }
};

struct Crossing {
  double above;  // f(above) > level; 0 if f(0) <= level
  double below;  // f(below) <= level; infinity if none was found
};

// Looks in [0, infinity) from guess > 0 on, in growing steps, until the two are within `tolerance`. f should
// be about exponential: false position on log f.
template <class F>
Crossing search(const F& f, double level, double guess, double first_step, double tolerance) {
  const auto height = [&](double x) {
    const double y = f(x);
    return y > 0.0 ? std::clamp(std::log(y / level), -50.0, 50.0) : -50.0;  // NaN counts as below
  };
  double low = guess, high = guess, at_low = height(guess), at_high = at_low;
  for (double step = first_step; at_low <= 0.0; step *= 3.0) {
    if (low == 0.0) return {0.0, 0.0};
    high = low;
    at_high = at_low;
    low = std::max(0.0, low - step);
    at_low = height(low);
  }
  for (double step = first_step; at_high > 0.0; step *= 3.0) {
    if (!(high < 1e300)) return {low, std::numeric_limits<double>::infinity()};
    low = high;
    at_low = at_high;
    high += step;
    at_high = height(high);
  }
  Bracket bracket = {low, high, at_low, at_high};
  for (int round = 0; round < 200 && bracket.high - bracket.low > tolerance; ++round) {
    const double crossing = bracket.low + (bracket.high - bracket.low) * bracket.crossing();
    const double middle = std::clamp(crossing, bracket.low + 0.3 * tolerance, bracket.high - 0.3 * tolerance);
    bracket.take(middle, height(middle));
  }
  return {bracket.low, bracket.high};
}

}  // namespace pergrad::accounting
