// GpuModelGradients: one tape for a chunk, captured once.
#include "layers/gpu_model_gradients.h"

#include "core/philox.h"

#include <algorithm>
#include <cstring>

namespace pergrad {

namespace {

constexpr int64_t kImagesPerCall = 256;  // of the library: fills a large GPU at every layer
constexpr int64_t kCallsPerChunk = 4;

// Bytes that a chunk of this many rows takes on a GPU, and beside it evaluation, which walks one call forward
// while the chunk's memory is kept.
size_t bytes_of(const ModelSettings& settings, ImageShape image, int64_t labels, int64_t views,
                const GpuConvSettings& conv, int64_t rows) {
  const Device planning = Device::parse("planning");
  Gpu& gpu = Gpu::of(planning);
  const size_t before = gpu.memory().free;
  Model model(settings, image, labels, planning, conv);
  model.parameters().allocate(DType::f32, Key{}, planning);
  GpuModelGradients gradients(model, views, rows);
  ExampleBatch batch;
  batch.images =
      Tensor::empty({rows, views, image.height, image.width, image.channels}, DType::f32, planning);
  batch.targets = Tensor::empty({rows, views, labels}, DType::f32, planning);
  batch.weights = Tensor::empty({rows, views}, DType::f32, planning);
  batch.is_real.assign(static_cast<size_t>(rows), 1);
  gradients.rows(std::move(batch));
  Workspace evaluation(planning);
  Tape tape(model.prepared(), nullptr, evaluation);
  model.forward(tape,
                tape.input(Tensor::empty({conv.images_per_call, 1, image.height, image.width, image.channels},
                                         DType::f32, evaluation)));
  return before - gpu.memory().free;
}

}  // namespace

GpuPlan plan_for_gpu(const ModelSettings& settings, ImageShape image, int64_t labels, int64_t views,
                     Precision precision, size_t memory, int64_t most_rows) {
  // From public things alone, never from the memory: it might change the library's rounding.
  int64_t per_call = std::max<int64_t>(1, kImagesPerCall / views);  // examples
  if (most_rows > 0) per_call = std::min(per_call, most_rows);
  GpuPlan plan;
  plan.conv.precision = precision;
  plan.conv.images_per_call = per_call * views;
  for (int64_t calls = kCallsPerChunk; calls >= 1; --calls) {
    if (most_rows > 0 && calls > 1 && calls * per_call > most_rows) continue;
    plan.chunk_rows = calls * per_call;
    plan.bytes = bytes_of(settings, image, labels, views, plan.conv, plan.chunk_rows);
    if (plan.bytes <= memory) return plan;
  }
  throw DeviceError(concat("gpu: ", per_call, " examples of ", views, " views take ", plan.bytes >> 20,
                           " MiB, ", memory >> 20, " MiB are to be had: set speed.max_examples to less than ",
                           per_call));
}

GpuModelGradients::GpuModelGradients(Model& model, int64_t views, int64_t chunk_rows)
    : model_(model), gpu_(Gpu::of(model.device())), chunk_rows_(chunk_rows), workspace_(model.device()) {
  PG_CHECK(chunk_rows >= 1 && chunk_rows * views % model.conv_settings().images_per_call == 0,
           "gpu: ", chunk_rows, " examples of ", views, " views, wanted a multiple of ",
           model.conv_settings().images_per_call, " images");
  const ImageShape image = model.image();
  const Device device = model.device();
  images_ = Tensor::zeros({chunk_rows, views, image.height, image.width, image.channels}, DType::f32, device);
  targets_ = Tensor::zeros({chunk_rows, views, model.labels()}, DType::f32, device);
  weights_ = Tensor::zeros({chunk_rows, views}, DType::f32, device);
  losses_ = Tensor::zeros({chunk_rows}, DType::f32, device);
  slab_ = Tensor::empty({chunk_rows, model.parameters().size()}, DType::f32, device);
}

void GpuModelGradients::walk() {
  const WeightTape& weights = model_.prepared();  // up to date: nothing is recomputed here
  WeightSlots slots(weights, slab_, workspace_);
  Tape tape(weights, &slots, workspace_);
  const Var logits = model_.forward(tape, tape.input(images_));
  const Var loss = soft_cross_entropy(tape, logits, targets_, weights_);
  losses_.assign(tape.value(loss));
  tape.backward(loss);
  slots.finish();
}

PerExampleGradient GpuModelGradients::rows(ExampleBatch&& batch, std::vector<float>* nonprivate_losses) {
  const int64_t rows = batch.rows();
  PG_CHECK(rows <= chunk_rows_ && batch.views() == images_.dim(1), "gpu: a batch of ", rows, " rows of ",
           batch.views(), " views, wanted at most ", chunk_rows_, " of ", images_.dim(1));
  model_.prepared();
  const auto fill = [&](const Tensor& to, const Tensor& from) {
    to.rows(0, rows).assign(from);
    to.rows(rows, chunk_rows_).fill(0);
  };
  fill(images_, batch.images);
  fill(targets_, batch.targets);
  fill(weights_, batch.weights);
  if (!warm_) {
    walk();
    warm_ = true;
  } else {
    if (!graph_) graph_ = gpu_.capture([this] { walk(); });
    graph_->replay();
  }
  if (nonprivate_losses) {
    const Tensor here = losses_.rows(0, rows).to(Device{});
    nonprivate_losses->assign(here.values<float>().begin(), here.values<float>().end());
  }
  return {slab_.rows(0, rows), std::move(batch.is_real)};
}

void GpuModelGradients::require_independent_rows() {
  const int64_t n = chunk_rows_, views = images_.dim(1);
  ExampleBatch batch;
  PhiloxStream random(20231, 0);
  const auto host = [&](const Tensor& like, const auto& draw) {
    Tensor t = Tensor::empty(like.shape(), DType::f32);
    for (float& v : t.values<float>()) v = draw();
    return t;
  };
  const Tensor images = host(images_, [&] { return static_cast<float>(4 * random.uniform() - 2); });
  const Tensor targets = host(targets_, [&] { return 1.0f / static_cast<float>(model_.labels()); });
  const Tensor weights = host(weights_, [&] { return 1.0f / static_cast<float>(views); });
  const auto rows_of = [&](const Tensor& some) {
    return rows({some, targets, weights, {}, std::vector<uint8_t>(static_cast<size_t>(n), 1)}).slab();
  };
  const Tensor before = rows_of(images).to(Device{});
  // Everybody one place further, and whoever is first now a stranger, and a loud one.
  const Tensor moved = Tensor::empty(images.shape(), DType::f32);
  moved.rows(0, 1).fill(1000);
  if (n > 1) moved.rows(1, n).assign(images.rows(0, n - 1));
  const Tensor after = rows_of(moved).to(Device{});
  const auto bytes = before.byte_size() / static_cast<size_t>(n);
  PG_CHECK_AS(PrivacyError,
              std::memcmp(before.device_bytes(), after.device_bytes() + bytes,
                          bytes * static_cast<size_t>(n - 1)) == 0,
              "gpu: the gradient of an example depends on its place or its neighbours in a batch (",
              cuda_versions(), "): the bound on one example's influence would not hold");
}

}  // namespace pergrad
