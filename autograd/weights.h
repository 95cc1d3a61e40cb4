// WeightTape: what a step computes from the parameters alone, once for all examples; and the gradient slots
// of the weights, which keep an example axis.
//
// 1. A weight has no example axis; its gradient slot is [N, *w]: a row for each example.
// 2. Leaves are parameters: their slots are column ranges of the slab [N, P]. Derived weights (weight
//    standardization) have slots of their own, from which finish() walks back to the leaves, row by row.
// 3. Recorded once per step by one thread, then only read.
#pragma once

#include "core/tensor.h"

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
};

class WeightTape {
 public:
  // A parameter whose gradient goes to columns [column, column + size) of the slab.
  WeightVar leaf(Tensor value, int64_t column);
  // The result of an operation on weights.
  WeightVar derive(Tensor value, std::unique_ptr<WeightNode> node);
  const Tensor& value(WeightVar w) const { return entries_.at(static_cast<size_t>(w.index)).value; }
  // P: columns taken by the leaves.
  int64_t columns() const { return columns_; }
  void clear();

 private:
  friend class WeightSlots;
  struct Entry {
    Tensor value;
    int64_t column = -1;               // of a leaf
    std::unique_ptr<WeightNode> node;  // of a derived weight
  };
  std::vector<Entry> entries_;
  int64_t columns_ = 0;
};

// The gradient slots of N rows. Starts at zero; ops accumulate, once per view or as often as they are used.
class WeightSlots {
 public:
  // slab [N, P] receives the leaves; it is set to zero.
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
  // Walk the derived weights back to the leaves, in reverse order of recording. Call once, after the last
  // view.
  void finish();

 private:
  const WeightTape& tape_;
  Tensor slab_;
  std::vector<Tensor> derived_;  // undefined for leaves
};

}  // namespace pergrad
