// Accountant: from what was released (ledger) or will be (plan) to an interval for epsilon.
#pragma once

#include "dp/ledger.h"
#include "dp/plan.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::dp {

// The releases are (epsilon_upper, delta)-DP for adding or removing one example with all its views.
struct PrivacyCost {
  double epsilon_lower = 0;  // no proof for the continuous Gaussian can go below: how tight the upper end is
  double epsilon_upper = 0;  // the guarantee; may be infinity
  double rdp_epsilon = 0;    // a larger one, by Renyi divergences, for who would rather read less proof
  double rdp_order = 0;      // and its order
  std::string_view accountant = "pld";  // what made epsilon_upper: "pld", or "rdp" where that could not
  double delta = 0;
  int64_t releases = 0;
  double grid_slack = 0;  // eta of accountant.cpp: what the discrete noise costs; both upper ends hold 2 eta
};

// All phases together.   THROWS: PrivacyError if delta is not in (0, 1).
PrivacyCost cost_of(const std::vector<Phase>& phases, double delta);
// All steps of the plan, for a model with `parameters` numbers.
PrivacyCost planned_cost(const Plan& plan, int64_t parameters);
// Every release that the ledger at `path` has ever recorded, on all branches.
PrivacyCost spent_cost(const std::string& path, double delta);

}  // namespace pergrad::dp
