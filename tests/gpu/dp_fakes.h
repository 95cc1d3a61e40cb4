// Rows on a GPU, for the tests of dp/ there; the same rows as on the processor (tests/privacy/fakes.h).
#pragma once

#include "tests/privacy/fakes.h"

namespace pergrad::dp {

using Rows = std::vector<std::vector<float>>;

inline PerExampleGradient rows_on(Device device, const Rows& rows, std::vector<uint8_t> is_real = {}) {
  if (is_real.empty()) is_real.assign(rows.size(), 1);
  return {rows_of(rows).slab().to(device), std::move(is_real)};
}

inline std::vector<int64_t> integers(const ClippedSum& sum) {
  const std::span<const int64_t> values = sum.nonprivate_values();
  return {values.begin(), values.end()};
}

// The integer sum of rows given in chunks of so many.
inline std::vector<int64_t> clipped_on(Device device, const Plan& plan, const Rows& rows,
                                       size_t chunk = 1000) {
  ClippedSum sum(plan, static_cast<int64_t>(rows.at(0).size()), device);
  for (size_t begin = 0; begin < rows.size(); begin += chunk) {
    const auto from = rows.begin() + static_cast<std::ptrdiff_t>(begin);
    const size_t size = std::min(chunk, rows.size() - begin);
    clip_and_sum(rows_on(device, {from, from + static_cast<std::ptrdiff_t>(size)}), plan, sum);
  }
  return integers(sum);
}

// The fake gradients, made on a GPU.
struct GpuGradients : FakeGradients {
  Device where;
  GpuGradients(int64_t parameters, Device device) : FakeGradients(parameters), where(device) {}
  Device device() const override { return where; }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    std::vector<uint8_t> is_real = batch.is_real;
    return {FakeGradients::rows(std::move(batch)).slab().to(where), std::move(is_real)};
  }
};

}  // namespace pergrad::dp
