// Tape: a flat list of typed nodes. Recording order is a topological order: no sort, no recursion.
//
// The row invariant. Every activation is [N, V, ...] (example, view) and every gradient keeps the example
// axis, a weight's too (autograd/weights.h). No node reads or writes across n; nothing here sums over n.
//
// An op is a function that computes its value at once and records a Node whose members are exactly what its
// backward needs. Fan-out is accumulation in a slot. backward() takes a loss of shape [N] and seeds ones:
// nobody divides by the number of examples. What a node saved dies as the walk passes it.
#pragma once

#include "autograd/weights.h"
#include "core/exec.h"
#include "core/tensor.h"

#include <memory>
#include <string>
#include <vector>

namespace pergrad {

class Tape;

// An activation on a tape: an index, nothing more.
struct Var {
  int32_t index = -1;
};

class Node {
 public:
  virtual ~Node() = default;
  virtual const char* name() const = 0;
  // dy: gradient of the summed losses by this node's output, with the output's shape.
  virtual void backward(Tape& tape, const Tensor& dy) = 0;
  // Bytes that this node keeps alive for its backward (reports only).
  virtual size_t saved_bytes() const { return 0; }
};

class Tape {
 public:
  // slots == nullptr: forward only, nothing is recorded. All memory comes from the workspace.
  Tape(const WeightTape& weights, WeightSlots* slots, Workspace& workspace);

  // Something from outside, e.g. the images [N, V, H, W, C].
  Var input(Tensor value, bool needs_gradient = false);
  const Tensor& value(Var x) const { return slots_of(x).value; }
  // The gradient of an input that asked for one; undefined before backward().
  const Tensor& gradient(Var x) const { return slots_of(x).gradient; }
  // Walks back from losses [N].
  void backward(Var losses);

  // For ops.
  const WeightTape& weights() const { return weights_; }
  const Tensor& value(WeightVar w) const { return weights_.value(w); }
  bool recording() const { return slots_ != nullptr; }
  bool needs_gradient(Var x) const { return slots_of(x).needs_gradient; }
  // Row n of the gradient slot of a weight.
  template <class T>
  T* weight_gradient(WeightVar w, int64_t n) const {
    return slots_->row<T>(w, n);
  }
  // Appends an op's result; `node` may be null when nothing is to be walked back.
  Var record(Tensor value, std::unique_ptr<Node> node);
  // Adds to the gradient slot of x; the first one is taken over, not copied, so give away a fresh tensor.
  void accumulate(Var x, Tensor gradient);
  Tensor empty(Shape shape) const { return Tensor::empty(std::move(shape), dtype_, workspace_); }
  Tensor zeros(Shape shape) const { return Tensor::zeros(std::move(shape), dtype_, workspace_); }
  Workspace& workspace() const { return workspace_; }
  const CpuExec& exec() const { return exec_; }

  // Who holds how many bytes for the way back, one line an op.
  std::string memory_report() const;
  // Bytes of all values on the tape.
  size_t value_bytes() const;

 private:
  struct Slot {
    Tensor value;
    Tensor gradient;
    std::unique_ptr<Node> node;
    bool needs_gradient = false;
  };
  const Slot& slots_of(Var x) const { return vars_.at(static_cast<size_t>(x.index)); }

  const WeightTape& weights_;
  WeightSlots* slots_;
  Workspace& workspace_;
  CpuExec exec_{1};  // one thread owns the examples of a tape
  DType dtype_ = DType::f32;
  std::vector<Slot> vars_;
};

}  // namespace pergrad
