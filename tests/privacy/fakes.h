// Small stand-ins for the floors above and below dp/, and the statistics that the tests share.
#pragma once

#include "core/philox.h"
#include "core/sources.h"
#include "dp/clip_and_sum.h"
#include "dp/plan.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::dp {

__extension__ typedef __int128 int128;

// A plan whose every number differs from 1, so that one that is left out shows.
inline PlanSettings settings() {
  PlanSettings s;
  s.sampling_rate = 0.125;
  s.noise_multiplier = 1.7;
  s.clip_norm = 0.3;
  s.steps = 1000;
  s.expected_batch = 12.5;
  s.delta = 1e-5;
  s.max_examples = 100000;
  return s;
}

inline PerExampleGradient rows_of(const std::vector<std::vector<float>>& rows,
                                  std::vector<uint8_t> is_real = {}) {
  const auto N = static_cast<int64_t>(rows.size()), P = static_cast<int64_t>(rows.at(0).size());
  Tensor slab = Tensor::empty({N, P}, DType::f32);
  for (int64_t n = 0; n < N; ++n)
    std::copy_n(rows[static_cast<size_t>(n)].begin(), P, slab.data<float>() + n * P);
  if (is_real.empty()) is_real.assign(rows.size(), 1);
  return {std::move(slab), std::move(is_real)};
}

// Whose draws a ledger records, where none is at work.
constexpr std::string_view kSampler = "a sampler";

// The integer sum of rows given in one chunk.
inline std::vector<int64_t> clipped(const Plan& plan, const std::vector<std::vector<float>>& rows) {
  ClippedSum sum(plan, static_cast<int64_t>(rows.at(0).size()));
  clip_and_sum(rows_of(rows), plan, sum);
  return {sum.nonprivate_values().begin(), sum.nonprivate_values().end()};
}

// Rows at which a clip goes wrong, if it can.
inline std::vector<std::vector<float>> hostile_rows() {
  const float p27 = std::ldexp(1.0f, -27), tiny = std::numeric_limits<float>::denorm_min();
  return {{1, p27},  // the norm, 1 + 2^-55, rounds to 1: without a margin upward the sum is (2^F, 2^(F-27))
          {p27, 1, p27},
          {1, 0, p27, p27, p27, p27},
          {FLT_MAX},
          {-FLT_MAX, FLT_MAX, FLT_MAX},
          {FLT_MAX, tiny},
          {tiny},
          {tiny, tiny, tiny},
          {1e38f, 1e-38f, 1},
          {3, 4},
          {0.6f, 0.8f},
          {0.3f},
          {0.1f},
          {-1},
          {1},
          {std::nextafter(1.0f, 2.0f)},
          {std::nextafter(1.0f, 0.0f)},
          std::vector<float>(1000, FLT_MAX),
          std::vector<float>(1000, tiny),
          std::vector<float>(4096, 1.0f / 64),
          std::vector<float>(4097, 1),
          std::vector<float>(100000, 0.1f),
          {0},
          {-0.0f, 0.0f}};
}

inline int128 squared_norm(const std::vector<int64_t>& v) {
  int128 total = 0;
  for (int64_t x : v) total += static_cast<int128>(x) * x;
  return total;
}
inline int128 squared_bound(const Plan& plan, int64_t clips = 1) {
  return (static_cast<int128>(clips * clips)) << (2 * plan->grid_bits);
}

// A row of P numbers that depends on `id` alone, of a norm between about 0.01 and 10.
inline std::vector<float> row_of(int64_t id, int64_t P) {
  PhiloxStream random(77, static_cast<uint64_t>(id));
  std::vector<float> row(static_cast<size_t>(P));
  const double size = std::pow(10.0, 3 * random.uniform() - 2) / std::sqrt(static_cast<double>(P));
  for (float& x : row) x = static_cast<float>(size * random.normal());
  return row;
}

// Views that say nothing but who they are.
struct FakeExamples : ExampleSource {
  bool takes_threads() const override { return true; }
  int64_t padding = 0;  // rows added to every batch that count nothing
  ExampleBatch views(std::span<const Unit> units, int64_t) override {
    ExampleBatch batch;
    const auto N = static_cast<int64_t>(units.size()) + padding;
    batch.images = Tensor::zeros({N, 1, 1, 1, 1}, DType::f32);
    batch.units.assign(units.begin(), units.end());
    batch.units.resize(static_cast<size_t>(N));
    batch.is_real.assign(units.size(), 1);
    batch.is_real.resize(static_cast<size_t>(N), 0);
    return batch;
  }
};

// row(ids) -> gradient; padding rows are NaN.
struct FakeGradients : GradientSource {
  int64_t P;
  std::function<std::vector<float>(const std::vector<int64_t>&)> row;
  explicit FakeGradients(int64_t parameters)
      : P(parameters), row([this](const std::vector<int64_t>& ids) { return row_of(ids.at(0), P); }) {}
  int64_t parameter_count() const override { return P; }
  bool prepare_for_threads() override { return true; }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    std::vector<std::vector<float>> all;
    for (size_t n = 0; n < batch.units.size(); ++n)
      all.push_back(batch.is_real[n] ? row(batch.units[n].ids)
                                     : std::vector<float>(static_cast<size_t>(P), NAN));
    return rows_of(all, batch.is_real);
  }
};

// An empty folder that goes away with the object.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pergrad_XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string ledger() const { return (path / "ledger.jsonl").string(); }
};

inline std::string text_in(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
inline void put_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
inline int64_t lines_in(const std::string& path) {
  const std::string text = text_in(path);
  return std::count(text.begin(), text.end(), '\n');
}

// Every statistical check allows six standard deviations: a false alarm of 2e-9 each, below 1e-6 for all of a
// file together. Seeds are fixed besides.
constexpr double kSigmas = 6;
inline double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }
// The chi-square quantile at six standard deviations (Wilson and Hilferty 1931), upper and lower.
inline double chi_square_limit(double degrees, double z = kSigmas) {
  const double t = 2 / (9 * degrees);
  return degrees * std::pow(1 - t + z * std::sqrt(t), 3);
}
inline double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

}  // namespace pergrad::dp
