// calibrate.h: what does a budget allow? Judged by the upper bound of the accountant alone.
//
// The guarantee does not rest on this: whoever takes an answer from here asks the accountant what it costs.
// All throw std::invalid_argument (one line) for arguments that make no sense and for targets out of reach.
#pragma once

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

// noise_multiplier_for: the smallest that keeps upper <= target_epsilon, to within 0.01 %, and never one that
//   misses it. Looks in [1e-6, 1e9].   REQUIRES: steps >= 1.
double noise_multiplier_for(double target_epsilon, double delta, double sampling_rate, std::int64_t steps);

// steps_for: the largest number of steps that keeps upper <= target_epsilon; at most 1e15.
//   THROWS also when one step alone is too many.
std::int64_t steps_for(double target_epsilon, double delta, double sampling_rate, double noise_multiplier);

// sampling_rate_for: the largest that keeps upper <= target_epsilon, to within 0.01 %; at most 1. Times the
// number
//   of examples it is the expected batch size that a budget allows.   THROWS also when 1e-12 is too much.
double sampling_rate_for(double target_epsilon, double delta, double noise_multiplier, std::int64_t steps);

}  // namespace pergrad::accounting
