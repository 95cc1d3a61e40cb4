// What the benchmarks share: clocks, and synthetic data.
#pragma once

#include "core/dataset.h"
#include "core/philox.h"
#include "core/tensor.h"
#include "dp/plan.h"
#include "layers/module.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace pergrad::apps {

inline double seconds_of(const auto& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Median of at least three calls and at least `least` seconds, after one for warming up.
inline double median_seconds(double least, const auto& f) {
  f();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 3 || (total < least && times.size() < 200)) {
    times.push_back(seconds_of(f));
    total += times.back();
  }
  return median(std::move(times));
}

inline Tensor random_tensor(Shape shape, uint64_t seed) {
  Tensor t = Tensor::empty(std::move(shape), DType::f32);
  PhiloxStream random(seed, 0);
  for (float& v : t.values<float>()) v = static_cast<float>(2 * random.uniform() - 1);
  return t;
}

inline dp::Plan bench_plan(int64_t examples, double clip_norm) {
  dp::PlanSettings settings;
  settings.sampling_rate = 0.5;
  settings.noise_multiplier = 1;
  settings.clip_norm = clip_norm;
  settings.steps = int64_t{1} << 30;
  settings.expected_batch = static_cast<double>(examples);
  settings.delta = 1e-5;
  settings.max_examples = 2 * examples;
  settings.noise_source = "reproducible";
  return dp::Plan(settings);
}

inline Dataset synthetic_images(int64_t n, ImageShape shape, int64_t labels) {
  Dataset data;
  data.name = "synthetic";
  data.height = shape.height;
  data.width = shape.width;
  data.channels = shape.channels;
  data.label_count = labels;
  data.pixels.resize(static_cast<size_t>(n * shape.size()));
  PhiloxStream random(7, 0);
  for (uint8_t& pixel : data.pixels) pixel = static_cast<uint8_t>(random.next_u32() >> 24);
  for (int64_t i = 0; i < n; ++i) data.labels.push_back(static_cast<int32_t>(i % labels));
  data.fingerprint = dataset_fingerprint(data);
  return data;
}

}  // namespace pergrad::apps
