// score_of: evaluation in batches.
#include "apps/scoring.h"

#include "augment/evaluation_views.h"
#include "core/gemm.h"

#include <omp.h>

#include <algorithm>

namespace pergrad::apps {

Score score_of(Model& model, const Dataset& data, const augment::Normalisation& normalisation,
               const CpuExec& exec) {
  constexpr int64_t kBatch = 500;
  Workspace workspace;
  Score score;
  for (int64_t begin = 0; begin < data.size(); begin += kBatch) {
    const int64_t end = std::min(data.size(), begin + kBatch);
    const ExampleBatch batch = augment::evaluation_views(data, normalisation, begin, end, exec, workspace);
    const auto labels =
        std::span(data.labels).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    add_to_score(score, predict(model, batch.images, exec), labels);
  }
  return score;
}

Score score_with(Model& model, const Tensor& weights, const Dataset& data,
                 const augment::Normalisation& normalisation, const CpuExec& exec) {
  const Tensor own = model.parameters().flat().clone();
  model.parameters().assign(weights);
  const Score score = score_of(model, data, normalisation, exec);
  model.parameters().assign(own);
  return score;
}

CpuExec exec_of(int64_t wanted) {
  const CpuExec exec{wanted > 0 ? static_cast<int>(wanted) : std::max(1, omp_get_num_procs())};
  require_room_for_gemm(exec.threads);
  return exec;
}

}  // namespace pergrad::apps
