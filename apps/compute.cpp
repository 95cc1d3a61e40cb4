// plan_compute and Compute.
#include "apps/compute.h"

#include "apps/console.h"
#include "apps/planning.h"

#include <fmt/format.h>

namespace pergrad::apps {

int64_t parameter_count(const ModelSettings& settings, ImageShape image, int64_t labels) {
  return Model(settings, image, labels).parameters().size();
}

ComputePlan plan_compute(const Config& config, ImageShape image, int64_t labels, int64_t parameters,
                         int64_t views, size_t data_bytes, const CpuExec& exec) {
  ComputePlan plan;
  plan.device = config.speed.where();
  plan.precision = config.speed.computes_in();
  if (plan.device.is_cpu()) {
    plan.chunk_rows = chunk_rows(config.speed, parameters, views * (image.size() + labels + 1), exec.threads,
                                 config.privacy.non_private);
    return plan;
  }
  // Beside a chunk: images, parameters, their average, optimizer state, sum and release (at most 40 bytes a
  // parameter), a step's batch, and what libraries take for themselves.
  Gpu& gpu = Gpu::of(plan.device);
  constexpr size_t kLibraries = size_t{256} << 20;
  const size_t free = gpu.memory().free / 10 * 9;
  const size_t beside = kLibraries + data_bytes + static_cast<size_t>(parameters) * 40;
  PG_CHECK_AS(DeviceError, free > beside, "device: ", plan.device.name(), " has ", free >> 20,
              " MiB to be had, images and parameters take ", beside >> 20, " MiB");
  const GpuPlan gpu_plan = plan_for_gpu(config.model, image, labels, views, plan.precision, free - beside,
                                        config.speed.max_examples);
  plan.conv = gpu_plan.conv;
  plan.chunk_rows = gpu_plan.chunk_rows;
  plan.device_bytes = gpu_plan.bytes + beside;
  plan.text = fmt::format("{} ({}): {} at a time take {} of {}", plan.device.name(), gpu.title(),
                          plan.chunk_rows == 1 ? "1 example" : fmt::format("{} examples", plan.chunk_rows),
                          bytes_text(static_cast<double>(plan.device_bytes)),
                          bytes_text(static_cast<double>(gpu.memory().total)));
  return plan;
}

Compute::Compute(const ComputePlan& plan, Model& model, augment::ViewSource& views, const Dataset& data,
                 const augment::PublicPool* pool, const CpuExec& exec)
    : views_(views) {
  if (plan.device.is_cpu()) {
    gradients_ = std::make_unique<ModelGradients>(model, exec);
    return;
  }
  gpu_views_ = std::make_unique<augment::GpuViewSource>(views, data, pool, plan.device);
  auto gradients = std::make_unique<GpuModelGradients>(model, views.row_views(), plan.chunk_rows);
  gradients->require_independent_rows();
  gradients_ = std::move(gradients);
}

ExampleSource& Compute::examples() {
  if (gpu_views_) return *gpu_views_;
  return views_;
}

}  // namespace pergrad::apps
