// What a run decides before it starts: its plan (noise for the budget), and how much it holds in memory at a
// time.
#pragma once

#include "apps/config.h"
#include "dp/plan.h"

namespace pergrad::apps {

// The plan of a config: the noise multiplier that is named, or the smallest, within 0.1 %, whose whole plan
// (discrete noise included) costs at most privacy.epsilon.   REQUIRES: not non_private.   THROWS:
// PrivacyError.
dp::Plan plan_of(const Config& config, int64_t n_examples, int64_t parameters);

// A rehearsal of a private run at an expected batch of `batch`: the same steps, rates and views, and the same
// noise on the mean gradient, sigma / batch, so that its hyper-parameters are tried at batch /
// expected_batch_size of the cost. It spends another, far larger epsilon, which is what it promises.
//   REQUIRES: 1 <= batch < expected_batch_size; with privacy; not a rehearsal itself.
//   THROWS: Error; PrivacyError as plan_of.   Source: Sander et al. 2023 (TAN without a burn), section 4.
Config rehearsal_of(const Config& config, int64_t batch, int64_t n_examples, int64_t parameters);

// Units in memory at a time: speed.max_examples, or for each thread as many rows as its cache holds, but a
// few at least, within half of speed.max_memory_mb.   row_numbers: floats of the views of one unit. together:
// threads join after every op of a chunk, as they do without privacy; larger chunks then.
int64_t chunk_rows(const SpeedConfig& speed, int64_t parameters, int64_t row_numbers, int threads,
                   bool together = false);

}  // namespace pergrad::apps
