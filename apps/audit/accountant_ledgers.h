// The part of rung A that looks at plans and ledgers.
#pragma once

#include "apps/audit/rungs.h"

namespace pergrad::audit {

void audit_ledgers(const Subject& subject, Checks& checks);

}  // namespace pergrad::audit
