// accountant.h: the question a run asks: how private is it?
//
// Guarantee: the exact epsilon (delta) of the Poisson-subsampled Gaussian under add/remove adjacency lies in
// [lower, upper]. See phase.h for the mechanism and the units.
// Both throw std::invalid_argument (one line) for arguments that make no sense.
#pragma once

#include <string_view>

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

struct Interval {
  double lower;                 // certified; 0 at worst
  double upper;                 // certified; may be infinity
  double rdp;                   // the bound by Renyi divergences alone, kept as a second opinion
  double rdp_order;             // and its order
  std::string_view accountant;  // which accountant made `upper`: "rdp"
};

// All phases together. No phase, or only phases of 0 steps: [0, 0].
Interval epsilon_interval(const Phases& phases, double delta);
Interval delta_interval(const Phases& phases, double epsilon);

}  // namespace pergrad::accounting
