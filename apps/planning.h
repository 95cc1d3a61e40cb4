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

// Units in memory at a time: speed.max_examples, or as many as keep the threads busy, within half of
// speed.max_memory_mb. More would not be faster, only larger.   row_numbers: floats of the views of one unit.
int64_t chunk_rows(const SpeedConfig& speed, int64_t parameters, int64_t row_numbers, int threads);

}  // namespace pergrad::apps
