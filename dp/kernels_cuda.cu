// The kernels of this folder, on cuda:i.
#include "core/gpu/launch_cuda.cuh"
#include "dp/discrete_gaussian.h"
#include "dp/gpu_kernels.h"
#include "dp/nonprivate_kernels.h"

PG_LAUNCH_BLOCKS(pergrad::dp::RowSquares)
PG_LAUNCH_EACH(pergrad::dp::RowScale)
PG_LAUNCH_EACH(pergrad::dp::AddColumn)
PG_LAUNCH_EACH(pergrad::dp::ReleaseBlock)
PG_LAUNCH_EACH(pergrad::dp::AddRows)
PG_LAUNCH_EACH(pergrad::dp::MeanOfRows)
