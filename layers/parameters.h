// Parameters: every trainable number of a model in one flat array, declared once, found by name.
#pragma once

#include "core/parameter_layout.h"
#include "core/rng.h"
#include "core/tensor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace pergrad {

// How a parameter starts.
struct Init {
  enum class Law { constant, normal, truncated_normal };
  Law law = Law::constant;
  double value =
      0;  // the constant, or the standard deviation (truncated_normal: after truncation at 2 sigma)

  static Init constant(double v) { return {Law::constant, v}; }
  static Init normal(double std) { return {Law::normal, std}; }
  static Init truncated_normal(double std) { return {Law::truncated_normal, std}; }
};

// How our layout maps to PyTorch's: conv [K,K,C,O] <-> [O,C,K,K], linear [C,L] <-> [L,C].
enum class Kind { plain, conv, linear };

struct ParameterId {
  size_t index = 0;
};

class Parameters {
 public:
  // Adds a parameter; names are PyTorch's ("blocks.0.conv1.weight"). Before allocate() only.
  ParameterId declare(const std::string& name, Shape shape, Init init, Kind kind = Kind::plain);
  // Makes the flat array [P] on this device and draws the initial values: parameter i from Philox stream
  // (key, i), on the processor: the same bits on every device.
  void allocate(DType type, const Key& key, Device device = {});

  int64_t size() const { return layout_.size(); }
  const ParameterLayout& layout() const { return layout_; }
  Kind kind(size_t index) const { return kinds_.at(index); }
  Device device() const { return flat_.device(); }
  // The flat array [P], where it is; writing to it needs touch() afterwards.
  const Tensor& flat() const { return flat_; }
  // The same numbers on the processor; on a GPU's parameters a copy.
  Tensor host_values() const;
  // A view of one parameter.
  Tensor value(ParameterId id) const;
  int64_t column(ParameterId id) const { return layout_.entries.at(id.index).begin; }
  // Counts changes of the values, so that what is derived from them knows when to be made again.
  uint64_t version() const { return version_; }
  void touch() { ++version_; }
  // Takes all values from [P] of the same type, on any device.
  void assign(const Tensor& flat);

 private:
  ParameterLayout layout_;
  std::vector<Init> inits_;
  std::vector<Kind> kinds_;
  Tensor flat_;
  uint64_t version_ = 0;
};

}  // namespace pergrad
