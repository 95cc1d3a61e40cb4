// rdp.h: Renyi differential privacy: an upper bound on epsilon (or delta) from moments of one step.
//
// 1. One step is dominated by Q = N(0, sigma^2) against P = (1 - q) N(0, sigma^2) + q N(1, sigma^2).
// 2. D_alpha(P || Q) >= D_alpha(Q || P), so one direction covers adding and removing (Mironov, Talwar,
//    Zhang 2019, arXiv 1908.10530, section 3.1).
// 3. Steps add up, order by order; every order alone gives a valid bound. The search for the best order can
//    therefore cost tightness, never soundness.
// 4. Every number returned is an upper bound of the real number it stands for: discretisation, truncation
//    and rounding are bounded and added. Assumed: exp, expm1, log, log1p within 2 ulp (glibc, musl).
#pragma once

#include <functional>

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

// rdp_of_step(order, noise_multiplier, sampling_rate): D_order(P || Q), rounded up; order > 1, any real.
//   Cost: (order + 26 sigma) / h terms, h about sigma / 2 at sigma >= 4: some 60 to 600 for useful orders.
double rdp_of_step(double order, double noise_multiplier, double sampling_rate);

// That of all phases together, rounded up.
double total_rdp(const Phases& phases, double order);
// log((a - 1) / a) to an ulp for every a > 1: each form loses digits where the other is used.
double log_shrink(double order);

struct RdpBound {
  double value;  // epsilon or delta
  double order;  // the order that gave it; infinity when there is nothing to account for
};

// The tight conversion of Canonne, Kamath, Steinke 2020 (arXiv 2004.00010, Prop. 12), at the best order.
// Guarantee: the mechanism of all phases together is (value, delta)-, or (epsilon, value)-private.
RdpBound rdp_epsilon(const Phases& phases, double delta);
RdpBound rdp_delta(const Phases& phases, double epsilon);
// The same for any mechanism, from an upper bound of its Renyi divergence at every order > 1.
RdpBound convert_to_epsilon(const std::function<double(double)>& rdp, double delta);
RdpBound convert_to_delta(const std::function<double(double)>& rdp, double epsilon);

}  // namespace pergrad::accounting
