// PoissonSampler: one word for each id, in the order of the ids.
#include "dp/sampler.h"

#include "core/hash.h"

#include <map>

namespace pergrad::dp {

PoissonSampler::PoissonSampler(const Plan& plan, const Key& run_key, int64_t n)
    : plan_(plan),
      join_key_(derive_key(run_key, "sampler " + plan.hash())),
      bucket_key_(derive_key(run_key, "bucket " + plan.hash())),
      name_(to_hex(derive_key(run_key, "sampler name " + plan.hash()).bytes)),
      n_(n) {
  PG_CHECK_AS(PrivacyError, n >= 0 && n <= plan->max_examples, "sampler: ", n,
              " examples, but the plan is for at most ", plan->max_examples);
}

std::vector<Unit> PoissonSampler::draw(int64_t step) const {
  PG_CHECK(step >= 0, "sampler: step is ", step, ", wanted >= 0");
  const auto nonce = static_cast<uint64_t>(step);
  ChaChaStream words(join_key_, nonce, 0);
  std::vector<Unit> units;
  std::map<uint64_t, Unit> buckets;
  for (int64_t id = 0; id < n_; ++id) {
    if (!plan_.joins(words.next_u64())) continue;  // one word per id, drawn for everybody: word number id
    if (!plan_.microbatches()) {
      units.push_back({{id}});
    } else {
      ChaChaStream own(bucket_key_, nonce, static_cast<uint32_t>(id));
      buckets[below(own, static_cast<uint64_t>(plan_.buckets()))].ids.push_back(id);
    }
  }
  for (auto& [bucket, unit] : buckets) units.push_back(std::move(unit));
  return units;
}

}  // namespace pergrad::dp
