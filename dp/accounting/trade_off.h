// trade_off.h: privacy as the errors of whoever tries to tell two neighbours apart (f-DP).
//
// Source: Dong, Roth, Su 2022, J. R. Stat. Soc. B 84 (arXiv 1905.02383).
#pragma once

#include "dp/accounting/accountant.h"

namespace pergrad::accounting {

struct TradeOffPoint {
  double false_positive;  // alpha: probability to cry wolf
  double false_negative;  // no test that cries wolf this seldom misses with a smaller probability
};

// Guarantee: every test of "this example took part" has errors on or above the curve, in both directions.
//   THROWS std::invalid_argument for a false_positive outside [0, 1].   Cost: about `epsilons` intervals for
//   delta.
std::vector<TradeOffPoint> trade_off(const Phases& phases, const std::vector<double>& false_positives,
                                     int epsilons = 24);

// The central limit theorem's mu: approximately, the run is like telling N(0, 1) from N(mu, 1) (Bu et al.
// 2020, arXiv 1911.11607). NO guarantee: it may promise more privacy than there is. Never published as one.
double gdp_mu_approximation(const Phases& phases);
double gdp_epsilon_approximation(double mu, double delta);

}  // namespace pergrad::accounting
