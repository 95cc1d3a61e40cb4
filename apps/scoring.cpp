// score_of: evaluation in batches.
#include "apps/scoring.h"

#include "augment/evaluation_views.h"
#include "core/gemm.h"

#include <omp.h>

#include <algorithm>

namespace pergrad::apps {

namespace {

// use(logits [n,L], labels [n]) for one batch of `data` after another.
template <class Use>
void predictions(Model& model, const Dataset& data, const augment::Normalisation& normalisation,
                 const CpuExec& exec, const Progress& progress, const Use& use) {
  constexpr int64_t kBatch = 500;
  Workspace workspace;
  ProgressMeter meter(progress, "scoring " + data.name, data.size());
  for (int64_t begin = 0; begin < data.size(); begin += kBatch) {
    const int64_t end = std::min(data.size(), begin + kBatch);
    const ExampleBatch batch = augment::evaluation_views(data, normalisation, begin, end, exec, workspace);
    use(predict(model, batch.images, exec),
        std::span(data.labels).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    meter.update(end);
  }
}

}  // namespace

Score score_of(Model& model, const Dataset& data, const augment::Normalisation& normalisation,
               const CpuExec& exec, const Progress& progress) {
  Score score;
  predictions(
      model, data, normalisation, exec, progress,
      [&](const Tensor& logits, std::span<const int32_t> labels) { add_to_score(score, logits, labels); });
  return score;
}

std::vector<int64_t> confusion_of(Model& model, const Dataset& data,
                                  const augment::Normalisation& normalisation, const CpuExec& exec,
                                  const Progress& progress) {
  const int64_t L = model.labels();
  std::vector<int64_t> counts(static_cast<size_t>(L * L), 0);
  predictions(model, data, normalisation, exec, progress,
              [&](const Tensor& logits, std::span<const int32_t> labels) {
                for (size_t i = 0; i < labels.size(); ++i) {
                  const float* row = logits.data<float>() + static_cast<int64_t>(i) * L;
                  ++counts[static_cast<size_t>(labels[i] * L + (std::max_element(row, row + L) - row))];
                }
              });
  return counts;
}

Score score_with(Model& model, const Tensor& weights, const Dataset& data,
                 const augment::Normalisation& normalisation, const CpuExec& exec, const Progress& progress) {
  const Tensor own = model.parameters().flat().clone();
  model.parameters().assign(weights);
  const Score score = score_of(model, data, normalisation, exec, progress);
  model.parameters().assign(own);
  return score;
}

CpuExec exec_of(int64_t wanted) {
  const CpuExec exec{wanted > 0 ? static_cast<int>(wanted) : std::max(1, omp_get_num_procs())};
  require_room_for_gemm(exec.threads);
  return exec;
}

}  // namespace pergrad::apps
