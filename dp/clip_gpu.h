// What clip_and_sum calls where the rows are on a GPU.
#pragma once

#include "core/example_batch.h"
#include "dp/clip_stats.h"
#include "dp/plan.h"

namespace pergrad::dp {

// is_real of every row, i64 [N], where the rows are.
Tensor is_real_on_gpu(const PerExampleGradient& rows);

// sum [P] i64 += the clipped rows, both on one GPU.
//   Guarantee: that of clip_and_sum, which has checked the arguments; same proof, same functions.
//   Cost: as there. Only is_real goes up, and, if they are asked for, N sums of squares come down.
void clip_and_sum_on_gpu(const PerExampleGradient& rows, const Plan& plan, const Tensor& sum,
                         NonprivateClipStats* nonprivate_stats);

}  // namespace pergrad::dp
