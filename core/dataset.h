// Dataset: labelled images in memory, as bytes, in the order of their ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pergrad {

// Invariants: pixels.size() == size() * height * width * channels; 0 <= labels[i] < label_count.
struct Dataset {
  std::string name;                      // what a report calls it, e.g. "fashion-mnist (train)"
  int64_t height = 0;                    // H, pixels
  int64_t width = 0;                     // W, pixels
  int64_t channels = 0;                  // C, 1 or 3
  int64_t label_count = 0;               // L
  std::vector<uint8_t> pixels;           // [N, H, W, C], 0..255
  std::vector<int32_t> labels;           // [N]
  std::vector<std::string> label_names;  // [L], or empty if the format has none
  std::string fingerprint;               // SHA-256 (hex) of shape, pixels and labels; empty until set

  int64_t size() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_size() const { return height * width * channels; }
  // Bytes of image `id` [H, W, C].  REQUIRES: 0 <= id < size().
  std::span<const uint8_t> image(int64_t id) const {
    return {pixels.data() + id * image_size(), static_cast<size_t>(image_size())};
  }
};

// SHA-256 over H, W, C, L, N and the hashes of pixels and labels: two datasets have one fingerprint only if
// they are equal.
std::string dataset_fingerprint(const Dataset& data);

}  // namespace pergrad
