// What clip_and_sum and its non-private twin do on a GPU. Who reads the reviewer's path and trains on a GPU
// reads this too (dp/README.md, "On a GPU").
#pragma once

#include "core/example_batch.h"
#include "dp/clip_stats.h"
#include "dp/plan.h"

namespace pergrad::dp {

// sum [P] i64 += the clipped rows, by the arithmetic of clip_kernels.h. Rows that are padding or not finite
// add nothing, by a branch. With stats the processor waits for the norms.   REQUIRES: rows and sum on one
// GPU.
void add_clipped_rows(const PerExampleGradient& rows, const Plan& plan, const Tensor& sum,
                      NonprivateClipStats* nonprivate_stats);

// sum [P] f64 += the rows that are real, in their order. No clip, no guarantee.
void add_plain_rows(const PerExampleGradient& rows, const Tensor& sum);
// sum / rows [P] f32; zero if rows is 0.
Tensor mean_of_sum(const Tensor& sum, int64_t rows);

}  // namespace pergrad::dp
