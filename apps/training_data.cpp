// load_split and load_public_pool.
#include "apps/training_data.h"

#include "core/error.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace pergrad::apps {
namespace {

// An image that is in both would be mixed into the views of others as if it were public.
void check_pool_is_not_private(const Dataset& pool, const Dataset& train) {
  const auto bytes = [](const Dataset& data, int64_t id) {
    const auto image = data.image(id);
    return std::string_view(reinterpret_cast<const char*>(image.data()), image.size());
  };
  std::unordered_set<std::string_view> images;
  for (int64_t id = 0; id < train.size(); ++id) images.insert(bytes(train, id));
  for (int64_t i = 0; i < pool.size(); ++i)
    PG_CHECK_AS(PrivacyError, !images.contains(bytes(pool, i)), "pool.path: image ", i,
                " of the public pool is in the training data");
}

// Examples [begin, end), with a fingerprint of their own.
Dataset part_of(const Dataset& data, int64_t begin, int64_t end) {
  Dataset part = data;
  part.pixels.assign(data.pixels.begin() + begin * data.image_size(),
                     data.pixels.begin() + end * data.image_size());
  part.labels.assign(data.labels.begin() + begin, data.labels.begin() + end);
  part.fingerprint = dataset_fingerprint(part);
  return part;
}

}  // namespace

Split load_split(const Config& config, const std::string& data_root, const Progress& progress) {
  Split split = load_dataset(data_spec(config), data_root, progress);
  const int64_t found = split.train.size(), held_out = config.data.validation;
  if (held_out > 0) {
    PG_CHECK(held_out < found, "data.validation: got ", held_out, ", wanted fewer than the ", found,
             " training examples");
    split.test = part_of(split.train, found - held_out, found);
    split.test.name = concat(split.train.name.substr(0, split.train.name.rfind(" (")), " (validation)");
  }
  const int64_t limit = config.data.train_limit > 0 ? config.data.train_limit : found;
  const int64_t kept = std::min(limit, found - held_out);
  if (kept < found) split.train = part_of(split.train, 0, kept);
  return split;
}

std::optional<augment::PublicPool> load_public_pool(const Config& config, const Dataset& train,
                                                    const std::string& data_root, const Progress& progress) {
  if (!config.has_pool()) return std::nullopt;
  Pool pool = load_pool(pool_spec(config, train), config.pool.provenance, data_root, progress);
  check_pool_matches(pool, train);
  check_pool_is_not_private(pool.images, train);
  return augment::PublicPool(std::move(pool.images), pool.provenance);
}

}  // namespace pergrad::apps
