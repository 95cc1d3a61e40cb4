// WeightTape and WeightSlots.
#include "autograd/weights.h"

#include "autograd/weight_kernels.h"
#include "core/exec_rows.h"
#include "core/gpu/launch.h"

#include <algorithm>
#include <iterator>

namespace pergrad {

WeightVar WeightTape::leaf(Tensor value, int64_t column) {
  const int64_t end = column + value.size();
  const auto next = taken_.lower_bound(column);
  PG_CHECK(column >= 0 && (next == taken_.end() || end <= next->first) &&
               (next == taken_.begin() || std::prev(next)->second <= column),
           "weight: leaf at column ", column, ", which is not free");
  taken_[column] = end;
  columns_ = std::max(columns_, end);
  const auto index = static_cast<int32_t>(entries_.size());
  entries_.push_back({std::move(value), column, index, -1, nullptr, false});
  return {index};
}

WeightVar WeightTape::derive(Tensor value, WeightVar from, std::unique_ptr<WeightNode> node) {
  Entry& made_of = entries_.at(static_cast<size_t>(from.index));
  PG_CHECK(value.size() == made_of.value.size() && !made_of.shared,
           "weight: derived from one of another size, or from one that something else was derived from");
  made_of.shared = device_.is_cpu();
  const int64_t column = made_of.column;
  const int32_t leaf = made_of.leaf;
  entries_.push_back({std::move(value), column, leaf, from.index, std::move(node), false});
  return {static_cast<int32_t>(entries_.size()) - 1};
}

DType WeightTape::activations() const {
  if (!device_.is_cpu()) return activation_type(conv_.precision);
  return entries_.empty() ? DType::f32 : entries_[0].value.dtype();
}

void WeightTape::keep_fresh(WeightVar w, std::function<void()> work) {
  work();
  refresh_[entries_.at(static_cast<size_t>(w.index)).leaf].push_back(std::move(work));
}

void WeightTape::refresh(const CpuExec& exec) const {
  std::vector<const std::vector<std::function<void()>>*> chains;
  for (const auto& [leaf, works] : refresh_) chains.push_back(&works);
  const CpuExec where = device_.is_cpu() ? exec : CpuExec{1};
  for_each_row(where, static_cast<int64_t>(chains.size()), [&](int64_t i) {
    for (const auto& work : *chains[static_cast<size_t>(i)]) work();
  });
}

void WeightTape::clear() {
  entries_.clear();
  refresh_.clear();
  taken_.clear();
  columns_ = 0;
}

WeightSlots::WeightSlots(const WeightTape& tape, Tensor slab, Workspace& workspace)
    : tape_(tape), slab_(std::move(slab)) {
  PG_CHECK(slab_.rank() == 2 && slab_.dim(1) >= tape.columns(), "weight slots: slab ",
           to_string(slab_.shape()), ", wanted [N,", tape.columns(), "]");
  PG_CHECK(slab_.device() == tape.device(), "weight slots: slab on ", slab_.device().name(), ", weights on ",
           tape.device().name());
  if (slab_.device().is_cpu()) {
    used_.resize(tape.entries_.size() * static_cast<size_t>(rows()), false);
    // Columns that are nobody's hold zeros.
    dispatch(slab_.dtype(), [&]<class T>() {
      for (int64_t n = 0; n < rows(); ++n) {
        T* const row = slab_.data<T>() + n * slab_.dim(1);
        int64_t free = 0;
        for (const auto& [first, end] : tape.taken_) {
          std::fill(row + free, row + first, T{0});
          free = end;
        }
        std::fill(row + free, row + slab_.dim(1), T{0});
      }
    });
    return;
  }
  used_.resize(tape.entries_.size(), false);
  for (const auto& entry : tape.entries_)
    derived_.push_back(
        entry.node ? Tensor::empty({slab_.dim(0), entry.value.size()}, slab_.dtype(), workspace) : Tensor());
}

GradientRows WeightSlots::gathered(WeightVar w) const {
  const auto i = static_cast<size_t>(w.index);
  const Tensor& own = derived_.at(i);
  if (own.defined()) return {own.device_data<float>(), own.dim(1), used_[i] != 0};
  return {slab_.device_data<float>() + tape_.entries_[i].column, slab_.dim(1), used_[i] != 0};
}

GradientRows WeightSlots::rows_of(WeightVar w) {
  const GradientRows rows = gathered(w);
  used_[static_cast<size_t>(w.index)] = true;
  return rows;
}

void WeightSlots::finish() {
  if (!slab_.device().is_cpu()) return finish_on_gpu();
  for (size_t i = tape_.entries_.size(); i-- > 0;) {
    const auto& entry = tape_.entries_[i];
    const WeightVar w{static_cast<int32_t>(i)};
    for (int64_t n = 0; n < rows(); ++n) {
      if (entry.node && used(w.index, n)) {
        entry.node->backward_row(*this, w, n);
        used(entry.from, n) = true;
      } else if (!used(w.index, n) && !entry.shared) {
        dispatch(slab_.dtype(), [&]<class T>() { std::fill_n(place<T>(w, n), entry.value.size(), T{0}); });
      }
    }
  }
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
