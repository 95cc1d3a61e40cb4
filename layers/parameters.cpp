// Parameters: declaration and initial values.
#include "layers/parameters.h"
#include "core/philox.h"
#include "layers/coordinates.h"

#include <algorithm>
#include <cmath>

namespace pergrad {

ParameterId Parameters::declare(const std::string& name, Shape shape, Init init, Kind kind) {
  PG_CHECK(!flat_.defined(), "parameters: \"", name, "\" declared after allocate");
  for (const auto& entry : layout_.entries)
    PG_CHECK(entry.name != name, "parameters: two named \"", name, "\"");
  const int64_t begin = layout_.size();
  const int64_t end = begin + count(shape);
  layout_.entries.push_back({name, std::move(shape), begin, end});
  inits_.push_back(init);
  kinds_.push_back(kind);
  return {layout_.entries.size() - 1};
}

void Parameters::allocate(DType type, const Key& key, Device device) {
  // Standard deviation of a standard normal truncated at +-2 (Haiku and JAX divide by it).
  constexpr double kTruncatedStd = 0.87962566103423978;
  const Tensor host = Tensor::empty({size()}, type);
  for (size_t i = 0; i < layout_.entries.size(); ++i) {
    const auto& entry = layout_.entries[i];
    const Init init = inits_[i];
    PhiloxStream random = PhiloxStream::of(key, 0, static_cast<int64_t>(i));
    const auto draw = [&] {
      switch (init.law) {
        case Init::Law::constant:
          return init.value;
        case Init::Law::normal:
          return init.value * random.normal();
        case Init::Law::truncated_normal:
          break;
      }
      double z = random.normal();
      while (std::abs(z) > 2) z = random.normal();
      return init.value / kTruncatedStd * z;
    };
    dispatch(type, [&]<class T>() {
      std::generate(host.data<T>() + entry.begin, host.data<T>() + entry.end,
                    [&] { return static_cast<T>(draw()); });
    });
  }
  flat_ = on_device(host, device);
  touch();
}

Tensor Parameters::value(ParameterId id) const {
  const auto& entry = layout_.entries.at(id.index);
  return flat_.rows(entry.begin, entry.end).reshape(entry.shape);
}

Tensor Parameters::host_values() const { return on_device(flat_, {}); }

void Parameters::assign(const Tensor& flat) {
  PG_CHECK(flat.size() == size() && flat.dtype() == flat_.dtype(), "parameters: assigned ",
           to_string(flat.shape()), ", wanted [", size(), "]");
  flat_.assign(flat.reshape({size()}));
  touch();
}

}  // namespace pergrad
