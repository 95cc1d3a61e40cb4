// What several rungs use: sources whose rows the audit chooses, plans near the subject's, integers.
#pragma once

#include "core/philox.h"
#include "core/rng.h"
#include "core/sources.h"
#include "dp/clip_and_sum.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"
#include "dp/plan.h"

#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pergrad::audit {

// Numbers at the edge of float.
inline constexpr float kTiny = std::numeric_limits<float>::denorm_min();
inline constexpr float kInf = std::numeric_limits<float>::infinity();

// Views that say nothing but who they are.
struct NamedUnits : ExampleSource {
  bool takes_threads() const override { return true; }
  ExampleBatch views(std::span<const Unit> units, int64_t) override {
    ExampleBatch batch;
    batch.images = Tensor::zeros({static_cast<int64_t>(units.size()), 1, 1, 1, 1}, DType::f32);
    batch.units.assign(units.begin(), units.end());
    batch.is_real.assign(units.size(), 1);
    return batch;
  }
};

// The row [P] of a unit is what `write` makes of its ids, on any thread; it starts as zeros.
struct ChosenRows : GradientSource {
  ChosenRows(int64_t parameters, std::function<void(const Unit&, std::span<float>)> write)
      : P(parameters), write_row(std::move(write)) {}
  int64_t parameter_count() const override { return P; }
  bool prepare_for_threads() override { return true; }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    const auto N = static_cast<int64_t>(batch.units.size());
    Tensor slab = Tensor::zeros({N, P}, DType::f32);
    for (int64_t n = 0; n < N; ++n)
      write_row(batch.units[static_cast<size_t>(n)],
                slab.values<float>().subspan(static_cast<size_t>(n * P), static_cast<size_t>(P)));
    return {std::move(slab), std::move(batch.is_real)};
  }
  int64_t P;
  std::function<void(const Unit&, std::span<float>)> write_row;
};

// One row as what clip_and_sum consumes.
inline PerExampleGradient one_row(std::span<const float> row) {
  Tensor slab = Tensor::empty({1, static_cast<int64_t>(row.size())}, DType::f32);
  std::ranges::copy(row, slab.data<float>());
  return {std::move(slab), {1}};
}

// Squares of grid integers, summed in 128 bits: a row of norm 2^44 has 2^88.
inline uint128_t squared_norm(std::span<const int64_t> v) {
  uint128_t total = 0;
  for (int64_t x : v) {
    const auto size = uint128_t{x < 0 ? -static_cast<uint64_t>(x) : static_cast<uint64_t>(x)};
    total += size * size;
  }
  return total;
}
inline uint128_t squared_bound(const dp::Plan& plan) {
  const auto clips = static_cast<uint128_t>(plan.sensitivity_in_clips());
  return clips * clips << (2 * plan->grid_bits);
}

// A plan's settings with names changed.
template <class Change>
dp::Plan plan_like(const dp::Plan& plan, const Change& change) {
  dp::PlanSettings settings = *plan.operator->();
  change(settings);
  return dp::Plan(std::move(settings));
}

// Whose draws a ledger records, where no sampler is at work.
constexpr std::string_view kSampler = "no sampler";

// A mechanism with a ledger of its own in a new file.
struct OwnMechanism {
  OwnMechanism(const dp::Plan& plan, const Key& key, const std::filesystem::path& folder,
               const std::string& name)
      : path(folder / (name + ".jsonl")), ledger(path.string(), plan), mechanism(plan, key, ledger) {}
  ~OwnMechanism() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  OwnMechanism(const OwnMechanism&) = delete;
  OwnMechanism& operator=(const OwnMechanism&) = delete;
  std::filesystem::path path;
  dp::Ledger ledger;
  dp::GaussianMechanism mechanism;
};

// Whether `action` throws an Error; another exception passes through.
template <class Action>
bool refused(const Action& action) {
  try {
    action();
  } catch (const Error&) {
    return true;
  }
  return false;
}

}  // namespace pergrad::audit
