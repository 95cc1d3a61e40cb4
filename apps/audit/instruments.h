// The audit's own instruments: where its randomness comes from, and that its tests can fail.
#pragma once

#include "apps/audit/rungs.h"

#include <cstdint>

namespace pergrad::audit {

// What an audit's random numbers are made of: a key of its own for each seed.
Key random_key(uint64_t seed);

// Every kind of check must pass where all is well and fail, on either side, where it is not.
void test_instruments(const Subject& subject, Checks& checks);

}  // namespace pergrad::audit
