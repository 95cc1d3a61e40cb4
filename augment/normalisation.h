// Normalisation: (byte / 255 - mean) / deviation for each channel, as a table of 256 entries a channel.
//
// The constants are public: they come from the config, never from the private data.
#pragma once

#include "core/error.h"

#include <cmath>
#include <cstdint>
#include <vector>

namespace pergrad::augment {

class Normalisation {
 public:
  // mean and deviation [C], for pixels scaled to [0, 1].
  //   THROWS: Error unless there is one of each a channel, finite, with deviation > 0.
  Normalisation(const std::vector<double>& mean, const std::vector<double>& deviation)
      : channels_(mean.size()) {
    PG_CHECK(!mean.empty() && mean.size() == deviation.size(), "normalisation: got ", mean.size(),
             " means and ", deviation.size(), " deviations, wanted one of each per channel");
    for (size_t c = 0; c < mean.size(); ++c) {
      PG_CHECK(std::isfinite(mean[c]), "normalisation: mean of channel ", c, " is ", mean[c],
               ", wanted a number");
      PG_CHECK(std::isfinite(deviation[c]) && deviation[c] > 0, "normalisation: deviation of channel ", c,
               " is ", deviation[c], ", wanted a number above 0");
      // In float and in this order, as torchvision's ToTensor and Normalize do.
      for (int byte = 0; byte < 256; ++byte) {
        const float scaled = static_cast<float>(byte) / 255.0f;
        table_.push_back((scaled - static_cast<float>(mean[c])) / static_cast<float>(deviation[c]));
      }
    }
  }

  int64_t channels() const { return static_cast<int64_t>(channels_); }
  // [C, 256]: the value of each byte in each channel.
  const float* table() const { return table_.data(); }

 private:
  size_t channels_;
  std::vector<float> table_;
};

}  // namespace pergrad::augment
