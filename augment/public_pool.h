// PublicPool: images that are public by declaration (synthetic images of DP-Mix, say), with where they come
// from.
//
// Nothing in this program can tell public images from private ones. Whoever makes a PublicPool declares
// that no example of the private data had a part in making it; the provenance goes into the ledger and the
// report.
#pragma once

#include "core/dataset.h"

#include <string>

namespace pergrad::augment {

class PublicPool {
 public:
  // provenance: one line that a reader can check, e.g. "5000 images of a random process,
  // tools/noise_pool 1.0".
  //   THROWS: PrivacyError without a provenance; Error for an empty pool or one that breaks Dataset's
  //   invariants.
  PublicPool(Dataset images, std::string provenance);

  int64_t size() const { return images_.size(); }
  // Bytes [H,W,C] and label of image i.   REQUIRES: 0 <= i < size().
  std::span<const uint8_t> image(int64_t i) const { return images_.image(i); }
  int32_t label(int64_t i) const { return images_.labels[static_cast<size_t>(i)]; }
  const std::string& provenance() const { return provenance_; }
  const Dataset& dataset() const { return images_; }

  // The pool goes with private data of this shape, and is not that data itself.
  //   THROWS: Error for another H, W, C or L; PrivacyError for the same fingerprint.
  void require_match(const Dataset& private_data) const;

 private:
  Dataset images_;
  std::string provenance_;
};

}  // namespace pergrad::augment
