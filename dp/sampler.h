// PoissonSampler: who takes part in a step.
#pragma once

#include "core/example_batch.h"
#include "core/rng.h"
#include "dp/plan.h"

#include <cstdint>
#include <string>
#include <vector>

namespace pergrad::dp {

// draw(step): every example joins independently with probability plan->sampling_rate.
//   Guarantee: example id joins iff plan.joins(word), word = 64-bit word number id of the ChaCha20 stream
//   (run key, plan, step): a function of (key, step, id) alone. Adding or removing an example changes
//   nobody else's draw. The draw may be empty; its size is private.
//   Microbatches: each example that joined goes to one of plan.buckets() buckets by another word, again a
//   function of (key, step, id); a unit is a bucket that is not empty. So one example changes exactly one
//   unit, and moves the sum by at most 2C. (Not pairs by position: one example more shifts all behind it.)
class PoissonSampler {
 public:
  // Ids are 0 .. n-1.  THROWS: PrivacyError if n > plan->max_examples.
  PoissonSampler(const Plan& plan, const Key& run_key, int64_t n);
  // Units in ascending order of id (or of bucket, ids ascending within).
  std::vector<Unit> draw(int64_t step) const;
  const std::string& name() const { return name_; }  // of the draws: another for another plan or run key

 private:
  Plan plan_;
  Key join_key_;
  Key bucket_key_;
  std::string name_;
  int64_t n_;
};

}  // namespace pergrad::dp
