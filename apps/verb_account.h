// verb_account.h: `pergrad account epsilon | delta | noise | steps | batch | curve | trade-off`: questions
// in, answers out.
//
// Pure functions: no flags, no files, no printing. The keys of the JSON are a contract with scripts.
// THROWS: std::invalid_argument from dp/accounting, one clear line, the user's mistake.
#pragma once

#include "dp/accounting/phase.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pergrad::apps {

// Each question reads the members that it names; the others are ignored.
struct AccountQuestion {
  double noise_multiplier = 0.0;  // sigma / clip_norm
  double sampling_rate = 0.0;
  std::int64_t steps = 0;
  accounting::Phases phases;  // several plans as one; then the three above are not read
  double delta = 0.0;
  double epsilon = 0.0;                  // a target for noise, steps and batch
  std::int64_t examples = 0;             // batch
  double precision = 1e-4;               // relative width of intervals that is aimed at
  std::string sampling = "poisson";      // or full_batch, without_replacement; shuffle is refused
  std::string adjacency = "add_remove";  // or substitution
  std::vector<double> deltas = {1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3};    // curve
  std::vector<double> epsilons = {0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 16};     // curve
  std::vector<double> false_positives = {0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5};  // trade-off
};

struct AccountAnswer {
  nlohmann::ordered_json json;  // for --json; an infinite number is the string "inf"
  std::string text;             // for people; bounds are rounded outward
  std::string csv;              // curve and trade-off alone
};

// Reads the run (noise_multiplier, sampling_rate, steps, or phases; sampling, adjacency, precision) and:
// delta | epsilon | deltas and epsilons | false_positives. The last two are for add_remove alone.
AccountAnswer account_epsilon(const AccountQuestion& ask);
AccountAnswer account_delta(const AccountQuestion& ask);
AccountAnswer account_curve(const AccountQuestion& ask);
AccountAnswer account_trade_off(const AccountQuestion& ask);

// Reads epsilon (the target), delta and two or three of: sampling_rate, steps, noise_multiplier, examples.
// The JSON is that of account_epsilon at the solution, with "target_epsilon"; its epsilon.upper never exceeds
// the target.
AccountAnswer account_noise(const AccountQuestion& ask);
AccountAnswer account_steps(const AccountQuestion& ask);
AccountAnswer account_batch(const AccountQuestion& ask);  // with "expected_batch_size", whole, and "examples"

}  // namespace pergrad::apps
