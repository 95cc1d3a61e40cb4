// accountant.cpp: bounds that propose.h proposes are checked here, against contour.h and lower_bound.h.
#include "dp/accounting/accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "dp/accounting/lower_bound.h"
#include "dp/accounting/propose.h"
#include "dp/accounting/rdp.h"

namespace pergrad::accounting {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_precision(double precision) {
  if (precision > 0.0 && precision <= 1.0) return;
  throw std::invalid_argument("accounting: precision: got " + std::to_string(precision) + ", wanted (0, 1]");
}

struct Bounds {  // certified, for one direction
  double lower;
  double loose, tight;  // from above: by Chernoff's bound, by a contour; infinite if there is none
};

// bounds_of(phases, direction), and renyi(): an upper bound for both, for where the others give nothing.
template <class BoundsOf, class Renyi>
Interval both_directions(const Phases& phases, const BoundsOf& bounds_of, const Renyi& renyi) {
  check_phases(phases);
  Interval answer;
  Phases released;
  for (const Phase& phase : phases) {
    if (phase.steps > 0) released.push_back(phase);
  }
  if (released.empty()) return answer;
  for (const Direction direction : {Direction::remove, Direction::add}) {
    const Bounds bounds = bounds_of(released, direction);
    Range found = {bounds.lower, std::min(bounds.loose, bounds.tight)};
    if (!(found.upper < kInfinity)) found.upper = renyi();
    (direction == Direction::remove ? answer.remove : answer.add) = found;
    answer.lower = std::max(answer.lower, found.lower);
    if (found.upper >= answer.upper) answer.accountant = found.upper == bounds.tight ? "pld" : "rdp";
    answer.upper = std::max(answer.upper, found.upper);
  }
  return answer;
}

}  // namespace

Interval epsilon_interval(const Phases& phases, double delta, double precision) {
  check_delta(delta);
  check_precision(precision);
  const auto bounds_of = [&](const Phases& released, Direction direction) {
    const Proposal p = propose_epsilon(released, direction, delta, precision);
    const double log_delta = chernoff_log_delta(released, direction, p.c, p.cut, p.chernoff);
    const bool loose = log_delta < std::log(delta) - 1e-15 * std::abs(std::log(delta));
    const bool tight =
        p.contour && p.contour->is_of(released, direction) && p.contour->upper(p.value) <= delta;
    const bool under = p.under && p.under->is_of(released, direction) &&
                       DeltaLowerBound(*p.under, released, direction, p.beyond)(p.lower) > delta;
    return Bounds{under ? p.lower : 0.0, loose ? p.chernoff : kInfinity, tight ? p.value : kInfinity};
  };
  return both_directions(phases, bounds_of, [&] { return rdp_epsilon(phases, delta).value; });
}

Interval delta_interval(const Phases& phases, double epsilon, double precision) {
  check_epsilon(epsilon);
  check_precision(precision);
  const auto bounds_of = [&](const Phases& released, Direction direction) {
    const Proposal p = propose_delta(released, direction, epsilon, precision);
    const double log_delta = chernoff_log_delta(released, direction, p.c, p.cut, epsilon);
    const double loose = std::exp(log_delta) * (1.0 + 1e-12) + std::numeric_limits<double>::min();
    const bool above = p.contour && p.contour->is_of(released, direction);
    const bool under = p.under && p.under->is_of(released, direction);
    const double lower = under ? DeltaLowerBound(*p.under, released, direction, p.beyond)(epsilon) : 0.0;
    const double tight = above ? p.contour->upper(epsilon) : kInfinity;
    return Bounds{lower, loose <= 1.0 ? loose : kInfinity, tight};
  };
  return both_directions(phases, bounds_of, [&] { return rdp_delta(phases, epsilon).value; });
}

}  // namespace pergrad::accounting
