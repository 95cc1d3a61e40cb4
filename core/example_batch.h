// ExampleBatch and PerExampleGradient: what goes into a model and what comes out, one row per example.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace pergrad {

// One row of a step: the ids whose views together make one gradient. One id each, except in the microbatch
// mode, where a row is a group and its sensitivity is counted accordingly.
struct Unit {
  std::vector<int64_t> ids;
};

// The views of N rows.
//   images  [N, V, H, W, C] f32, normalised;   targets [N, V, L] f32, soft labels;
//   weights [N, V] f32: what each view counts in the mean over the views of its row (each row sums to 1;
//           1/V unless a row has fewer views than V, whose places are zero images of weight 0);
//   is_real [N]: 0 for padding rows, which count nothing.
struct ExampleBatch {
  Tensor images;
  Tensor targets;
  Tensor weights;
  std::vector<Unit> units;
  std::vector<uint8_t> is_real;

  int64_t rows() const { return images.dim(0); }
  int64_t views() const { return images.dim(1); }
};

// Gradients [N, P] of the mean loss over the views of each row, not summed over anything else. Move-only: the
// only consumer is dp::clip_and_sum (or its non-private twin).
class PerExampleGradient {
 public:
  PerExampleGradient(Tensor slab, std::vector<uint8_t> is_real)
      : slab_(std::move(slab)), is_real_(std::move(is_real)) {
    PG_CHECK(slab_.rank() == 2 && slab_.dim(0) == static_cast<int64_t>(is_real_.size()),
             "per-example gradient: slab ", to_string(slab_.shape()), " for ", is_real_.size(), " rows");
  }
  PerExampleGradient(PerExampleGradient&&) = default;
  PerExampleGradient& operator=(PerExampleGradient&&) = default;

  int64_t rows() const { return slab_.dim(0); }
  int64_t parameters() const { return slab_.dim(1); }
  const Tensor& slab() const { return slab_; }
  bool is_real(int64_t n) const { return is_real_[static_cast<size_t>(n)] != 0; }

 private:
  Tensor slab_;
  std::vector<uint8_t> is_real_;
};

}  // namespace pergrad
