// Compute: where a run makes its views and gradients. On the processor one thread owns one example; on a GPU
// a chunk of examples is walked at once. Decided before the first step, from public things alone.
#pragma once

#include "apps/config.h"
#include "augment/gpu_view_source.h"
#include "augment/view_source.h"
#include "layers/gpu_model_gradients.h"
#include "layers/model_gradients.h"

#include <memory>
#include <string>

namespace pergrad::apps {

// What is decided.
struct ComputePlan {
  Device device;
  Precision precision = Precision::fp32;
  GpuConvSettings conv;     // on a GPU
  int64_t chunk_rows = 1;   // units in memory at a time
  size_t device_bytes = 0;  // that they take on a GPU
  std::string text;         // one line for people; empty on the processor
};
// views: V of a batch.   data_bytes: of the images that stay on the GPU.   parameters: P.
//   THROWS: DeviceError if the device is not there, or not even one example fits.
ComputePlan plan_compute(const Config& config, ImageShape image, int64_t labels, int64_t parameters,
                         int64_t views, size_t data_bytes, const CpuExec& exec);

// P of the model of a config.
int64_t parameter_count(const ModelSettings& settings, ImageShape image, int64_t labels);

// The two sources of a training loop, on the planned device.
class Compute {
 public:
  // model: on the plan's device, with its conv settings. views, data and pool outlive this.
  //   THROWS: PrivacyError on a GPU whose rows depend on each other.
  Compute(const ComputePlan& plan, Model& model, augment::ViewSource& views, const Dataset& data,
          const augment::PublicPool* pool, const CpuExec& exec);
  ExampleSource& examples();
  ModelRows& gradients() { return *gradients_; }

 private:
  augment::ViewSource& views_;
  std::unique_ptr<augment::GpuViewSource> gpu_views_;
  std::unique_ptr<ModelRows> gradients_;
};

}  // namespace pergrad::apps
