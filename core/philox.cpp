// The parts of PhiloxStream that need checks or libm.
#include "core/philox.h"

#include "core/error.h"

#include <cmath>
#include <numbers>

namespace pergrad {

PhiloxStream PhiloxStream::of(const Key& key, int64_t step, int64_t id) {
  PG_CHECK(step >= 0 && step < (int64_t{1} << 32), "random stream: step is ", step, ", wanted below 2^32");
  PG_CHECK(id >= 0 && id < (int64_t{1} << 32), "random stream: example id is ", id, ", wanted below 2^32");
  uint64_t seed = 0;
  for (size_t i = 8; i-- > 0;) seed = seed << 8 | key.bytes[i];
  return {seed, (static_cast<uint64_t>(step) << 32) | static_cast<uint64_t>(id)};
}

double PhiloxStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace pergrad
