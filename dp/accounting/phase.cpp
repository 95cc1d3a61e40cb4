// phase.cpp: the argument checks. Written as !(good) so that NaN fails every one of them.
#include "dp/accounting/phase.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace pergrad::accounting {
namespace {

template <class Value>
void require(bool good, const char* name, Value got, const char* wanted) {
  if (good) return;
  std::ostringstream message;
  message << "accounting: " << name << ": got " << got << ", wanted " << wanted;
  throw std::invalid_argument(message.str());
}

}  // namespace

void check_phases(const Phases& phases) {
  for (const auto& [sigma, q, steps] : phases) {
    require(sigma > 0.0 && std::isfinite(sigma), "noise_multiplier", sigma, "a positive finite number");
    require(q > 0.0 && q <= 1.0, "sampling_rate", q, "a probability in (0, 1]");
    require(steps >= 0, "steps", steps, "an integer >= 0");
  }
}

void check_delta(double delta) {
  require(delta > 0.0 && delta < 1.0, "delta", delta, "a probability in (0, 1)");
}

void check_epsilon(double epsilon) {
  require(epsilon >= 0.0 && std::isfinite(epsilon), "epsilon", epsilon, "a finite number >= 0");
}

}  // namespace pergrad::accounting
