// GpuModelGradients: the rows of a batch under a model on a GPU, a chunk of examples at a time.
#pragma once

#include "layers/model_gradients.h"

#include <memory>
#include <string>

namespace pergrad {

// How a model trains on a GPU: decided once, before the first step, from the model and the memory.
struct GpuPlan {
  GpuConvSettings conv;
  int64_t chunk_rows = 0;  // examples on the GPU at a time; always so many, padding included
  size_t bytes = 0;        // activations, rows of gradients, weights and scratch of a chunk; and evaluation
};

// The largest chunk of at most about a thousand images that fits into `memory` bytes.
//   views: V of a batch; most_rows: no more examples at a time (0 = no limit).
//   The number of images a library call (conv.images_per_call) depends on V and most_rows alone, so that rows
//   do not depend on the memory.   Nothing runs: the step is walked on the planning device.
//   THROWS: DeviceError if not even one call fits, with what it would take.
GpuPlan plan_for_gpu(const ModelSettings& settings, ImageShape image, int64_t labels, int64_t views,
                     Precision precision, size_t memory, int64_t most_rows);

class GpuModelGradients : public ModelRows {
 public:
  // The model must outlive this, and is on a GPU with the plan's conv settings.
  GpuModelGradients(Model& model, int64_t views, int64_t chunk_rows);

  int64_t parameter_count() const override { return model_.parameters().size(); }
  Device device() const override { return model_.device(); }
  // Row n = gradient of the weighted mean loss over the views of row n, as ModelGradients does. At most
  // chunk_rows rows, from either device; the GPU always works on chunk_rows, the rest being zeros. The first
  // call runs op by op, the second captures what it asks for, later ones replay that: the same kernels on the
  // same memory. The rows share memory that the next call writes over.
  using ModelRows::rows;
  PerExampleGradient rows(ExampleBatch&& batch, std::vector<float>* nonprivate_losses) override;
  // Tries on random images that an example's row has the same bits at another place among other examples,
  // which is the libraries' doing; and that captured work gives the bits of work done op by op.
  //   THROWS: PrivacyError if not.   Cost: two chunks.
  void require_independent_rows();
  size_t bytes_reserved() const { return workspace_.bytes_reserved(); }

 private:
  void walk();
  Model& model_;
  Gpu& gpu_;
  int64_t chunk_rows_;
  Workspace workspace_;  // of nothing else: captured work knows its addresses
  Tensor images_, targets_, weights_, slab_, losses_;
  bool warm_ = false;
  std::unique_ptr<GpuGraph> graph_;
};

}  // namespace pergrad
