// The checks that a public pool must pass.
#include "augment/public_pool.h"

#include "core/error.h"

#include <algorithm>
#include <utility>

namespace pergrad::augment {

PublicPool::PublicPool(Dataset images, std::string provenance)
    : images_(std::move(images)), provenance_(std::move(provenance)) {
  PG_CHECK_AS(
      PrivacyError, provenance_.find_first_not_of(" \t\r\n") != std::string::npos,
      "public pool: no provenance: say in one line where the images come from and why they are public");
  PG_CHECK(provenance_.find_first_of("\r\n") == std::string::npos,
           "public pool: provenance must be one line");
  PG_CHECK(images_.size() > 0 && images_.size() <= UINT32_MAX, "public pool: got ", images_.size(),
           " images, wanted 1 to 2^32 - 1");
  PG_CHECK(images_.image_size() > 0 && std::ssize(images_.pixels) == images_.size() * images_.image_size(),
           "public pool: got ", images_.pixels.size(), " bytes, wanted ", images_.size(), " images of ",
           images_.image_size());
  PG_CHECK(std::ranges::all_of(images_.labels, [&](int32_t l) { return 0 <= l && l < images_.label_count; }),
           "public pool: a label is outside of [0,", images_.label_count, ")");
}

void PublicPool::require_match(const Dataset& data) const {
  PG_CHECK(images_.height == data.height && images_.width == data.width &&
               images_.channels == data.channels && images_.label_count == data.label_count,
           "public pool: images [", images_.height, ",", images_.width, ",", images_.channels, "] with ",
           images_.label_count, " labels, wanted [", data.height, ",", data.width, ",", data.channels,
           "] with ", data.label_count);
  PG_CHECK_AS(PrivacyError, images_.fingerprint.empty() || images_.fingerprint != data.fingerprint,
              "public pool: its images are the private data itself");
}

}  // namespace pergrad::augment
