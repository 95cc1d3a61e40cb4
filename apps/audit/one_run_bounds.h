// What m coin-flipped canaries in one training run prove: epsilon from the number of right guesses.
#pragma once

#include "dp/accounting/phase.h"

#include <cstdint>
#include <vector>

namespace pergrad::audit {

// So many guesses out of m canaries, so many of them right.
struct Guesses {
  int64_t canaries = 0, made = 0, right = 0;
};

// Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846): the largest epsilon whose (epsilon,
// delta) is refuted at this level, 0 if none is. With B ~ Bin(made, e^epsilon / (1 + e^epsilon)), refuted is
// what has P[B >= right] + 2 m delta max over 1 <= i <= right of P[right - i <= B < right] / i  <=  level.
double one_run_epsilon(const Guesses& guesses, double delta, double level);

// The trade-off of a mechanism, from upper bounds of its delta at some epsilons: sound, and both ways round.
class Profile {
 public:
  explicit Profile(const accounting::Phases& phases);
  // The largest x such that every event of chance <= x in one world has a chance <= y in the other.
  double before_blow_up(double y) const;

 private:
  struct Point {
    double epsilon, delta;
  };
  std::vector<Point> points_;
};

// Mahloujifar, Melis and Chaudhuri 2024 (arXiv 2410.22235): the profile is refuted at this
// level.
bool one_run_refutes(const Guesses& guesses, const Profile& profile, double level);

}  // namespace pergrad::audit
