// verb_account.h: `pergrad account epsilon | delta | noise | steps | curve`: questions in, answers out.
//
// Pure functions: no flags, no files, no printing. The keys of the JSON are a contract with scripts.
// THROWS: std::invalid_argument from dp/accounting, one clear line, the user's mistake.
#pragma once

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
  double delta = 0.0;
  double epsilon = 0.0;  // a target for noise and steps
  std::vector<double> deltas = {1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3};  // curve
  std::vector<double> epsilons = {0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 16};   // curve
};

struct AccountAnswer {
  nlohmann::ordered_json json;  // for --json; an infinite number is the string "inf"
  std::string text;             // for people; bounds are rounded outward
  std::string csv;              // account_curve alone
};

// Reads noise_multiplier, sampling_rate, steps and: delta | epsilon | deltas and epsilons.
AccountAnswer account_epsilon(const AccountQuestion& ask);
AccountAnswer account_delta(const AccountQuestion& ask);
AccountAnswer account_curve(const AccountQuestion& ask);

// Reads epsilon (the target), delta, sampling_rate and: steps | noise_multiplier. The JSON is that of
// account_epsilon at the solution, with "target_epsilon"; its epsilon.upper never exceeds the target.
AccountAnswer account_noise(const AccountQuestion& ask);
AccountAnswer account_steps(const AccountQuestion& ask);

}  // namespace pergrad::apps
