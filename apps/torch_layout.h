// Parameters in PyTorch's layouts: what files for other programs hold. Ours are in layers/parameters.h, Kind.
#pragma once

#include "apps/safetensors.h"
#include "layers/parameters.h"

#include <string>
#include <type_traits>
#include <vector>

namespace pergrad::apps {

// PyTorch's shape of a parameter of ours.
inline Shape torch_shape(const Shape& s, Kind kind) {
  if (kind == Kind::conv) return {s.at(3), s.at(2), s.at(0), s.at(1)};  // [K, K, C, O] -> [O, C, K, K]
  if (kind == Kind::linear) return {s.at(1), s.at(0)};                  // [C, L] -> [L, C]
  return s;
}

// visit(ours, torch): the two flat places of every element.
template <class Visit>
void each_element(const Shape& s, Kind kind, const Visit& visit) {
  // Both are transpositions of [rows, columns] to [columns, rows], conv for each kernel position.
  const int64_t positions = kind == Kind::conv ? s.at(0) * s.at(1) : 1;
  const int64_t rows = kind == Kind::conv ? s.at(2) : kind == Kind::linear ? s.at(0) : count(s);
  const int64_t columns = kind == Kind::conv ? s.at(3) : kind == Kind::linear ? s.at(1) : 1;
  int64_t ours = 0;
  for (int64_t k = 0; k < positions; ++k)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) visit(ours++, (c * rows + r) * positions + k);
}

// The bytes of numbers that outlive the array.
template <class T>
std::string_view bytes_of(const T* values, int64_t size) {
  return {reinterpret_cast<const char*>(values), static_cast<size_t>(size) * sizeof(T)};
}

// One array for each parameter, named prefix + its name, of `values` [P], one number for each parameter's
// element, on the processor. The arrays point into `storage`, which is overwritten.
template <class T>
void add_in_torch_layout(const std::string& prefix, const Parameters& parameters, const T* values,
                         std::vector<T>& storage, std::vector<NamedArray>& arrays) {
  constexpr ArrayType type = std::is_same_v<T, float> ? ArrayType::f32 : ArrayType::f64;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  storage.resize(static_cast<size_t>(parameters.size()));
  const auto& entries = parameters.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const T* ours = values + entries[i].begin;
    T* torch = storage.data() + entries[i].begin;
    const Kind kind = parameters.kind(i);
    each_element(entries[i].shape, kind, [&](int64_t a, int64_t b) { torch[b] = ours[a]; });
    arrays.push_back({prefix + entries[i].name, type, torch_shape(entries[i].shape, kind),
                      bytes_of(torch, entries[i].end - entries[i].begin)});
  }
}

// All parameters, read back: [P] on the processor, of arrays named prefix + parameter's name.
//   THROWS: FormatError naming what is missing or has another shape or type.
Tensor weights_in(const Safetensors& file, const std::string& prefix, const Parameters& parameters);

}  // namespace pergrad::apps
