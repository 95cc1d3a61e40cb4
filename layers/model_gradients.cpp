// ModelGradients: tapes over rows; predictions.
#include "layers/model_gradients.h"

#include "core/exec_rows.h"

#include <algorithm>
#include <cmath>

namespace pergrad {
namespace {

// Activations of one thread should stay in its second-level cache (1 MB on the machines measured). Counted
// are the values on the tape; bordered copies for convolutions come on top.
constexpr size_t kBytesPerPass = size_t{1} << 20;

// Views of row n up to the last that counts: the places of a row with fewer views than V have weight 0.
int64_t used_views(const Tensor& weights, int64_t n) {
  return dispatch(weights.dtype(), [&]<class T>() {
    const T* row = weights.data<T>() + n * weights.dim(1);
    int64_t used = weights.dim(1);
    while (used > 0 && row[used - 1] == T{0}) --used;
    return used;
  });
}

}  // namespace

ModelGradients::ModelGradients(Model& model, CpuExec exec) : model_(model), exec_(exec) {
  const ImageShape image = model.image();
  const auto workspace = workspaces_.take();
  Tape tape(model.prepared(), nullptr, *workspace);
  const DType type = model.parameters().flat().dtype();
  model.forward(tape, tape.input(Tensor::zeros({1, 1, image.height, image.width, image.channels}, type)));
  views_per_pass_ =
      std::max<int64_t>(1, static_cast<int64_t>(kBytesPerPass / std::max<size_t>(1, tape.value_bytes())));
}

PerExampleGradient ModelGradients::rows(ExampleBatch&& batch, std::vector<float>* nonprivate_losses) {
  const WeightTape& weights = model_.prepared(exec_);
  const DType type = model_.parameters().flat().dtype();
  const int64_t rows = batch.rows(), columns = parameter_count();
  PG_CHECK(batch.images.dtype() == type, "model: images and parameters differ in type");
  Tensor slab = slabs_.take(rows, {columns}, type);
  if (nonprivate_losses) nonprivate_losses->assign(static_cast<size_t>(rows), 0);

  for_each_row(exec_, rows, [&](int64_t n) {
    const auto lease = workspaces_.take();
    Workspace& workspace = *lease;
    if (!batch.is_real[static_cast<size_t>(n)]) return slab.rows(n, n + 1).fill(0);
    WeightSlots slots(weights, slab.rows(n, n + 1), workspace);
    const auto views_of = [&](const Tensor& all, int64_t first, int64_t last) {
      Shape flat = all.shape();
      flat.erase(flat.begin());
      const Tensor row = all.rows(n, n + 1).reshape(flat).rows(first, last);
      Shape one = row.shape();
      one.insert(one.begin(), 1);
      return row.reshape(one);
    };
    const int64_t used = used_views(batch.weights, n);
    for (int64_t first = 0; first < used; first += views_per_pass_) {
      const int64_t last = std::min(used, first + views_per_pass_);
      Tape tape(weights, &slots, workspace);
      const Var logits = model_.forward(tape, tape.input(views_of(batch.images, first, last)));
      const Var loss = soft_cross_entropy(tape, logits, views_of(batch.targets, first, last),
                                          views_of(batch.weights, first, last));
      if (nonprivate_losses)
        dispatch(type, [&]<class T>() {
          (*nonprivate_losses)[static_cast<size_t>(n)] += static_cast<float>(tape.value(loss).data<T>()[0]);
        });
      tape.backward(loss);
    }
    slots.finish();
  });
  return {std::move(slab), std::move(batch.is_real)};
}

namespace {

// A fixed number of images a call of the library; the last ones may be padding.
Tensor predict_on_gpu(Model& model, const Tensor& images) {
  const WeightTape& weights = model.prepared();
  const int64_t n = images.dim(0), call = model.conv_settings().images_per_call;
  Workspace workspace(model.device());
  Tensor logits = Tensor::empty({n, model.labels()}, DType::f32);
  Shape shape = images.shape();
  shape[0] = call;
  const Tensor some = Tensor::zeros(shape, DType::f32, workspace);
  for (int64_t first = 0; first < n; first += call) {
    const int64_t count = std::min(call, n - first);
    some.rows(0, count).assign(images.rows(first, first + count));
    Tape tape(weights, nullptr, workspace);
    const Tensor out = tape.value(model.forward(tape, tape.input(some))).reshape({call, model.labels()});
    logits.rows(first, first + count).assign(out.rows(0, count));
  }
  return logits;
}

}  // namespace

Tensor predict(Model& model, const Tensor& images, const CpuExec& exec) {
  if (!model.device().is_cpu()) return predict_on_gpu(model, images);
  const WeightTape& weights = model.prepared(exec);
  Spares<Workspace> workspaces;
  Tensor logits = Tensor::empty({images.dim(0), model.labels()}, images.dtype());
  for_each_row(exec, images.dim(0), [&](int64_t n) {
    const auto workspace = workspaces.take();
    Tape tape(weights, nullptr, *workspace);
    const Tensor& out = tape.value(model.forward(tape, tape.input(images.rows(n, n + 1))));
    dispatch(images.dtype(), [&]<class T>() {
      std::copy_n(out.data<T>(), model.labels(), logits.data<T>() + n * model.labels());
    });
  });
  return logits;
}

void add_to_score(Score& score, const Tensor& logits, std::span<const int32_t> labels) {
  const int64_t classes = logits.dim(1);
  for (size_t i = 0; i < labels.size(); ++i) {
    const float* z = logits.data<float>() + static_cast<int64_t>(i) * classes;
    const float* top = std::max_element(z, z + classes);
    double sum = 0;
    for (int64_t l = 0; l < classes; ++l) sum += std::exp(static_cast<double>(z[l] - *top));
    score.loss -= z[labels[i]] - *top - std::log(sum);
    score.correct += top - z == labels[i];
    ++score.images;
  }
}

}  // namespace pergrad
