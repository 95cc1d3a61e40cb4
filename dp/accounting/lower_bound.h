// lower_bound.h: what delta(epsilon) is not below, from the same contour as the upper bound.
#pragma once

#include "dp/accounting/contour.h"

namespace pergrad::accounting {

// Guarantee: delta(epsilon) >= what is returned; 0 at worst. beyond: any c' > c.
class DeltaLowerBound {
 public:
  DeltaLowerBound(const Contour& contour, const Phases& phases, Direction direction, double beyond);
  double operator()(double epsilon) const;

 private:
  const Contour& contour_;
  double beyond_;
  double from_below_, from_above_;  // what comes around the period at epsilon = 0; from_above_ as a logarithm
};

}  // namespace pergrad::accounting
