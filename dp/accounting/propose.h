// propose.h: where to look. Nothing here is trusted: accountant.cpp checks what it takes from here.
#pragma once

#include <memory>
#include <utility>

#include "dp/accounting/contour.h"

namespace pergrad::accounting {

struct Proposal {
  double chernoff, c, cut;  // a bound (epsilon, or delta) that Chernoff's may give at c and cut
  double value;             // one that a contour may give
  std::shared_ptr<const Contour> contour = {};  // which
  double lower = 0.0;                           // a lower bound that lower_bound.h may give ...
  std::shared_ptr<const Contour> under = {};    // ... with this contour
  double beyond = 0.0;                          // ... and this c'

  void raise(double bound, std::shared_ptr<const Contour> by, double further) {
    lower = bound;
    under = std::move(by);
    beyond = further;
  }
};

// The relative width that is aimed at is `precision`; absolute below epsilon = 0.005.
Proposal propose_epsilon(const Phases& phases, Direction direction, double delta, double precision);
Proposal propose_delta(const Phases& phases, Direction direction, double epsilon, double precision);

}  // namespace pergrad::accounting
