// The non-private twin: what training without a guarantee uses, under names that grep.
#pragma once

#include "core/exec.h"
#include "core/sources.h"

#include <cstdint>
#include <span>

namespace pergrad::dp {

// Plain sum of rows in double, and how many there were. No clip, no noise, no guarantee.
struct NonPrivateSum {
  explicit NonPrivateSum(int64_t parameters, Device device = {})
      : values(Tensor::zeros({parameters}, DType::f64, device)) {}
  Tensor values;  // [P] f64, where the rows are
  int64_t rows = 0;
};

// The ordinary mean gradient of a batch, [P] f32.
class NonPrivateGradient {
 public:
  const Tensor& values() const { return values_; }

 private:
  friend NonPrivateGradient mean_of_rows(NonPrivateSum&& sum);
  explicit NonPrivateGradient(Tensor values) : values_(std::move(values)) {}
  Tensor values_;
};

// sum += rows [N,P] f32, padding left out: for each column a left fold in the order of the rows, so that the
// result does not depend on chunks or threads.
void add_rows(PerExampleGradient&& rows, NonPrivateSum& sum, const CpuExec& exec);
// sum / number of rows; zero if there were none.
NonPrivateGradient mean_of_rows(NonPrivateSum&& sum);

// The twin of private_step: the mean gradient of these units.
NonPrivateGradient nonprivate_step(std::span<const Unit> units, ExampleSource& examples,
                                   GradientSource& gradients, int64_t step, int64_t chunk_rows,
                                   const CpuExec& exec);

}  // namespace pergrad::dp
