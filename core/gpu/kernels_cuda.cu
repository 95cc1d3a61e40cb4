// The kernels of this folder, on cuda:i.
#include "core/gpu/conv_kernels.h"
#include "core/gpu/launch_cuda.cuh"
#include "core/gpu/tensor_core_kernels.h"

using namespace pergrad;
using namespace pergrad::kernels;

PG_LAUNCH_EACH(PackConvWeights<float>)
PG_LAUNCH_EACH(PackConvWeights<bf16>)
PG_LAUNCH_EACH(ConvertChannels<float, float>)
PG_LAUNCH_EACH(ConvertChannels<float, bf16>)
PG_LAUNCH_EACH(ConvertChannels<bf16, float>)
PG_LAUNCH_EACH(ConvertChannels<bf16, bf16>)
PG_LAUNCH_EACH(AddBias<float, 4>)
PG_LAUNCH_EACH(AddBias<float, 1>)
PG_LAUNCH_EACH(AddBias<bf16, 8>)
PG_LAUNCH_EACH(AddBias<bf16, 1>)
PG_LAUNCH_EACH(PlainWeightGradient<float>)
PG_LAUNCH_EACH(PlainWeightGradient<bf16>)
PG_LAUNCH_EACH(FillPlanes<float>)
PG_LAUNCH_EACH(FillPlanes<bf16>)
PG_LAUNCH_EACH(FillOutputGrid<float>)
PG_LAUNCH_EACH(FillOutputGrid<bf16>)
PG_LAUNCH_EACH(SumOfParts)
PG_LAUNCH_BLOCKS(BiasGradientBlock<float, 4>)
PG_LAUNCH_BLOCKS(BiasGradientBlock<float, 1>)
PG_LAUNCH_BLOCKS(BiasGradientBlock<bf16, 8>)
PG_LAUNCH_BLOCKS(BiasGradientBlock<bf16, 1>)

// The list of core/gpu/conv.cpp.
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<32, 1, 3, 8, 16>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<32, 1, 3, 16, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<32, 1, 1, 16, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<32, 1, 3, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<16, 2, 3, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<16, 2, 1, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<16, 1, 3, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<8, 2, 3, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<8, 2, 1, 64, 64>)
PG_LAUNCH_BLOCKS(TensorCoreWeightGradient<8, 1, 3, 64, 64>)
