// The part of rung a that looks at whole trainings.
#pragma once

#include "apps/audit/rungs.h"

namespace pergrad::audit {

void audit_control_flow(const Subject& subject, Checks& checks);

}  // namespace pergrad::audit
