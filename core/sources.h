// The two plugs between the floors: dp/ asks for views and for rows, and knows neither images nor networks.
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
  // Whether several threads may call views() at once.
  virtual bool takes_threads() const { return false; }
};

// The gradient of each row at the current parameters: row n is a function of row n and the parameters alone.
class GradientSource {
 public:
  virtual ~GradientSource() = default;
  virtual int64_t parameter_count() const = 0;  // P
  virtual Device device() const { return {}; }  // where the rows are
  virtual PerExampleGradient rows(ExampleBatch&& batch) = 0;
  // Makes ready what all rows share, on one thread. Whether several may call rows() at once then: nothing
  // writes to a row that was handed over.
  virtual bool prepare_for_threads() { return false; }
};

}  // namespace pergrad
