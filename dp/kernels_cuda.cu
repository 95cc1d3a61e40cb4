// The kernels of this folder, on cuda:i.
#include "core/gpu/chacha.h"
#include "core/gpu/launch_cuda.cuh"
#include "dp/discrete_gaussian.h"
#include "dp/gpu_kernels.h"

using namespace pergrad::dp;

PG_LAUNCH_BLOCKS(SquaresOfRows)
PG_LAUNCH_EACH(ScaleOfRows)
PG_LAUNCH_EACH(AddRowsOnGrid)
PG_LAUNCH_EACH(AddPlainRows)
PG_LAUNCH_EACH(MeanOfSum)
PG_LAUNCH_EACH(ReleaseBlock<pergrad::ChaChaBlocks>)
