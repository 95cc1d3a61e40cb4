// Accuracy on a test set, of raw and averaged weights.
#pragma once

#include "apps/progress.h"
#include "augment/normalisation.h"
#include "core/dataset.h"
#include "layers/model_gradients.h"

#include <vector>

namespace pergrad::apps {

// Score of the model's present weights on all of `data`, un-augmented, one view an image.
Score score_of(Model& model, const Dataset& data, const augment::Normalisation& normalisation,
               const CpuExec& exec, const Progress& progress = {});
// Score with other weights [P]; the model's own are put back.
Score score_with(Model& model, const Tensor& weights, const Dataset& data,
                 const augment::Normalisation& normalisation, const CpuExec& exec,
                 const Progress& progress = {});

// [L * true label + label with the largest logit]: how many images of `data`.
std::vector<int64_t> confusion_of(Model& model, const Dataset& data,
                                  const augment::Normalisation& normalisation, const CpuExec& exec,
                                  const Progress& progress = {});

// OpenMP threads to use: `wanted`, or all of the machine's if 0.   THROWS: Error if memory is too short for
// so many.
CpuExec exec_of(int64_t wanted);

}  // namespace pergrad::apps
