// Data and bounds that the augmentation tests share.
#pragma once

#include "augment/augmenter.h"
#include "augment/view_source.h"
#include "core/dataset.h"
#include "core/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace pergrad::augment {

// False alarms of every statistical test here: 1e-6.
constexpr double kFalseAlarm = 1e-6;

// Half width within which the mean of n independent numbers in [0, range] lies but for a false alarm
// (Hoeffding).
inline double mean_bound(double n, double range = 1.0) {
  return range * std::sqrt(std::log(2.0 / kFalseAlarm) / (2.0 * n));
}

// Largest distance of an empirical distribution function of n draws from the true one (Massart 1990).
inline double distribution_bound(double n) { return std::sqrt(std::log(2.0 / kFalseAlarm) / (2.0 * n)); }

// Chi-square of counts against equal probabilities, and its bound (Wilson and Hilferty 1931; 5 standard
// deviations are 2.9e-7).
inline double chi_square(const std::vector<int64_t>& counts) {
  double total = 0, sum = 0;
  for (int64_t c : counts) total += static_cast<double>(c);
  const double expected = total / static_cast<double>(counts.size());
  for (int64_t c : counts) sum += std::pow(static_cast<double>(c) - expected, 2) / expected;
  return sum;
}
inline double chi_square_bound(size_t cells) {
  const double k = static_cast<double>(cells - 1);
  return k * std::pow(1 - 2 / (9 * k) + 5 * std::sqrt(2 / (9 * k)), 3);
}

// Every effect, one in five draws without.
inline EffectSettings all_effects() {
  return {.color_jitter = true,
          .affine = true,
          .cutout = 3,
          .gaussian_noise = 0.2,
          .blur = true,
          .sobel = true,
          .probability = 0.8};
}

// n images of independent random bytes with random labels.
inline Dataset noise_images(int64_t n, ImageShape shape, int64_t labels, uint64_t seed = 1) {
  Dataset d;
  d.name = "noise";
  d.height = shape.height, d.width = shape.width, d.channels = shape.channels, d.label_count = labels;
  PhiloxStream random(seed, 0);
  for (int64_t i = 0; i < n * shape.size(); ++i) d.pixels.push_back(static_cast<uint8_t>(random.below(256)));
  for (int64_t i = 0; i < n; ++i) {
    d.labels.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(labels))));
  }
  return d;
}

// Image i is all bytes[i], with label i.
inline Dataset solid_images(const std::vector<uint8_t>& bytes, ImageShape shape, int64_t labels) {
  Dataset d;
  d.name = "solid";
  d.height = shape.height, d.width = shape.width, d.channels = shape.channels, d.label_count = labels;
  for (size_t i = 0; i < bytes.size(); ++i) {
    d.pixels.insert(d.pixels.end(), static_cast<size_t>(shape.size()), bytes[i]);
    d.labels.push_back(static_cast<int32_t>(i));
  }
  return d;
}

// Bytes to [0, 1].
inline Normalisation unit_range(int64_t channels) {
  const auto c = static_cast<size_t>(channels);
  return {std::vector<double>(c, 0.0), std::vector<double>(c, 1.0)};
}

inline Key test_key() { return key_from_text("augment tests"); }

// The views of one example, as an Augmenter writes them.
struct Views {
  std::vector<float> images, targets;
  int64_t size, labels;
  std::span<const float> image(int64_t v) const {
    return std::span(images).subspan(static_cast<size_t>(v * size), static_cast<size_t>(size));
  }
  std::span<const float> target(int64_t v) const {
    return std::span(targets).subspan(static_cast<size_t>(v * labels), static_cast<size_t>(labels));
  }
};

inline Views views_of(const Augmenter& augmenter, const Dataset& data, int64_t id, PhiloxStream random,
                      const PublicPool* pool = nullptr) {
  Views out{{}, {}, augmenter.shape().size(), augmenter.label_count()};
  out.images.assign(static_cast<size_t>(augmenter.views() * out.size), NAN);  // what is not written shows
  out.targets.assign(static_cast<size_t>(augmenter.views() * out.labels), NAN);
  augmenter.write_views({data.image(id), data.labels[static_cast<size_t>(id)]}, random, pool, out.images,
                        out.targets);
  return out;
}

inline Augmenter augmenter_for(const Dataset& data, const AugmentSettings& settings) {
  return {settings, {data.height, data.width, data.channels}, data.label_count, unit_range(data.channels)};
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline bool same_bits(std::span<const ViewRecipe> a, std::span<const ViewRecipe> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

inline bool same_row(const ExampleBatch& a, int64_t n, const ExampleBatch& b, int64_t m) {
  return same_bits(a.images.rows(n, n + 1).values<float>(), b.images.rows(m, m + 1).values<float>()) &&
         same_bits(a.targets.rows(n, n + 1).values<float>(), b.targets.rows(m, m + 1).values<float>()) &&
         same_bits(a.weights.rows(n, n + 1).values<float>(), b.weights.rows(m, m + 1).values<float>()) &&
         a.is_real[static_cast<size_t>(n)] == b.is_real[static_cast<size_t>(m)];
}

// f throws an E whose message is one line that holds `part`.
template <class E = Error, class F>
void expect_refusal(const F& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "not refused: " << part;
  } catch (const E& error) {
    const std::string line = error.what();
    EXPECT_NE(line.find(part), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
}

}  // namespace pergrad::augment
