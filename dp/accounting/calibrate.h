// calibrate.h: what does a budget allow? Judged by the upper bound of the accountant alone.
//
// The guarantee does not rest on this: whoever takes an answer from here asks the accountant what it costs.
// All throw std::invalid_argument (one line) for arguments that make no sense and for targets out of reach.
#pragma once

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

// noise_multiplier_for: the smallest that keeps upper <= target_epsilon, to within 0.1 % (0.001 % in fact),
// and
//   never one that misses it. Looks in [1e-6, 1e9].   REQUIRES: steps >= 1.
double noise_multiplier_for(double target_epsilon, double delta, double sampling_rate, std::int64_t steps);

// steps_for: the largest number of steps that keeps upper <= target_epsilon; at most 1e15.
//   THROWS also when one step alone is too many.
std::int64_t steps_for(double target_epsilon, double delta, double sampling_rate, double noise_multiplier);

}  // namespace pergrad::accounting
