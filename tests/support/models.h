// Models and batches of random numbers for tests of whole networks.
#pragma once

#include "core/example_batch.h"
#include "core/philox.h"
#include "layers/models.h"
#include "tests/support/compare.h"

#include <vector>

namespace pergrad::test {

inline ModelSettings wide_resnet_settings(int64_t depth, int64_t width, int64_t groups) {
  ModelSettings settings;
  settings.depth = depth;
  settings.width = width;
  settings.groups = groups;
  return settings;
}

// Initial weights plus a little of everything, so that no gain is 1, no bias 0 and no logit constant. The
// numbers are floats, whatever the type.
inline void randomise(Model& model, DType type, uint64_t seed) {
  Parameters& p = model.parameters();
  const Key key = key_from_text("tests/support/models.h");
  p.allocate(DType::f32, key);
  const Tensor more = random_tensor({p.size()}, DType::f32, seed, 0.1);
  const Tensor start = p.flat().clone();
  for (int64_t i = 0; i < p.size(); ++i) start.data<float>()[i] += more.data<float>()[i];
  p.allocate(type, key);
  p.assign(start.to(type));
}

// N rows of V views: random images, soft labels, unequal view weights; the numbers are floats.
inline ExampleBatch random_batch(const Model& model, int64_t rows, int64_t views, DType type, uint64_t seed) {
  const ImageShape image = model.image();
  const int64_t labels = model.labels();
  ExampleBatch batch;
  batch.images = random_tensor({rows, views, image.height, image.width, image.channels}, type, seed);
  batch.targets = Tensor::zeros({rows, views, labels}, type);
  batch.weights = Tensor::zeros({rows, views}, type);
  PhiloxStream random(seed, 77);
  dispatch(type, [&]<class T>() {
    for (int64_t i = 0; i < rows * views; ++i) {
      T* target = batch.targets.data<T>() + i * labels;
      target[random.below(static_cast<uint32_t>(labels))] += T(0.75);
      target[random.below(static_cast<uint32_t>(labels))] += T(0.25);
    }
    for (int64_t n = 0; n < rows; ++n) {
      std::vector<uint32_t> parts;
      uint32_t sum = 0;
      for (int64_t v = 0; v < views; ++v) sum += parts.emplace_back(1 + random.below(3));
      for (int64_t v = 0; v < views; ++v)
        batch.weights.data<T>()[n * views + v] =
            static_cast<T>(static_cast<float>(parts[static_cast<size_t>(v)]) / static_cast<float>(sum));
    }
  });
  for (int64_t n = 0; n < rows; ++n) batch.units.push_back({{n}});
  batch.is_real.assign(static_cast<size_t>(rows), 1);
  return batch;
}

// These rows of a batch, in this order, in memory of their own.
inline ExampleBatch pick_rows(const ExampleBatch& batch, const std::vector<int64_t>& rows) {
  const auto pick = [&](const Tensor& all) { return pick_rows(all, rows); };
  ExampleBatch some{pick(batch.images), pick(batch.targets), pick(batch.weights), {}, {}};
  for (int64_t n : rows) {
    some.units.push_back(batch.units[static_cast<size_t>(n)]);
    some.is_real.push_back(batch.is_real[static_cast<size_t>(n)]);
  }
  return some;
}

inline std::vector<int64_t> all_rows(const ExampleBatch& batch) {
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < batch.rows(); ++n) rows.push_back(n);
  return rows;
}

}  // namespace pergrad::test
