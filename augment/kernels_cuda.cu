// The kernels of this folder, on cuda:i.
#include "augment/view_kernels.h"
#include "core/gpu/launch_cuda.cuh"

PG_LAUNCH_EACH(pergrad::augment::WriteView)
PG_LAUNCH_EACH(pergrad::augment::WriteTarget)
