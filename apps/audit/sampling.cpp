// not written yet
#include "apps/audit/rungs.h"

namespace pergrad::audit {
void audit_sampling(const Subject&, Checks&) {}
}  // namespace pergrad::audit
