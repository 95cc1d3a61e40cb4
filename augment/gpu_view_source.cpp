// Recipes go up, views stay there.
#include "augment/gpu_view_source.h"

#include "augment/view_kernels.h"
#include "core/gpu/launch.h"

namespace pergrad::augment {

GpuViewSource::GpuViewSource(ViewSource& source, const Dataset& data, const PublicPool* pool, Device device)
    : source_(source),
      gpu_(Gpu::of(device)),
      pixels_(device, data.pixels),
      pool_pixels_(device),
      labels_(device, data.labels),
      pool_labels_(device),
      table_(device),
      ids_(device),
      recipes_(device),
      open_(source.public_inputs()),
      workspace_(device) {
  table_.upload({open_.table, static_cast<size_t>(open_.channels * 256)});
  if (pool) {
    pool_pixels_.upload(pool->dataset().pixels);
    pool_labels_.upload(pool->dataset().labels);
  }
  open_.table = table_.device_data();
  open_.pool_pixels = pool_pixels_.device_data();
  open_.pool_labels = pool_labels_.device_data();
}

ExampleBatch GpuViewSource::views(std::span<const Unit> units, int64_t step) {
  if (source_.mixes_within_units()) return source_.views(units, step);
  source_.draw(units, step, plan_);
  ids_.upload(plan_.ids);
  recipes_.upload(plan_.recipes);
  const int64_t views = plan_.lists * plan_.views;
  ExampleBatch batch;
  batch.images =
      Tensor::empty({plan_.rows, views, open_.height, open_.width, open_.channels}, DType::f32, workspace_);
  batch.targets = Tensor::empty({plan_.rows, views, open_.label_count}, DType::f32, workspace_);
  batch.weights = Tensor::empty({plan_.rows, views}, DType::f32, workspace_);
  batch.weights.assign(Tensor::of<float>({plan_.rows, views}, plan_.weights));
  launch_each(gpu_, batch.images.size(),
              WriteView{open_, pixels_.device_data(), ids_.device_data(), recipes_.device_data(), plan_.views,
                        batch.images.device_data<float>()});
  launch_each(gpu_, batch.targets.size(),
              WriteTarget{open_, labels_.device_data(), ids_.device_data(), recipes_.device_data(),
                          plan_.views, batch.targets.device_data<float>()});
  batch.units.assign(units.begin(), units.end());
  for (const Unit& unit : units) batch.is_real.push_back(unit.ids.empty() ? 0 : 1);
  return batch;
}

}  // namespace pergrad::augment
