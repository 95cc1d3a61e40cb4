// The kernels of this floor, on cuda:i.
#include "core/gpu/launch_cuda.cuh"
#include "layers/optimizer_kernels.h"

PG_LAUNCH_EACH(pergrad::kernels::SgdStep)
PG_LAUNCH_EACH(pergrad::kernels::MomentumStep)
PG_LAUNCH_EACH(pergrad::kernels::AdamStep)
PG_LAUNCH_EACH(pergrad::kernels::EmaStep)
PG_LAUNCH_EACH(pergrad::kernels::SumOfZeros)
