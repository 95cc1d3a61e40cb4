// ShuffledBatches: what training without privacy draws.
#pragma once

#include "core/example_batch.h"
#include "core/philox.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace pergrad::apps {

// Batches without privacy: epochs of a shuffled data set, a function of (key, step). Several examples stand
// in one unit, so that a row is their mean: an ordinary batch gradient, computed as one would without
// privacy.
class ShuffledBatches {
 public:
  ShuffledBatches(const Key& key, int64_t examples, int64_t batch)
      : key_(key), batch_(std::min(batch, examples)), group_(group_of(examples, batch)) {
    order_.resize(static_cast<size_t>(examples));
  }
  // Examples in a unit: as many of at most 16 as divide the batch.
  static int64_t group_of(int64_t examples, int64_t batch) {
    int64_t group = std::clamp<int64_t>(std::min(batch, examples), 1, 16);
    while (std::min(batch, examples) % group != 0) --group;
    return group;
  }
  std::vector<Unit> draw(int64_t step) {
    const int64_t per_epoch = static_cast<int64_t>(order_.size()) / batch_;
    shuffle(step / per_epoch);
    const auto first = order_.begin() + step % per_epoch * batch_;
    std::vector<Unit> units;
    for (int64_t i = 0; i < batch_; i += group_) {
      units.push_back({{first + i, first + i + group_}});
      std::sort(units.back().ids.begin(), units.back().ids.end());
    }
    return units;
  }

 private:
  void shuffle(int64_t epoch) {
    if (epoch == epoch_) return;
    epoch_ = epoch;
    std::iota(order_.begin(), order_.end(), 0);
    PhiloxStream random = PhiloxStream::of(key_, epoch, 0);
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.below(static_cast<uint32_t>(i))]);
  }
  Key key_;
  int64_t batch_, group_, epoch_ = -1;
  std::vector<int64_t> order_;
};

}  // namespace pergrad::apps
