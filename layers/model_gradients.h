// ModelGradients: the rows of a batch under a model. On the CPU one thread owns one example.
#pragma once

#include "core/exec.h"
#include "core/row_memory.h"
#include "core/sources.h"
#include "core/spares.h"
#include "layers/models.h"

#include <vector>

namespace pergrad {

// What a training loop needs to know of either device's source of gradients.
class ModelRows : public GradientSource {
 public:
  PerExampleGradient rows(ExampleBatch&& batch) override { return rows(std::move(batch), nullptr); }
  // The same; nonprivate_losses, if any, becomes the loss of each row, 0 for padding: computed from private
  // data, for statistics that were asked for only.
  virtual PerExampleGradient rows(ExampleBatch&& batch, std::vector<float>* nonprivate_losses) = 0;
};

class ModelGradients : public ModelRows {
 public:
  // The model must outlive this; its parameters may change between calls.
  ModelGradients(Model& model, CpuExec exec);

  int64_t parameter_count() const override { return model_.parameters().size(); }
  // Row n = gradient of the weighted mean loss over the views of row n. Each row is walked on a tape of its
  // own, a few views at a time, so its bits depend on neither the other rows, nor the threads, nor the chunk.
  // Their memory is used again when the last owner lets go of it. Any thread may call this.
  using ModelRows::rows;
  PerExampleGradient rows(ExampleBatch&& batch, std::vector<float>* nonprivate_losses) override;
  bool prepare_for_threads() override {
    model_.prepared(exec_);
    return true;
  }
  // Views that go through the model at a time: as many as keep a thread's activations in its cache. A
  // function of the model alone.
  int64_t views_per_pass() const { return views_per_pass_; }

 private:
  Model& model_;
  CpuExec exec_;
  Spares<Workspace> workspaces_;  // of tapes
  RowMemory slabs_;
  int64_t views_per_pass_ = 1;
};

// Fraction of images whose largest logit is the true label, and the mean cross-entropy.
struct Score {
  int64_t images = 0;
  int64_t correct = 0;
  double loss = 0;
  double accuracy() const {
    return images ? static_cast<double>(correct) / static_cast<double>(images) : 0.0;
  }
};
// Logits [N, L] of images [N, 1, H, W, C], one view each; both on the processor, whatever the model's device.
Tensor predict(Model& model, const Tensor& images, const CpuExec& exec);
// Adds a batch of predictions to a score; labels [N].
void add_to_score(Score& score, const Tensor& logits, std::span<const int32_t> labels);

}  // namespace pergrad
