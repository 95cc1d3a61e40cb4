// Images as they are.
#include "augment/evaluation_views.h"

#include "augment/image_ops.h"
#include "core/error.h"
#include "core/exec_rows.h"

namespace pergrad::augment {

ExampleBatch evaluation_views(const Dataset& data, const Normalisation& normalisation, int64_t begin,
                              int64_t end, const CpuExec& exec, Workspace& workspace) {
  PG_CHECK(0 <= begin && begin <= end && end <= data.size(), "evaluation views: [", begin, ",", end, ") of ",
           data.size(), " examples");
  PG_CHECK(normalisation.channels() == data.channels, "evaluation views: normalisation for ",
           normalisation.channels(), " channels, the images have ", data.channels);
  const int64_t rows = end - begin;
  const ImageShape shape{data.height, data.width, data.channels};
  ExampleBatch batch;
  batch.images = Tensor::empty({rows, 1, shape.height, shape.width, shape.channels}, DType::f32, workspace);
  batch.targets = Tensor::zeros({rows, 1, data.label_count}, DType::f32, workspace);
  batch.weights = Tensor::empty({rows, 1}, DType::f32, workspace);
  batch.weights.fill(1);
  batch.is_real.assign(static_cast<size_t>(rows), 1);
  for (int64_t id = begin; id < end; ++id) batch.units.push_back({{id}});

  float* images = batch.images.data<float>();
  float* targets = batch.targets.data<float>();
  for_each_row(exec, rows, [&](int64_t n) {
    const int32_t label = data.labels[static_cast<size_t>(begin + n)];
    PG_CHECK(0 <= label && label < data.label_count, "evaluation views: label of example ", begin + n, " is ",
             label, ", wanted 0 to ", data.label_count - 1);
    normalise(data.image(begin + n).data(), normalisation.table(), shape, 0, images + n * shape.size());
    targets[n * data.label_count + label] = 1.0f;
  });
  return batch;
}

}  // namespace pergrad::augment
