// What the launcher (launch_cuda.cuh) needs of core/gpu/cuda.cpp. Included by .cu files: no fmt here, which
// nvcc cannot compile.
#pragma once

#include "core/gpu/gpu.h"

namespace pergrad {

// The queue of a cuda:i device (a cudaStream_t); makes the device current for this thread.
void* cuda_stream(Gpu& gpu);
// THROWS: DeviceError naming `what`, unless status (a cudaError_t) is success.
void check_cuda(int status, const char* what);

}  // namespace pergrad
