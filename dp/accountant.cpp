// What the discrete noise costs over the continuous noise that dp/accounting accounts for.
//
// Let s = noise_std_on_grid. phi is the density of N(0, s^2), R(z) its integral over [z - 1/2, z + 1/2], and
// D(z) = phi(z) / Z, |z| < 64 s, the law of our noise up to a factor exp(+-2^-99) (discrete_gaussian.h).
// 1. sum + R-noise is the continuous Gaussian mechanism on the same integer sum, rounded: post-processing,
//    because rounding commutes with adding integers. What dp/accounting says holds for R.
// 2. R(z) / phi(z) is the integral over |h| <= 1/2 of cosh(z h / s^2) exp(-h^2 / 2 s^2), so it lies between
//    exp(-1 / 8 s^2) and exp(z^2 / 8 s^4). For |z| < 64 s: |log(R / phi)| <= 512 / s^2. By Poisson summation
//    |Z - 1| <= 4 exp(-2 pi^2 s^2) + exp(-2048), which is below 512 / s^2 for s >= 2^20 by far. Hence
//    |log(R / D)| <= 1024 / s^2 wherever D > 0, and 2^-99 more for our noise, which is called D from here on.
// 3. Over all coordinates and releases, also adaptive ones, the logarithms add up to at most
//    eta = sum of parameters * (1024 / s^2 + 2^-99). For an event S and neighbours D, D' (R misses less than
//    e^-2000 of D's support, which delta's margin below covers):
//    D[S] <= e^eta R[S] <= e^eta (e^eps R'[S] + delta') <= e^(eps + 2 eta) D'[S] + e^eta delta'.
// So account for delta' = delta e^-eta and add 2 eta to epsilon. With 2^25 parameters, 2^12 steps, sigma 1
// and 40 grid bits, eta is 2^-33.
//
// The k releases of one step, forks included (ledger.h), share its Poisson sample. Given the sample they are
// Gaussian releases of k sums, each moved by at most C: one of a vector moved by sqrt(k) C. Later releases
// may depend on earlier ones of other steps in any order: for each step the likelihood ratio is 1 - q + q
// exp(B), B a Brownian motion run, as the adversary likes, to a time of at most k / sigma^2; the ratios are
// positive martingales, and running each to its full time only raises a convex divergence (Jensen) and leaves
// them independent.
#include "dp/accountant.h"

#include "core/error.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/rdp.h"

#include <cmath>

namespace pergrad::dp {

PrivacyCost cost_of(const std::vector<Phase>& phases, double delta) {
  PG_CHECK_AS(PrivacyError, delta > 0 && delta < 1, "accountant: delta is ", delta, ", wanted in (0, 1)");
  accounting::Phases continuous;
  PrivacyCost cost;
  cost.delta = delta;
  for (const Phase& phase : phases) {
    const auto s = static_cast<double>(phase.noise_std_on_grid);
    PG_CHECK_AS(PrivacyError, s >= 0x1p20, "accountant: noise of ", s, " grid steps, wanted >= 2^20");
    continuous.push_back({phase.noise_multiplier, phase.sampling_rate, phase.releases});
    cost.releases += phase.releases;
    cost.grid_slack += (1024 / (s * s) + 0x1p-99) * static_cast<double>(phase.parameters) *
                       static_cast<double>(phase.releases);
  }
  cost.grid_slack *= 1 + 1e-9;  // the roundings of this loop
  const double delta_left = delta * std::exp(-cost.grid_slack) * (1 - 1e-12);
  const accounting::Interval epsilon = accounting::epsilon_interval(continuous, delta_left);
  cost.epsilon_lower = epsilon.lower;
  cost.epsilon_upper = epsilon.upper + 2 * cost.grid_slack;
  const accounting::RdpBound rdp = accounting::rdp_epsilon(continuous, delta_left);
  cost.rdp_epsilon = rdp.value + 2 * cost.grid_slack;
  cost.rdp_order = rdp.order;
  cost.accountant = epsilon.accountant;
  return cost;
}

PrivacyCost planned_cost(const Plan& plan, int64_t parameters) {
  return cost_of({{plan.effective_noise_multiplier(), plan->sampling_rate, plan->steps, parameters,
                   plan.noise_std_on_grid()}},
                 plan->delta);
}

PrivacyCost spent_cost(const std::string& path, double delta) { return cost_of(read_ledger(path), delta); }

}  // namespace pergrad::dp
