// accountant.h: the question a run asks: how private is it?
//
// Guarantee: the exact epsilon (delta) of the Poisson-subsampled Gaussian under add/remove adjacency lies in
// [lower, upper]. See phase.h for the mechanism and the units.
// Both throw std::invalid_argument (one line) for arguments that make no sense.
#pragma once

#include <string_view>

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

struct Range {
  double lower = 0.0, upper = 0.0;  // both certified; 0 and infinity at worst
};
struct Interval : Range {               // the larger of the two directions:
  Range remove = {}, add = {};          // an example leaves, an example joins
  std::string_view accountant = "pld";  // what made `upper`: "pld", or "rdp" where no contour did better
};

// All phases together. No phase, or only phases of 0 steps: [0, 0].
// precision: the relative width that is aimed at; usually met for epsilon in [0.01, 100] and delta >= 1e-12.
Interval epsilon_interval(const Phases& phases, double delta, double precision = 1e-4);
Interval delta_interval(const Phases& phases, double epsilon, double precision = 1e-4);

}  // namespace pergrad::accounting
