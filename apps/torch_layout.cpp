// Reading parameters that lie in PyTorch's layouts.
#include "apps/torch_layout.h"

#include "core/error.h"

#include <cstring>

namespace pergrad::apps {

std::vector<float> floats_in(const Safetensors& file, const std::string& name, const Shape& shape) {
  const Safetensors::Entry* entry = file.find(name);
  PG_CHECK_AS(FormatError, entry, file.name(), ": \"", name, "\" is missing, wanted ", to_string(shape));
  PG_CHECK_AS(FormatError, entry->type == ArrayType::f32, file.name(), ": \"", name, "\" is ",
              name_of(entry->type), ", wanted F32");
  PG_CHECK_AS(FormatError, entry->shape == shape, file.name(), ": \"", name, "\" is ",
              to_string(entry->shape), ", the model has ", to_string(shape));
  const std::string_view bytes = file.bytes_of(*entry);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Tensor weights_in(const Safetensors& file, const std::string& prefix, const Parameters& parameters) {
  Tensor flat = Tensor::empty({parameters.size()}, DType::f32);
  const auto& entries = parameters.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Kind kind = parameters.kind(i);
    const std::vector<float> torch =
        floats_in(file, prefix + entries[i].name, torch_shape(entries[i].shape, kind));
    float* ours = flat.data<float>() + entries[i].begin;
    each_element(entries[i].shape, kind,
                 [&](int64_t a, int64_t b) { ours[a] = torch[static_cast<size_t>(b)]; });
  }
  return flat;
}

}  // namespace pergrad::apps
