// moments.h: the privacy loss of one step, seen through its moments on a vertical line of the complex plane.
//
// At outcome x ~ Q = N(0, sigma^2): Z = dP/dQ = 1 - q + q e^w, w = (x - 1/2) / sigma^2; the loss is L = log
// Z.
//   remove  an example leaves, the pair (P, Q): M(z) = E_Q[keep Z^(1 + z)]
//   add     an example joins,  the pair (Q, P): M(z) = E_Q[keep Z^-z]
// keep(x) = Pr(x + sigma N(0, 1) / 5 < 1 + 1.02 cut sigma) sets rare outcomes aside before they rule the
// moments: with keep P, keep Q for P, Q delta is smaller, by at most set_aside a step. cut = infinity keeps
// everything. Assumed: exp, expm1, log, log1p, erfc, polar within a few ulp (glibc, musl).
#pragma once

#include <complex>
#include <vector>

#include "dp/accounting/phase.h"

namespace pergrad::accounting {

using Real =
    long double;  // the number of steps multiplies every rounding. Where it is double, errors are larger.
enum class Direction { remove, add };

// log M(c) and M(c + i k spacing) / M(c), 0 <= k < count, each within its error; c >= 0, sampling_rate < 1.
// Out of reach (too many nodes): log_error is infinite and the rest empty.
struct Moments {
  Real log, log_error;
  std::vector<std::complex<Real>> ratios;
  std::vector<Real> errors;
};
Moments moments(Direction direction, const Phase& phase, double c, double cut, double spacing, int count);

double set_aside(const Phase& phase, double cut);  // E_P[1 - keep], rounded up

}  // namespace pergrad::accounting
