// Reading parameters that lie in PyTorch's layouts.
#include "apps/torch_layout.h"

namespace pergrad::apps {

Tensor weights_in(const Safetensors& file, const std::string& prefix, const Parameters& parameters) {
  Tensor flat = Tensor::empty({parameters.size()}, DType::f32);
  const auto& entries = parameters.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Kind kind = parameters.kind(i);
    const std::vector<float> torch =
        file.floats(prefix + entries[i].name, torch_shape(entries[i].shape, kind));
    float* ours = flat.data<float>() + entries[i].begin;
    each_element(entries[i].shape, kind,
                 [&](int64_t a, int64_t b) { ours[a] = torch[static_cast<size_t>(b)]; });
  }
  return flat;
}

}  // namespace pergrad::apps
