// lower_bound.h: what no accountant may go below: the best of two simple attacks on the dominating pair.
//
// Any event E gives epsilon >= log((P(E) - delta) / Q(E)) and delta >= P(E) - e^epsilon Q(E). Two families:
//   sum      the observer adds the T outcomes up: N(0, 1) against a binomial mixture of shifted N(0, 1)
//   maximum  the observer looks at the largest of the T outcomes
// Guarantee: rounded so that the exact value of the whole run is never below what is returned (0 at worst).
// A run of several phases is at least as exposed as each phase alone: the largest is taken.
#pragma once

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

double epsilon_lower_bound(const Phases& phases, double delta);
double delta_lower_bound(const Phases& phases, double epsilon);

}  // namespace pergrad::accounting
