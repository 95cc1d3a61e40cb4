// The two plugs between the floors: dp/ asks for views and for rows, and knows neither images nor networks.
// On the processor each thread of a step asks for its own: both may be called by several threads at once.
#pragma once

#include "core/example_batch.h"

#include <cstdint>
#include <span>

namespace pergrad {

// The views of these units in this step: row n is a function of (run key, step, the examples of units[n]) and
// of public data alone.
class ExampleSource {
 public:
  virtual ~ExampleSource() = default;
  virtual ExampleBatch views(std::span<const Unit> units, int64_t step) = 0;
};

// The gradient of each row at the current parameters: row n is a function of row n and the parameters alone.
class GradientSource {
 public:
  virtual ~GradientSource() = default;
  virtual int64_t parameter_count() const = 0;  // P
  virtual Device device() const { return {}; }  // where the rows are
  virtual PerExampleGradient rows(ExampleBatch&& batch) = 0;
};

}  // namespace pergrad
