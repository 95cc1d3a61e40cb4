// ParameterLayout: which columns of a gradient row [P] belong to which parameter.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace pergrad {

// Where each parameter lies in a row of P numbers, in the order of registration.
struct ParameterLayout {
  struct Entry {
    std::string name;
    Shape shape;
    int64_t begin = 0;  // column range [begin, end)
    int64_t end = 0;
  };
  std::vector<Entry> entries;
  int64_t size() const { return entries.empty() ? 0 : entries.back().end; }
};

}  // namespace pergrad
