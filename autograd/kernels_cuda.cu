// The kernels of this folder, on cuda:i.
#include "autograd/elementwise_kernels.h"
#include "autograd/group_norm_blocks.h"
#include "autograd/head_kernels.h"
#include "autograd/weight_kernels.h"
#include "core/gpu/launch_cuda.cuh"

using namespace pergrad;
using namespace pergrad::kernels;

// (double is computed in on the processor only, but the ops are one text.)
#define PG_EACH_TYPE(Kernel)    \
  PG_LAUNCH_EACH(Kernel<float>) \
  PG_LAUNCH_EACH(Kernel<bf16>)  \
  PG_LAUNCH_EACH(Kernel<double>)
PG_EACH_TYPE(ReluForward)
PG_EACH_TYPE(ReluBackward)
PG_EACH_TYPE(TanhForward)
PG_EACH_TYPE(TanhBackward)
PG_EACH_TYPE(Add)
PG_EACH_TYPE(AddPacks)
PG_EACH_TYPE(Fill)

#define PG_FLOAT_AND_DOUBLE(Kernel) \
  PG_LAUNCH_EACH(Kernel<float>)     \
  PG_LAUNCH_EACH(Kernel<double>)
PG_FLOAT_AND_DOUBLE(CrossEntropyView)
PG_FLOAT_AND_DOUBLE(SumOfViewLosses)
PG_FLOAT_AND_DOUBLE(ScaleRows)

#define PG_ACTIVATIONS(Kernel)  \
  PG_LAUNCH_EACH(Kernel<float>) \
  PG_LAUNCH_EACH(Kernel<bf16>)
PG_ACTIVATIONS(MeanPoolForward)
PG_ACTIVATIONS(MeanPoolBackward)
PG_ACTIVATIONS(WindowPoolForward)
PG_ACTIVATIONS(WindowPoolBackward)
PG_ACTIVATIONS(LinearForward)
PG_ACTIVATIONS(LinearInputGradient)
PG_ACTIVATIONS(LinearWeightGradient)
PG_LAUNCH_EACH(SumOverViews)
PG_LAUNCH_EACH(ZeroColumns)

PG_LAUNCH_BLOCKS(StandardizeForward)
PG_LAUNCH_BLOCKS(StandardizeBackward)
#define PG_NORM(Kernel)                    \
  PG_LAUNCH_BLOCKS(Kernel<bf16, 8, true>)  \
  PG_LAUNCH_BLOCKS(Kernel<bf16, 8, false>) \
  PG_LAUNCH_BLOCKS(Kernel<bf16, 1, true>)  \
  PG_LAUNCH_BLOCKS(Kernel<bf16, 1, false>) \
  PG_LAUNCH_BLOCKS(Kernel<float, 4, true>) \
  PG_LAUNCH_BLOCKS(Kernel<float, 4, false>) \
  PG_LAUNCH_BLOCKS(Kernel<float, 1, true>) \
  PG_LAUNCH_BLOCKS(Kernel<float, 1, false>)
PG_NORM(GroupNormForwardBlock)
PG_NORM(GroupNormBackwardBlock)
