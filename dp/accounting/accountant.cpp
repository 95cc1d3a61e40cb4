// accountant.cpp: upper bounds that propose.h proposes are checked here, against contour.h.
#include "dp/accounting/accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dp/accounting/propose.h"
#include "dp/accounting/rdp.h"

namespace pergrad::accounting {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Bounds {  // certified, for one direction
  double lower;
  double loose, tight;  // from above: by Chernoff's bound, by a contour; infinite if there is none
};

// bounds_of(direction), and renyi(): an upper bound for both, for where the others give nothing.
template <class BoundsOf, class Renyi>
Interval both_directions(const Phases& phases, const BoundsOf& bounds_of, const Renyi& renyi) {
  check_phases(phases);
  Interval answer;
  if (std::all_of(phases.begin(), phases.end(), [](const Phase& phase) { return phase.steps == 0; }))
    return answer;
  for (const Direction direction : {Direction::remove, Direction::add}) {
    const Bounds bounds = bounds_of(direction);
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
  const auto bounds_of = [&](Direction direction) {
    const Proposal p = propose_epsilon(phases, direction, delta, precision);
    const double log_delta = chernoff_log_delta(phases, direction, p.c, p.cut, p.chernoff);
    const bool loose = log_delta < std::log(delta) - 1e-15 * std::abs(std::log(delta));
    const bool tight = p.contour && p.contour->is_of(phases, direction) && p.contour->upper(p.value) <= delta;
    return Bounds{p.lower, loose ? p.chernoff : kInfinity, tight ? p.value : kInfinity};
  };
  return both_directions(phases, bounds_of, [&] { return rdp_epsilon(phases, delta).value; });
}

Interval delta_interval(const Phases& phases, double epsilon, double precision) {
  check_epsilon(epsilon);
  const auto bounds_of = [&](Direction direction) {
    const Proposal p = propose_delta(phases, direction, epsilon, precision);
    const double log_delta = chernoff_log_delta(phases, direction, p.c, p.cut, epsilon);
    const double loose = std::exp(log_delta) * (1.0 + 1e-12) + std::numeric_limits<double>::min();
    const bool known = p.contour && p.contour->is_of(phases, direction);
    const double tight = known ? p.contour->upper(epsilon) : kInfinity;
    return Bounds{p.lower, loose <= 1.0 ? loose : kInfinity, tight};
  };
  return both_directions(phases, bounds_of, [&] { return rdp_delta(phases, epsilon).value; });
}

}  // namespace pergrad::accounting
