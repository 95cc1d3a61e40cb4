// phase.h: what is accounted for: a run is a list of phases, a phase is many equal steps.
//
// One step: every example joins with probability sampling_rate, independently (Poisson sampling); rows of
// L2 norm <= clip_norm are summed; Gaussian noise of standard deviation noise_multiplier * clip_norm is
// added. Adjacency: add or remove one example. Shuffled or sequential batches are NOT this mechanism.
//
// Units: noise_multiplier is sigma / clip_norm; sampling_rate, delta are probabilities; epsilon is in nats.
#pragma once

#include <cstdint>
#include <vector>

namespace pergrad::accounting {

struct Phase {
  double noise_multiplier = 0.0;
  double sampling_rate = 0.0;
  std::int64_t steps = 0;  // releases, not micro-batches; an empty sample is a release too
  bool operator==(const Phase&) const = default;
};
using Phases = std::vector<Phase>;  // in any order: the guarantee of a list does not depend on it

// Each throws std::invalid_argument, one line, if the value cannot be accounted for. NaN is always refused.
//   check_phases: noise_multiplier positive and finite, sampling_rate in (0, 1], steps >= 0.
//   check_delta: in (0, 1).   check_epsilon: finite, >= 0.
void check_phases(const Phases& phases);
void check_delta(double delta);
void check_epsilon(double epsilon);

}  // namespace pergrad::accounting
