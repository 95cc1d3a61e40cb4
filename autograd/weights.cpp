// WeightTape and WeightSlots.
#include "autograd/weights.h"

#include <algorithm>

namespace pergrad {

WeightVar WeightTape::leaf(Tensor value, int64_t column) {
  PG_CHECK(column >= 0, "weight: leaf at column ", column);
  columns_ = std::max(columns_, column + value.size());
  entries_.push_back({std::move(value), column, nullptr});
  return {static_cast<int32_t>(entries_.size()) - 1};
}

WeightVar WeightTape::derive(Tensor value, std::unique_ptr<WeightNode> node) {
  entries_.push_back({std::move(value), -1, std::move(node)});
  return {static_cast<int32_t>(entries_.size()) - 1};
}

void WeightTape::clear() {
  entries_.clear();
  columns_ = 0;
}

WeightSlots::WeightSlots(const WeightTape& tape, Tensor slab, Workspace& workspace)
    : tape_(tape), slab_(std::move(slab)) {
  PG_CHECK(slab_.rank() == 2 && slab_.dim(1) >= tape.columns(), "weight slots: slab ",
           to_string(slab_.shape()), ", wanted [N,", tape.columns(), "]");
  slab_.fill(0);
  for (const auto& entry : tape.entries_)
    derived_.push_back(
        entry.node ? Tensor::zeros({slab_.dim(0), entry.value.size()}, slab_.dtype(), workspace) : Tensor());
}

void WeightSlots::finish() {
  for (size_t i = tape_.entries_.size(); i-- > 0;)
    if (const auto& node = tape_.entries_[i].node)
      for (int64_t n = 0; n < rows(); ++n) node->backward_row(*this, {static_cast<int32_t>(i)}, n);
}

}  // namespace pergrad
