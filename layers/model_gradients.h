// ModelGradients: the rows of a batch under a model. On the CPU one thread owns one example.
#pragma once

#include "core/exec.h"
#include "core/sources.h"
#include "layers/models.h"

#include <memory>
#include <vector>

namespace pergrad {

// What a training loop needs to know of either device's source of gradients.
class ModelRows : public GradientSource {
 public:
  // Loss of each row in the last call: computed from private data, for statistics that were asked for only.
  virtual std::vector<float> nonprivate_losses() const = 0;
};

class ModelGradients : public ModelRows {
 public:
  // The model must outlive this; its parameters may change between calls.
  ModelGradients(Model& model, CpuExec exec);

  int64_t parameter_count() const override { return model_.parameters().size(); }
  // Row n = gradient of the weighted mean loss over the views of row n. Each row is walked on a tape of its
  // own, a few views at a time, so its bits depend on neither the other rows, nor the threads, nor the chunk.
  // The rows share memory that the next call writes over: consume them first, as clip_and_sum does.
  PerExampleGradient rows(ExampleBatch&& batch) override;
  std::vector<float> nonprivate_losses() const override { return nonprivate_losses_; }
  // Views that go through the model at a time: as many as keep a thread's activations in its cache. A
  // function of the model alone.
  int64_t views_per_pass() const { return views_per_pass_; }

 private:
  Model& model_;
  CpuExec exec_;
  std::vector<std::unique_ptr<Workspace>> workspaces_;  // one a thread
  std::vector<float> nonprivate_losses_;
  int64_t views_per_pass_ = 1;
  Tensor slab_;  // kept between calls
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
