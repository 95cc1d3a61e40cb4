// best_order: where a Renyi bound is lowest. Every order gives a valid bound: a bad one costs tightness only.
#pragma once

#include "dp/accounting/golden_section.h"

#include <cmath>

namespace pergrad::accounting {

// (a - 1) rdp(a) is convex in a (a log-moment), and so is (a - 1) log(a - 1) - a log a: the bound on log
// delta is convex and that on epsilon, convex over positive linear, has one valley. Walk up in log(a - 1) to
// where it rises, then close in on it.
template <class F>
double best_order(const F& bound) {
  constexpr double kLowest = -14.0, kHighest = 21.0, kStep = 0.5;  // log(order - 1): orders 1 + 8e-7 to 1.3e9
  const auto at = [&](double t) { return bound(1.0 + std::exp(t)); };
  double here = kLowest, value = at(here);
  while (here < kHighest) {
    const double next = at(here + kStep);
    if (next > value) break;
    here += kStep;
    value = next;
  }
  const double refined = golden_section(at, here - kStep, here + kStep, 30);
  return 1.0 + std::exp(at(refined) < value ? refined : here);
}

}  // namespace pergrad::accounting
