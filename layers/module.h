// Module: parameters, children, and forward. Never a hand-written backward: the tape has it.
#pragma once

#include "autograd/ops.h"
#include "layers/parameters.h"

#include <memory>
#include <string>
#include <vector>

namespace pergrad {

// Extents of one image on its way through a model.
struct ImageShape {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  int64_t size() const { return height * width * channels; }
};

class Module {
 public:
  virtual ~Module() = default;
  // Once per change of the parameters, on one thread: put weights on the tape, derive what the step needs.
  virtual void prepare(WeightTape& weights) = 0;
  // Many threads at once, each with its own tape.
  virtual Var forward(Tape& tape, Var x) const = 0;
};

using ModulePtr = std::unique_ptr<Module>;

// The modules one after the other.
class Sequential : public Module {
 public:
  void push(ModulePtr module) { modules_.push_back(std::move(module)); }
  void prepare(WeightTape& weights) override {
    for (auto& module : modules_) module->prepare(weights);
  }
  Var forward(Tape& tape, Var x) const override {
    for (const auto& module : modules_) x = module->forward(tape, x);
    return x;
  }

 private:
  std::vector<ModulePtr> modules_;
};

}  // namespace pergrad
