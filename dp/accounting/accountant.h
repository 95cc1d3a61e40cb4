// accountant.h: the questions a run asks: how private is it, and what does a budget allow.
//
// Guarantee: the exact epsilon (delta) of the Poisson-subsampled Gaussian under add/remove adjacency lies in
// [lower, upper]; budgets are judged by `upper` alone. See phase.h for the mechanism and the units.
// All throw std::invalid_argument (one line) for arguments that make no sense and for targets out of reach.
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

// noise_multiplier_for: the smallest that keeps upper <= target_epsilon, to within 0.1 % (0.001 % in fact),
// and
//   never one that misses it. Looks in [1e-6, 1e9].   REQUIRES: steps >= 1.
double noise_multiplier_for(double target_epsilon, double delta, double sampling_rate, std::int64_t steps);

// steps_for: the largest number of steps that keeps upper <= target_epsilon; at most 1e15.
//   THROWS also when one step alone is too many.
std::int64_t steps_for(double target_epsilon, double delta, double sampling_rate, double noise_multiplier);

}  // namespace pergrad::accounting
