// substitution.h: one example is replaced by another, and batches may be of a fixed size.
//
// Adjacency: replace one example; the number of examples is public. Per step either every example joins with
// probability sampling_rate (Poisson), or a batch of sampling_rate * N of N examples is drawn without
// replacement. Other things equal, replacing moves a sum by 2 clip_norm where leaving moves it by one.
// Guarantee: [lower, upper] holds the exact value of both kinds of batches. `upper` is by Renyi divergences:
// valid, and looser than what accountant.h gives for add/remove.
#pragma once

#include "dp/accounting/accountant.h"
#include "dp/accounting/rdp.h"

namespace pergrad::accounting {

struct SubstitutionBound : Range {
  double order;  // of the Renyi divergence; infinity when there is nothing to account for
};
SubstitutionBound substitution_epsilon(const Phases& phases, double delta);
SubstitutionBound substitution_delta(const Phases& phases, double epsilon);

// An upper bound of the Renyi divergence of one step, either way round; order > 1.
double substitution_rdp(double order, double noise_multiplier, double sampling_rate);

}  // namespace pergrad::accounting
