// WeightTape: what a step computes from the parameters alone, once for all examples; and the gradient slots
// of the weights, which keep an example axis.
//
// 1. A weight has no example axis; its gradient slot is [N, *w]: a row for each example.
// 2. Leaves are parameters: their slots are column ranges of the slab [N, P]. Derived weights (weight
//    standardization) are walked back to them by finish(), row by row. On the processor the gradient of a
//    derived weight is gathered in the columns of its leaf, so that a row stays in the cache.
// 3. Recorded once; when the leaves have new values, refresh() computes in place what was derived from them.
// 4. The first use of a slot overwrites it; finish() sets to zero what was never used. So no row depends on
//    what its memory held before (a test fills it with NaN).
#pragma once

#include "core/exec.h"
#include "core/gpu/conv.h"
#include "core/tensor.h"

#include <algorithm>
#include <functional>
#include <map>
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
  // The result of an operation on weights, of the size of `from`. On the processor their gradients share a
  // place: nothing else may use `from` then.
  WeightVar derive(Tensor value, WeightVar from, std::unique_ptr<WeightNode> node);
  const Tensor& value(WeightVar w) const { return entries_.at(static_cast<size_t>(w.index)).value; }
  // P: columns taken by the leaves.
  int64_t columns() const { return columns_; }
  void clear();
  // Runs `work`, which computes something from w, now and at every refresh().
  void keep_fresh(WeightVar w, std::function<void()> work);
  // The leaves have new values: computes again what was derived from them, in the order of recording for each
  // leaf; on the processor several leaves at a time.
  void refresh(const CpuExec& exec) const;

 private:
  friend class WeightSlots;
  struct Entry {
    Tensor value;
    int64_t column = -1;               // of its leaf
    int32_t leaf = -1;                 // that it is made of in the end, or is
    int32_t from = -1;                 // that it is derived from
    std::unique_ptr<WeightNode> node;  // of a derived weight
    bool shared = false;               // another weight gathers in its place
  };
  Device device_;
  GpuConvSettings conv_;
  std::vector<Entry> entries_;
  std::map<int32_t, std::vector<std::function<void()>>> refresh_;  // by leaf
  std::map<int64_t, int64_t> taken_;                               // columns of the leaves: first -> end
  int64_t columns_ = 0;
};

// The gradient slots of N rows: ops add to them, once per view or as often as they are used.
class WeightSlots {
 public:
  // slab [N, P] receives the leaves.
  WeightSlots(const WeightTape& tape, Tensor slab, Workspace& workspace);
  int64_t rows() const { return slab_.dim(0); }
  // Row n of the gradient slot of w, for an op that adds to it; on the processor.
  template <class T>
  T* row(WeightVar w, int64_t n) {
    bool accumulate = false;
    T* at = row<T>(w, n, accumulate);
    if (!accumulate) std::fill_n(at, tape_.value(w).size(), T{0});
    return at;
  }
  // The same for an op that overwrites it unless `accumulate`.
  template <class T>
  T* row(WeightVar w, int64_t n, bool& accumulate) {
    PG_CHECK(!tape_.entries_.at(static_cast<size_t>(w.index)).shared,
             "weight slots: a weight is used by itself and through another made of it");
    accumulate = used(w.index, n);
    used(w.index, n) = true;
    return place<T>(w, n);
  }
  // What was gathered for row n of w, for a WeightNode, which may overwrite it with the gradient of its leaf.
  template <class T>
  T* place(WeightVar w, int64_t n) const {
    return slab_.data<T>() + n * slab_.dim(1) + tape_.entries_[static_cast<size_t>(w.index)].column;
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
  char& used(int64_t index, int64_t n) { return used_[static_cast<size_t>(index * rows() + n)]; }
  const WeightTape& tape_;
  Tensor slab_;
  std::vector<Tensor> derived_;  // on a GPU; undefined for leaves
  std::vector<char> used_;       // [weights, N]; on a GPU [weights]
};

}  // namespace pergrad
