// WeightTape and WeightSlots.
#include "autograd/weights.h"

#include "autograd/weight_kernels.h"
#include "core/gpu/launch.h"

#include <algorithm>

namespace pergrad {

WeightVar WeightTape::leaf(Tensor value, int64_t column) {
  PG_CHECK(column >= 0, "weight: leaf at column ", column);
  columns_ = std::max(columns_, column + value.size());
  entries_.push_back({std::move(value), column, nullptr});
  return {static_cast<int32_t>(entries_.size()) - 1};
}

WeightVar WeightTape::derive(Tensor value, std::unique_ptr<WeightNode> node) {
  entries_.push_back({std::move(value), -1, std::move(node)});
  return {static_cast<int32_t>(entries_.size()) - 1};
}

DType WeightTape::activations() const {
  if (!device_.is_cpu()) return activation_type(conv_.precision);
  return entries_.empty() ? DType::f32 : entries_[0].value.dtype();
}

void WeightTape::keep_fresh(std::function<void()> work) {
  work();
  refresh_.push_back(std::move(work));
}

void WeightTape::clear() {
  entries_.clear();
  refresh_.clear();
  columns_ = 0;
}

WeightSlots::WeightSlots(const WeightTape& tape, Tensor slab, Workspace& workspace)
    : tape_(tape), slab_(std::move(slab)) {
  PG_CHECK(slab_.rank() == 2 && slab_.dim(1) >= tape.columns(), "weight slots: slab ",
           to_string(slab_.shape()), ", wanted [N,", tape.columns(), "]");
  const bool on_gpu = !slab_.device().is_cpu();
  PG_CHECK(slab_.device() == tape.device(), "weight slots: slab on ", slab_.device().name(), ", weights on ",
           tape.device().name());
  if (on_gpu)
    used_.resize(tape.entries_.size(), false);
  else
    slab_.fill(0);
  for (const auto& entry : tape.entries_) {
    if (!entry.node)
      derived_.emplace_back();
    else if (on_gpu)
      derived_.push_back(Tensor::empty({slab_.dim(0), entry.value.size()}, slab_.dtype(), workspace));
    else
      derived_.push_back(Tensor::zeros({slab_.dim(0), entry.value.size()}, slab_.dtype(), workspace));
  }
}

GradientRows WeightSlots::gathered(WeightVar w) const {
  const auto i = static_cast<size_t>(w.index);
  const Tensor& own = derived_.at(i);
  if (own.defined()) return {own.device_data<float>(), own.dim(1), used_[i]};
  return {slab_.device_data<float>() + tape_.entries_[i].column, slab_.dim(1), used_[i]};
}

GradientRows WeightSlots::rows_of(WeightVar w) {
  const GradientRows rows = gathered(w);
  used_[static_cast<size_t>(w.index)] = true;
  return rows;
}

void WeightSlots::finish() {
  if (!slab_.device().is_cpu()) return finish_on_gpu();
  for (size_t i = tape_.entries_.size(); i-- > 0;)
    if (const auto& node = tape_.entries_[i].node)
      for (int64_t n = 0; n < rows(); ++n) node->backward_row(*this, {static_cast<int32_t>(i)}, n);
}

void WeightSlots::finish_on_gpu() {
  Gpu& gpu = Gpu::of(slab_.device());
  for (size_t i = tape_.entries_.size(); i-- > 0;) {
    const auto& entry = tape_.entries_[i];
    const WeightVar w{static_cast<int32_t>(i)};
    if (entry.node) {
      if (used_[i]) entry.node->backward_rows(*this, w);
    } else if (!used_[i]) {
      launch_each(gpu, rows() * entry.value.size(),
                  kernels::ZeroColumns{gathered(w).first, entry.value.size(), slab_.dim(1)});
    }
  }
}

}  // namespace pergrad
