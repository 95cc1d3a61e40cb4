// What clip_and_sum, its non-private twin and release do on a GPU. Who reads the reviewer's path and trains
// on a GPU reads this too (dp/README.md, "On a GPU").
#pragma once

#include "core/example_batch.h"
#include "dp/discrete_gaussian.h"
#include "dp/plan.h"

namespace pergrad::dp {

// sum [P] i64 += the clipped rows, by the arithmetic of clip_kernels.h. Rows that are padding or not finite
// add nothing, by a branch.   REQUIRES: rows and sum on one GPU.
void add_clipped_rows(const PerExampleGradient& rows, const Plan& plan, const Tensor& sum);

// noisy(block) for each block: the same bits. Its sum and out are on the device, its bins here.
void release_on_gpu(const ReleaseBlock<ChaChaStream>& noisy, int64_t blocks, Device device);

// sum [P] f64 += the rows that are real, in their order. No clip, no guarantee.
void add_plain_rows(const PerExampleGradient& rows, const Tensor& sum);
// sum / rows [P] f32; zero if rows is 0.
Tensor mean_of_sum(const Tensor& sum, int64_t rows);

}  // namespace pergrad::dp
