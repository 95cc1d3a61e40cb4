// The average, coordinate by coordinate.
#include "layers/ema.h"

#include "layers/coordinates.h"
#include "layers/optimizer_kernels.h"

#include <algorithm>

namespace pergrad {
namespace {

void check(const Tensor& parameters, int64_t size) {
  PG_CHECK(parameters.defined() && parameters.dtype() == DType::f32 && parameters.size() == size, "ema: got ",
           to_string(parameters.shape()), ", wanted [", size, "] floats");
}

}  // namespace

Ema::Ema(const Tensor& initial, double decay, bool warmup) : decay_(decay), warmup_(warmup) {
  check(initial, initial.size());
  PG_CHECK(decay >= 0 && decay < 1, "ema: decay is ", decay, ", wanted in [0, 1)");
  values_ = initial.clone();
}

double Ema::decay_at(int64_t completed_updates) const {
  const auto t = static_cast<double>(completed_updates);
  return warmup_ ? std::min(decay_, (1 + t) / (10 + t)) : decay_;
}

void Ema::update(const Tensor& parameters) {
  check(parameters, values_.size());
  ++updates_;
  const double mu = decay_at(updates_), rest = 1 - mu;
  const Tensor w = on_device(parameters, values_.device());
  for_each_coordinate(values_.device(), values_.size(),
                      kernels::EmaStep{w.device_data<float>(), values_.device_data<float>(), mu, rest});
}

void Ema::restore(const Tensor& values, int64_t updates) {
  check(values, values_.size());
  PG_CHECK(updates >= 0, "ema: restored after ", updates, " updates");
  values_.assign(values.reshape(values_.shape()));
  updates_ = updates;
}

}  // namespace pergrad
