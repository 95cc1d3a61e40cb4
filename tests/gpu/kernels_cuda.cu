// The kernels of the tests, on cuda:i.
#include "core/gpu/launch_cuda.cuh"
#include "tests/gpu/kernels.h"

PG_LAUNCH_EACH(pergrad::test::Square)
PG_LAUNCH_EACH(pergrad::test::Arithmetic)
PG_LAUNCH_BLOCKS(pergrad::test::ReverseBlock)
PG_LAUNCH_BLOCKS(pergrad::test::MatrixProduct)
PG_LAUNCH_BLOCKS(pergrad::test::LostThreads)
PG_LAUNCH_BLOCKS(pergrad::test::MissingBarrier)
