// RowWatch: looks at losses and norms of rows on their way to the clip, if a log was asked for them. Not
// private.
#pragma once

#include "dp/clip_stats.h"
#include "layers/model_gradients.h"

#include <algorithm>
#include <compare>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace pergrad::apps {

// Passes rows on. Sums are taken in an order that depends on the numbers alone, not on which thread came
// first.
class RowWatch : public GradientSource {
 public:
  // losses, norms: which to keep; norms with losses only.
  RowWatch(ModelRows& source, bool losses, bool norms) : source_(source), watch_(losses), norms_(norms) {}
  int64_t parameter_count() const override { return source_.parameter_count(); }
  Device device() const override { return source_.device(); }
  bool prepare_for_threads() override { return source_.prepare_for_threads(); }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    if (!watch_) return source_.rows(std::move(batch));
    std::vector<float> losses;
    PerExampleGradient rows = source_.rows(std::move(batch), &losses);
    const std::vector<double> squares = norms_ ? dp::nonprivate_squares(rows) : std::vector<double>();
    const std::lock_guard alone(one_at_a_time_);
    nonprivate_losses_.insert(nonprivate_losses_.end(), losses.begin(), losses.end());
    nonprivate_squares_.insert(nonprivate_squares_.end(), squares.begin(), squares.end());
    return rows;
  }
  double nonprivate_loss() {
    std::ranges::sort(nonprivate_losses_,
                      [](float a, float b) { return std::is_lt(std::strong_order(a, b)); });
    return std::accumulate(nonprivate_losses_.begin(), nonprivate_losses_.end(), 0.0);
  }
  const std::vector<double>& nonprivate_squares() const { return nonprivate_squares_; }

 private:
  ModelRows& source_;
  bool watch_, norms_;
  std::mutex one_at_a_time_;
  std::vector<float> nonprivate_losses_;
  std::vector<double> nonprivate_squares_;
};

}  // namespace pergrad::apps
