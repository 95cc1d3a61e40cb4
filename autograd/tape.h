// Tape: a flat list of typed nodes. Recording order is a topological order: no sort, no recursion.
//
// The row invariant. Every activation is [N, V, ...] (example, view) and every gradient keeps the example
// axis, a weight's too (autograd/weights.h). No node reads or writes across n; nothing here sums over n.
//
// An op is a function that computes its value at once and records a Node whose members are exactly what its
// backward needs. Fan-out is accumulation in a slot. backward() takes a loss of shape [N] and seeds ones:
// nobody divides by the number of examples. What a node saved dies as the walk passes it.
//
// On the processor one thread walks the tape of one example; on a GPU one tape holds a chunk of examples, and
// every op queues kernels that own one example a block. It is the same tape and the same row invariant.
#pragma once

#include "autograd/weights.h"
#include "core/exec.h"
#include "core/gpu/launch.h"
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
  // Row n of the gradient slot of a weight, to add to, or to overwrite unless `accumulate`.
  template <class T>
  T* weight_gradient(WeightVar w, int64_t n) const {
    return slots_->row<T>(w, n);
  }
  template <class T>
  T* weight_gradient(WeightVar w, int64_t n, bool& accumulate) const {
    return slots_->row<T>(w, n, accumulate);
  }
  // All rows of it, on a GPU.
  GradientRows weight_rows(WeightVar w) const { return slots_->rows_of(w); }
  // Appends an op's result; `node` may be null when nothing is to be walked back.
  Var record(Tensor value, std::unique_ptr<Node> node);
  // Adds to the gradient slot of x. The first one is taken over, not copied; it may be shared with the slots
  // of others, since nobody writes to a tensor that somebody else holds.
  void accumulate(Var x, Tensor gradient);
  // What was gathered for x so far, for a node that adds it to its own in one pass; the slot is empty then.
  // Undefined if there is nothing.
  Tensor take_gradient(Var x);
  Tensor empty(Shape shape) const { return Tensor::empty(std::move(shape), dtype_, workspace_); }
  Tensor zeros(Shape shape) const { return Tensor::zeros(std::move(shape), dtype_, workspace_); }
  Tensor empty(Shape shape, DType type) const { return Tensor::empty(std::move(shape), type, workspace_); }
  Workspace& workspace() const { return workspace_; }
  bool on_gpu() const { return gpu_ != nullptr; }
  Gpu& gpu() const { return *gpu_; }
  // The type of activations between layers.
  DType activations() const { return weights_.activations(); }
  // kernel(i) for i in [0, n), where the tape is.
  template <class Kernel>
  void for_each(int64_t n, const Kernel& kernel) const {
    if (gpu_)
      launch_each(*gpu_, n, kernel);
    else
      CpuExec{1}.for_each(n, kernel);
  }
  // y = a + b, of one shape and type; y may be a.
  void add(const Tensor& a, const Tensor& b, const Tensor& y) const;
  // f.operator()<T>() for the types that activations have where the tape is.
  template <class F>
  decltype(auto) with_type(DType type, F&& f) const {
    if (type == DType::f32) return f.template operator()<float>();
    if (type == DType::f64 && !gpu_) return f.template operator()<double>();
    PG_CHECK(type == DType::bf16 && gpu_, "tape: a value of a type that is not computed in here");
    return f.template operator()<bf16>();
  }

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
  Gpu* gpu_;  // null on the processor
  DType dtype_ = DType::f32;
  std::vector<Slot> vars_;
};

}  // namespace pergrad
