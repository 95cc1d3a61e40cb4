// Plan: everything that is promised, in one immutable object. Sampler, clip, mechanism, ledger and accountant
// read nothing else, so no two of them can believe in a different q, sigma or clip norm.
#pragma once

#include <cstdint>
#include <string>

namespace pergrad::dp {

// What a config says. Checked, and only then used, by Plan.
struct PlanSettings {
  double sampling_rate = 0;       // q in (0, 1]: each example joins each step with this probability
  double noise_multiplier = 0;    // sigma > 0: standard deviation of the noise / clip_norm
  double clip_norm = 1;           // C > 0: largest L2 norm of one unit's gradient, in gradient units
  int64_t steps = 0;              // T >= 1: releases that are planned; a step >= T is refused
  double expected_batch = 0;      // > 0: the constant divisor; a public number, never the size of a sample
  double delta = 0;               // in (0, 1): a probability
  int64_t max_examples = 0;       // N: public upper bound of the number of examples (range proof)
  int grid_bits = 40;             // F: gradients are summed in integers of C * 2^-F
  std::string units = "example";  // what is clipped: "example", or "microbatch" (a group of examples)
  int64_t microbatch_size = 0;    // m >= 2: mean size of a group; 0 where each example is a unit
  std::string pool = "none";      // provenance of the public synthetic pool of DP-Mix
  std::string noise_source = "secure";  // the run key is the OS's entropy, or "reproducible": made of a seed
};

// Guarantee: the checks in plan.cpp held when the object was made; nothing can change it.
class Plan {
 public:
  // THROWS: PrivacyError if a setting voids the guarantee or its proof, Error if it makes no sense.
  explicit Plan(PlanSettings settings);

  // The checked settings: plan->clip_norm.   plan->sampling_rate is exactly threshold / 2^64 (see joins).
  const PlanSettings* operator->() const { return &settings_; }

  // An example joins iff its 64-bit word is < threshold = floor(q * 2^64); everybody joins where q = 1.
  bool joins(uint64_t word) const { return everybody_joins_ || word < threshold_; }
  std::string threshold_text() const;  // decimal; 2^64 where q = 1

  bool microbatches() const { return settings_.units == "microbatch"; }
  // M = max(1, round(expected_batch / m)) buckets a step; REQUIRES microbatches().
  int64_t buckets() const;
  // What the noisy sum is divided by: expected_batch, or M. Constant over the run.
  double divisor() const;
  // How far one example, added or removed with all its views, can move the sum, in clip norms: 1; with
  // microbatches 2, because the clipped gradient of its one bucket may turn from one side of the ball to the
  // other.
  int sensitivity_in_clips() const { return microbatches() ? 2 : 1; }
  // sigma / sensitivity: what the accountant is given.
  double effective_noise_multiplier() const { return settings_.noise_multiplier / sensitivity_in_clips(); }
  // Standard deviation of the noise in grid units: ceil(sigma * 2^F). Rounding up is the safe side.
  int64_t noise_std_on_grid() const;

  // One key=value per line in a fixed order, doubles as %.17g; and its SHA-256 in hexadecimal.
  std::string canonical_text() const;
  const std::string& hash() const { return hash_; }

 private:
  PlanSettings settings_;
  uint64_t threshold_ = 0;
  bool everybody_joins_ = false;
  std::string hash_;
};

// A double as printf's %.17g writes it in the C locale, whatever the locale of the program.
std::string text_of(double value);

}  // namespace pergrad::dp
