// accountant.cpp: intervals from the two bounds.
#include "dp/accounting/accountant.h"

#include "dp/accounting/lower_bound.h"
#include "dp/accounting/rdp.h"

namespace pergrad::accounting {

Interval epsilon_interval(const Phases& phases, double delta) {
  const RdpBound rdp = rdp_epsilon(phases, delta);
  return {epsilon_lower_bound(phases, delta), rdp.value, rdp.value, rdp.order, "rdp"};
}

Interval delta_interval(const Phases& phases, double epsilon) {
  const RdpBound rdp = rdp_delta(phases, epsilon);
  return {delta_lower_bound(phases, epsilon), rdp.value, rdp.value, rdp.order, "rdp"};
}

}  // namespace pergrad::accounting
