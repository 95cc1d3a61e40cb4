// propose.cpp: searches on convex functions, and sizes of contours from the errors that they leave.
#include "dp/accounting/propose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "dp/accounting/golden_section.h"
#include "dp/accounting/lower_bound.h"
#include "dp/accounting/search.h"

namespace pergrad::accounting {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kPi = std::numbers::pi;
constexpr double kLowest = 1e-9, kHighest = 1e9;             // of c
constexpr double kMaxPoints = 250'000.0, kMaxNodes = 1.8e6;  // on the line, and of one phase's outcomes
constexpr double kSmall = 0.005;  // epsilons below are found to within what is good enough for this one
constexpr double kAside = 1e-8;   // of delta
constexpr double kExact = 1e-10;  // without sampling a contour of a few points is exact
constexpr int kPasses = 6;

struct Least {
  double value, c;
};

// The c near which `bound`, which has one valley over log c, is least; `near` is a first guess.
template <class F>
Least least(const F& bound, double near) {
  double here = near, value = bound(here);
  for (const double factor : {4.0, 0.25}) {
    for (double next = here * factor; next > kLowest && next < kHighest; next *= factor) {
      const double there = bound(next);
      if (!(there < value)) break;
      here = next;
      value = there;
    }
  }
  const auto at = [&](double log_c) { return bound(std::exp(log_c)); };
  const double middle = std::log(here), width = std::log(4.0);
  const double c = std::exp(golden_section(at, middle - width, middle + width, 7));
  const double refined = bound(c);
  return refined < value ? Least{refined, c} : Least{value, here};
}

// How far out rare outcomes may be set aside for answers near delta.
double choose_cut(const Phases& phases, Direction direction, double log_delta) {
  if (direction == Direction::add) return kInfinity;  // rare outcomes have small losses
  for (double cut = 3.0; cut < 37.0; cut += 0.25) {
    double aside = 0.0;
    for (const Phase& phase : phases) aside += static_cast<double>(phase.steps) * set_aside(phase, cut);
    if (aside < kAside * std::exp(log_delta)) return cut;
  }
  return kInfinity;
}

struct Choice {
  Line line;
  double beyond;   // c' > c, for lower_bound.h
  bool exhausted;  // a line for a tighter answer would cost too much
};

// A line for answers near (epsilon, delta), where the upper bound of delta exceeds it by about `excess` of
// it. Smoothing raises delta by about smoothing^2 c (1 + c) / 2 of itself, and lowers the lower bound as
// much. What comes around the period, and what is cut off, may be a twentieth of that.
Choice choose_line(const Phases& phases, Direction direction, double epsilon, double log_delta, double excess,
                   double near) {
  const double cut = choose_cut(phases, direction, log_delta);
  const auto log_bound = [&](double c) { return chernoff_log_delta(phases, direction, c, cut, epsilon); };
  // Of M(c) e^(-c epsilon) / (c (1 + c)), the integrand at c.
  const double c =
      least([&](double at) { return log_bound(at) + at * std::log1p(1.0 / at) - std::log(at); }, near).c;
  const double lowest = log_bound(c),
               log_slack = std::log(std::clamp(0.05 * excess, 1e-13, 0.05)) + log_delta;
  double natural = 0.0, furthest = kInfinity;  // frequency that can be resolved
  const double max_nodes = epsilon < kSmall ? kMaxNodes / 4.0 : kMaxNodes;
  for (const auto& [sigma, q, steps] : phases) {
    if (q == 1.0) natural += static_cast<double>(steps) / (sigma * sigma);
    const double share = std::min(1.0, q * std::exp(-11.0 / sigma) / (1.0 - q));
    const double outcomes =
        direction == Direction::add ? c * share : std::min(c, 1.1 * cut * sigma + c / 26.0);
    if (q < 1.0)
      furthest = std::min(furthest, max_nodes * 2.0 * kPi * sigma * sigma / (outcomes + 1.0 + 22.0 * sigma));
  }
  const double wanted = std::max(2.0 * excess / (c * (1.0 + c)), natural);       // variance
  Choice best = {{c, cut, std::sqrt(wanted - natural), 1.0, 2}, 2.0 * c, true};  // sound, and worth nothing
  double least_cost = kInfinity;
  for (const double share : {1.0, 0.92, 0.84, 0.75, 0.6, 0.4}) {
    const double nearer = c * share, height = log_bound(nearer);
    const double from_below = -log_slack / nearer;
    double period = kInfinity, beyond = 2.0 * nearer;
    for (const double step : {1.0, 0.4, 0.16, 0.064, 0.025, 0.01, 2.5, 6.0}) {
      const double further = nearer * (1.0 + step);
      const double from_above = (log_bound(further) - log_slack) / (further - nearer);
      if (from_above < period) beyond = further;
      period = std::min(period, from_above);
      if (period <= from_below) break;
    }
    period = std::max(period, from_below);
    const double exponent = 2.0 * std::max(height - log_slack + 4.0, 4.0),
                 reach = std::sqrt(exponent / wanted);
    const double loss = height - lowest, cost = period * reach * (1.0 + 0.2 * loss * loss);  // rounding
    if (!(cost < 0.8 * least_cost)) continue;  // also where something is out of reach
    least_cost = cost;
    const double spacing = 2.0 * kPi / period, end = std::min({reach, furthest, kMaxPoints * spacing});
    const double smoothing = std::sqrt(std::max(0.0, exponent / (end * end) - natural));
    best = {{nearer, cut, smoothing, spacing, static_cast<int>(std::ceil(end / spacing)) + 2},
            beyond,
            end < reach};
    if (period == from_below) break;  // a smaller c makes it longer
  }
  return best;
}

bool without_sampling(const Phases& phases) {
  return std::all_of(phases.begin(), phases.end(),
                     [](const Phase& phase) { return phase.sampling_rate == 1.0; });
}

// About log(delta / Chernoff's bound) at the c that makes the bound least: delta is M(c) e^(-c epsilon) / (c
// (1 + c) sqrt(2 pi V)), V the second derivative of log M (Lugannani and Rice's leading term).
double saddle_point(const Phases& phases, Direction direction, double c, double cut, double epsilon) {
  const auto log_moment = [&](double at) {
    return chernoff_log_delta(phases, direction, at, cut, epsilon) + at * std::log1p(1.0 / at) +
           std::log1p(at);
  };
  const double h = 0.1 * c, bend = log_moment(c + h) + log_moment(c - h) - 2.0 * log_moment(c);
  const double correction =
      c * std::log1p(1.0 / c) - std::log(c) - 0.5 * std::log(2.0 * kPi * bend / (h * h));
  return std::isfinite(correction) ? std::min(correction, 0.0) : 0.0;
}

// By how much the next contour should be tighter, when this one was chosen well.
double tighter(double lower, double upper, double precision) {
  return std::clamp(0.7 * precision * upper / (upper - lower), 0.1, 1.0);
}

}  // namespace

Proposal propose_epsilon(const Phases& phases, Direction direction, double delta, double precision) {
  const double log_delta = std::log(delta);
  const double cut = choose_cut(phases, direction, log_delta);
  const double log_left = log_delta - 2.0 * kAside;  // the rest is set aside
  const Least found = least(
      [&](double c) { return (chernoff_log_delta(phases, direction, c, cut, 0.0) - log_left) / c; }, 8.0);
  if (without_sampling(phases)) precision = std::min(precision, kExact);
  Proposal best = {std::max(0.0, found.value) * (1.0 + 1e-12), found.c, cut, kInfinity};
  best.value = best.chernoff;
  double share = 0.42 * precision, order = found.c;
  double guess = best.value + saddle_point(phases, direction, order, cut, best.value) / order;
  if (!(guess > 0.1 * best.value)) guess = best.value;
  for (int pass = 0; pass < kPasses && best.value < kInfinity && guess > 0.0; ++pass) {
    const double size = std::max(guess, kSmall);
    auto [line, beyond, exhausted] =
        choose_line(phases, direction, guess, log_delta, share * size * order, order);
    const auto contour = std::make_shared<const Contour>(phases, direction, line);
    const double step = std::min(precision * size, 0.3 / line.c), tolerance = 0.01 * step;
    const auto upper = [&](double epsilon) { return contour->upper(epsilon); };
    const double epsilon = search(upper, delta, guess, step, tolerance).below;
    const DeltaLowerBound lower(*contour, phases, direction, beyond);
    const double under = search(lower, delta, std::min(epsilon, best.value), step, tolerance).above;
    if (under > best.lower) best.raise(under, contour, beyond);
    if (epsilon < best.value) {
      best.value = epsilon;
      best.contour = contour;
    }
    if (best.value - best.lower <= precision * std::max(best.value, kSmall)) break;
    order = line.c;
    const bool near = std::abs(best.value - guess) < 0.1 * guess;
    guess = best.value;
    if (near && exhausted) break;
    if (near) share *= tighter(best.lower, best.value, precision);
  }
  return best;
}

Proposal propose_delta(const Phases& phases, Direction direction, double epsilon, double precision) {
  Least found = {0.0, 8.0};  // log 1
  double best_cut = kInfinity;
  for (int cuts = 0; cuts < 2; ++cuts) {
    const double cut = cuts == 0 ? kInfinity : choose_cut(phases, direction, found.value);
    const auto bound = [&](double c) { return chernoff_log_delta(phases, direction, c, cut, epsilon); };
    const Least next = least(bound, found.c);
    if (!(next.value < found.value)) continue;
    found = next;
    best_cut = cut;
  }
  if (without_sampling(phases)) precision = std::min(precision, kExact);
  const double chernoff = std::exp(found.value);
  Proposal best = {chernoff, found.c, best_cut, chernoff};
  double excess = 0.4 * precision, order = found.c;
  double log_guess = std::min(0.0, found.value + saddle_point(phases, direction, order, best_cut, epsilon));
  for (int pass = 0; pass < kPasses && log_guess > -650.0; ++pass) {
    auto [line, beyond, exhausted] = choose_line(phases, direction, epsilon, log_guess, excess, order);
    const auto contour = std::make_shared<const Contour>(phases, direction, line);
    const double delta = contour->upper(epsilon);
    const double under = DeltaLowerBound(*contour, phases, direction, beyond)(epsilon);
    if (under > best.lower) best.raise(under, contour, beyond);
    if (delta < best.value) {
      best.value = delta;
      best.contour = contour;
    }
    if (best.value - best.lower <= precision * best.value) break;
    order = line.c;
    const bool near = std::abs(std::log(best.value) - log_guess) < 0.1;
    log_guess = std::log(best.value);
    if (near && exhausted) break;
    if (near) excess *= tighter(best.lower, best.value, precision);
  }
  return best;
}

}  // namespace pergrad::accounting
