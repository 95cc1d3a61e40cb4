// ClippedSum and clip_and_sum: the one place where examples meet.
#pragma once

#include "core/example_batch.h"
#include "dp/plan.h"

#include <cstdint>
#include <span>

namespace pergrad::dp {

// The sum of clipped rows so far: integers in units of clip_norm * 2^-grid_bits. Move-only.
//   Guarantee: integers add associatively: neither order, chunks, threads nor devices can change the sum.
class ClippedSum {
 public:
  // Zero, the sum over nobody, where the rows will be.   THROWS: Error if parameters < 1.
  ClippedSum(const Plan& plan, int64_t parameters, Device device = {});
  ClippedSum(ClippedSum&&) = default;
  ClippedSum& operator=(ClippedSum&&) = default;

  int64_t parameters() const { return values_.defined() ? values_.size() : 0; }  // 0: used up
  Device device() const { return values_.device(); }
  bool made_for(const Plan& plan) const {
    return clip_norm_ == plan->clip_norm && grid_bits_ == plan->grid_bits;
  }
  // Adds a sum that another thread made, and uses it up. On the processor.
  //   THROWS: PrivacyError if one was made for another plan or size, or they have too many rows together.
  void add(ClippedSum&& other, const Plan& plan);
  // [P], before noise: on the processor (downloaded at each call, if it is not there), and where they are.
  std::span<const int64_t> nonprivate_values() const;
  const int64_t* nonprivate_device_values() const { return values_.device_data<int64_t>(); }

 private:
  friend void clip_and_sum(PerExampleGradient&&, const Plan&, ClippedSum&);
  Tensor values_;   // i64 [P]
  Tensor on_host_;  // where nonprivate_values() is: the same, or a download
  double clip_norm_;
  int grid_bits_;
  int64_t rows_ = 0;  // real rows so far, for the range proof
};

// clip_and_sum(rows, plan, sum): sum += the clipped rows. The only function that sums over examples.
//   rows [N,P] f32; consumed.
//   Guarantee: row n adds an integer vector that is a function of row n and the plan alone, of L2 norm
//   <= 2^grid_bits exactly (proof: clip_kernels.h). A row that is padding, or holds a number that is not
//   finite, adds nothing, by a branch: 0 * NaN never reaches the sum.
//   Units: clip_norm in gradient L2 units; the sum in clip_norm * 2^-grid_bits.
//   THROWS: PrivacyError for a sum of another clip norm or grid, or for more than plan->max_examples rows.
//   Cost: 2 passes over rows, 1 over sum.
void clip_and_sum(PerExampleGradient&& rows, const Plan& plan, ClippedSum& sum);

}  // namespace pergrad::dp
