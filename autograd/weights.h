// WeightTape: what a step computes from the parameters alone, once for all examples; and the gradient slots
// of the weights, which keep an example axis.
//
// 1. A weight has no example axis; its gradient slot is [N, *w]: a row for each example.
// 2. Leaves are parameters: their slots are column ranges of the slab [N, P]. Derived weights (weight
//    standardization) have slots of their own, from which finish() walks back to the leaves, row by row.
// 3. Recorded once per step by one thread, then only read. On a GPU it is recorded once; each later step
//    refreshes the values in place.
#pragma once

#include "core/gpu/conv.h"
#include "core/tensor.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pergrad {

// A weight of a WeightTape: an index, nothing more.
struct WeightVar {
  int32_t index = -1;
};

class WeightSlots;

// One operation on weights; its members are what its backward needs.
class WeightNode {
 public:
  virtual ~WeightNode() = default;
  // From the gradient slot of the output, row n, accumulate into those of the inputs, row n.
  virtual void backward_row(WeightSlots& slots, WeightVar output, int64_t n) const = 0;
  // The same for all rows at once, on a GPU.
  virtual void backward_rows(WeightSlots& slots, WeightVar output) const = 0;
};

class WeightTape {
 public:
  // device: where the values are; conv: how convolutions run there, if it is a GPU.
  explicit WeightTape(Device device = {}, const GpuConvSettings& conv = {}) : device_(device), conv_(conv) {}
  Device device() const { return device_; }
  const GpuConvSettings& conv_settings() const { return conv_; }
  // The type of activations: that of the values on the processor, else by precision.
  DType activations() const;
  // A parameter whose gradient goes to columns [column, column + size) of the slab.
  WeightVar leaf(Tensor value, int64_t column);
  // The result of an operation on weights.
  WeightVar derive(Tensor value, std::unique_ptr<WeightNode> node);
  const Tensor& value(WeightVar w) const { return entries_.at(static_cast<size_t>(w.index)).value; }
  // P: columns taken by the leaves.
  int64_t columns() const { return columns_; }
  void clear();
  // Runs `work`, now and at every refresh().
  void keep_fresh(std::function<void()> work);
  // The leaves have new values: computes again what was derived from them.
  void refresh() const {
    for (const auto& work : refresh_) work();
  }

 private:
  friend class WeightSlots;
  struct Entry {
    Tensor value;
    int64_t column = -1;               // of a leaf
    std::unique_ptr<WeightNode> node;  // of a derived weight
  };
  Device device_;
  GpuConvSettings conv_;
  std::vector<Entry> entries_;
  std::vector<std::function<void()>> refresh_;
  int64_t columns_ = 0;
};

// The gradient slots of N rows. Starts at zero; ops accumulate, once per view or as often as they are used.
// On a GPU the first use of a slot overwrites it instead, and finish() sets to zero what was never used.
class WeightSlots {
 public:
  // slab [N, P] receives the leaves.
  WeightSlots(const WeightTape& tape, Tensor slab, Workspace& workspace);
  int64_t rows() const { return slab_.dim(0); }
  // Row n of the gradient slot of w.
  template <class T>
  T* row(WeightVar w, int64_t n) const {
    const auto i = static_cast<size_t>(w.index);
    const Tensor& own = derived_.at(i);
    if (own.defined()) return own.data<T>() + n * tape_.entries_[i].value.size();
    return slab_.data<T>() + n * slab_.dim(1) + tape_.entries_[i].column;
  }
  const WeightTape& tape() const { return tape_; }
  // All rows of the slot of w, to be written to as it says; on a GPU.
  GradientRows rows_of(WeightVar w);
  // The same, to be read.
  GradientRows gathered(WeightVar w) const;
  // Walk the derived weights back to the leaves, in reverse order of recording. Call once, after the last
  // view.
  void finish();

 private:
  void finish_on_gpu();
  const WeightTape& tape_;
  Tensor slab_;
  std::vector<Tensor> derived_;  // undefined for leaves
  std::vector<bool> used_;       // on a GPU
};

}  // namespace pergrad
