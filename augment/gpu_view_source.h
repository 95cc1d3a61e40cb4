// GpuViewSource: the views of ViewSource, made on a GPU from images that stay there.
//
// Which views is drawn on the processor, by the same text (ViewSource::draw: well below a microsecond a
// view); the GPU makes their pixels (view_kernels.h). The numbers are those of ViewSource, bit for bit.
#pragma once

#include "augment/view_source.h"
#include "core/gpu/device_array.h"

namespace pergrad::augment {

class GpuViewSource final : public ExampleSource {
 public:
  // source, data and pool outlive this; they are those that `source` was made of. Uploads all images.
  GpuViewSource(ViewSource& source, const Dataset& data, const PublicPool* pool, Device device);

  // The batch of source.views(units, step), on the GPU. Where micro-batches are mixed, which has no recipes,
  // it is made on the processor and comes from there.
  ExampleBatch views(std::span<const Unit> units, int64_t step) override;

 private:
  ViewSource& source_;
  Gpu& gpu_;
  DeviceArray<uint8_t> pixels_, pool_pixels_;
  DeviceArray<int32_t> labels_, pool_labels_;
  DeviceArray<float> table_;
  DeviceArray<int64_t> ids_;
  DeviceArray<ViewRecipe> recipes_;
  PublicInputs open_;
  ViewPlan plan_;
  Workspace workspace_;
};

}  // namespace pergrad::augment
