// Evaluation views: images as they are, normalised, one view each, for measuring a model.
#pragma once

#include "augment/normalisation.h"
#include "core/dataset.h"
#include "core/example_batch.h"
#include "core/exec.h"

namespace pergrad::augment {

// Examples [begin, end) of the data: images [N,1,H,W,C], targets [N,1,L] one-hot, weights 1, all rows real.
//   Memory: from the workspace, back to it with the last owner.
//   THROWS: Error for a range outside of the data or another number of channels.
ExampleBatch evaluation_views(const Dataset& data, const Normalisation& normalisation, int64_t begin,
                              int64_t end, const CpuExec& exec, Workspace& workspace);

}  // namespace pergrad::augment
