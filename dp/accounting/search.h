// search.h: where a decreasing function crosses a level.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace pergrad::accounting {

struct Crossing {
  double above;  // f(above) > level; 0 if f(0) <= level
  double below;  // f(below) <= level; infinity if none was found
};

// Looks in [0, infinity) from guess > 0 on, in growing steps, until the two are within `tolerance`. f should
// be about exponential: false position on log f, with the weight of an end halved when it is kept twice
// (Illinois).
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
  int kept = 0;  // +1: the upper end was kept in the last round, -1: the lower
  for (int round = 0; round < 200 && high - low > tolerance; ++round) {
    const double crossing = low + (high - low) * at_low / (at_low - at_high);
    const double middle = std::clamp(crossing, low + 0.3 * tolerance, high - 0.3 * tolerance);
    const double here = height(middle);
    if (here > 0.0) {
      low = middle;
      at_low = here;
      if (kept > 0) at_high *= 0.5;
      kept = 1;
    } else {
      high = middle;
      at_high = here;
      if (kept < 0) at_low *= 0.5;
      kept = -1;
    }
  }
  return {low, high};
}

}  // namespace pergrad::accounting
