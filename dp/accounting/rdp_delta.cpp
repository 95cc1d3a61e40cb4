// rdp_delta: the same conversion solved for delta.
#include "dp/accounting/best_order.h"
#include "dp/accounting/rdp.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pergrad::accounting {
namespace {

constexpr double kUlp = std::numeric_limits<double>::epsilon();
constexpr double kTiny = std::numeric_limits<double>::min();  // what a positive bound never falls below

// log delta = (a - 1) (rdp - epsilon + log((a - 1) / a)) - log a, rounded up.
double log_delta_at(double order, double rdp, double epsilon) {
  const double gain = log_shrink(order), refund = std::log(order);
  const double size = (order - 1.0) * (rdp + epsilon - gain) + refund;
  return (order - 1.0) * (rdp - epsilon + gain) - refund + 8.0 * kUlp * size;
}

}  // namespace

RdpBound convert_to_delta(const std::function<double(double)>& rdp, double epsilon) {
  check_epsilon(epsilon);
  const auto bound = [&](double order) { return log_delta_at(order, rdp(order), epsilon); };
  const double order = best_order(bound);
  return {std::clamp(std::exp(bound(order)) * (1.0 + 4.0 * kUlp), kTiny, 1.0), order};
}

RdpBound rdp_delta(const Phases& phases, double epsilon) {
  check_phases(phases);
  check_epsilon(epsilon);
  if (total_rdp(phases, 2.0) == 0.0) return {0.0, std::numeric_limits<double>::infinity()};  // no step
  return convert_to_delta([&](double order) { return total_rdp(phases, order); }, epsilon);
}

}  // namespace pergrad::accounting
