// golden_section.h: where a one-humped function of one variable is least.
#pragma once

namespace pergrad::accounting {

// golden_section(f, low, high, rounds): the best point seen; the bracket shrinks by 0.618 a round.
//   If f has several valleys the point is some local minimum: callers must not need more than "a good point".
template <class F>
double golden_section(const F& f, double low, double high, int rounds) {
  constexpr double kRatio = 0.6180339887498949;  // (sqrt(5) - 1) / 2
  double a = high - kRatio * (high - low), b = low + kRatio * (high - low);
  double fa = f(a), fb = f(b);
  for (int round = 0; round < rounds; ++round) {
    if (fa <= fb) {
      high = b;
      b = a;
      fb = fa;
      a = high - kRatio * (high - low);
      fa = f(a);
    } else {
      low = a;
      a = b;
      fa = fb;
      b = low + kRatio * (high - low);
      fb = f(b);
    }
  }
  return fa <= fb ? a : b;
}

}  // namespace pergrad::accounting
