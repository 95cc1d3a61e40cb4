// Rung a, on the real model: one record more changes no other row.
#pragma once

#include "apps/audit/rungs.h"

namespace pergrad::audit {

// Records put among others on real views and models, at every place, in several chunks, on one thread and on
// all; with images that are not finite among them. Bits are compared.
void real_rows(const Subject& subject, Checks& checks);

}  // namespace pergrad::audit
