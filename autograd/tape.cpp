// Tape: recording, and the walk back.
#include "autograd/tape.h"

#include "autograd/elementwise_kernels.h"

#include <utility>

namespace pergrad {

Tape::Tape(const WeightTape& weights, WeightSlots* slots, Workspace& workspace)
    : weights_(weights),
      slots_(slots),
      workspace_(workspace),
      gpu_(workspace.device().is_cpu() ? nullptr : &Gpu::of(workspace.device())) {
  vars_.reserve(16);
}

Var Tape::input(Tensor value, bool needs_gradient) {
  dtype_ = value.dtype();
  vars_.push_back({std::move(value), {}, nullptr, needs_gradient && recording()});
  return {static_cast<int32_t>(vars_.size()) - 1};
}

Var Tape::record(Tensor value, std::unique_ptr<Node> node) {
  const bool walk = recording() && node;
  vars_.push_back({std::move(value), {}, walk ? std::move(node) : nullptr, walk});
  return {static_cast<int32_t>(vars_.size()) - 1};
}

void Tape::accumulate(Var x, Tensor gradient) {
  Slot& slot = vars_.at(static_cast<size_t>(x.index));
  if (!slot.needs_gradient) return;
  PG_CHECK(gradient.shape() == slot.value.shape(), "tape: gradient ", to_string(gradient.shape()),
           " for a value ", to_string(slot.value.shape()));
  if (!slot.gradient.defined()) {
    slot.gradient = std::move(gradient);
    return;
  }
  PG_CHECK(gradient.dtype() == slot.gradient.dtype(), "tape: two gradients of different types for one value");
  const Tensor before = std::move(slot.gradient);
  slot.gradient = before.sole_owner() ? before : empty(before.shape(), before.dtype());
  add(before, gradient, slot.gradient);
}

void Tape::add(const Tensor& a, const Tensor& b, const Tensor& y) const {
  with_type(y.dtype(), [&]<class T>() {
    if (gpu_ && y.size() % kPackSize<T> == 0) {
      using P = Pack<T, kPackSize<T>>;
      const auto packs = [](const Tensor& t) { return reinterpret_cast<P*>(t.device_data<T>()); };
      return for_each(y.size() / kPackSize<T>, kernels::AddPacks<T>{packs(a), packs(b), packs(y)});
    }
    for_each(y.size(), kernels::Add<T>{a.device_data<T>(), b.device_data<T>(), y.device_data<T>()});
  });
}

Tensor Tape::take_gradient(Var x) {
  Slot& slot = vars_.at(static_cast<size_t>(x.index));
  return std::exchange(slot.gradient, {});
}

void Tape::backward(Var losses) {
  PG_CHECK(recording(), "tape: backward on a tape that was made without gradient slots");
  Slot& last = vars_.at(static_cast<size_t>(losses.index));
  PG_CHECK(last.value.rank() == 1 && last.value.dim(0) == slots_->rows(), "tape: losses ",
           to_string(last.value.shape()), ", wanted [", slots_->rows(), "]");
  last.gradient = empty(last.value.shape(), last.value.dtype());
  with_type(last.value.dtype(), [&]<class T>() {
    for_each(last.gradient.size(), kernels::Fill<T>{last.gradient.device_data<T>(), 1});
  });
  for (size_t i = vars_.size(); i-- > 0;) {
    Slot& slot = vars_[i];
    if (!slot.node) continue;
    const std::unique_ptr<Node> node = std::move(slot.node);
    const Tensor dy = std::exchange(slot.gradient, {});
    slot.value = {};
    if (dy.defined()) node->backward(*this, dy);
  }
}

size_t Tape::value_bytes() const {
  size_t bytes = 0;
  for (const Slot& slot : vars_)
    if (slot.value.defined()) bytes += static_cast<size_t>(slot.value.size()) * size_of(slot.value.dtype());
  return bytes;
}

std::string Tape::memory_report() const {
  std::string text;
  for (const Slot& slot : vars_)
    if (slot.node)
      text += concat(slot.node->name(), ' ', to_string(slot.value.shape()), ": saves ",
                     slot.node->saved_bytes(), " bytes\n");
  return text;
}

}  // namespace pergrad
