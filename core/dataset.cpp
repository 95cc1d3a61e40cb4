// The fingerprint of a dataset.
#include "core/dataset.h"

#include "core/error.h"
#include "core/hash.h"

namespace pergrad {

std::string dataset_fingerprint(const Dataset& data) {
  const auto digest_of = [](const auto& values) {
    return to_hex(
        sha256({reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(values[0])}));
  };
  return sha256_hex(concat("pergrad dataset ", data.height, ' ', data.width, ' ', data.channels, ' ',
                           data.label_count, ' ', data.size(), ' ', digest_of(data.pixels), ' ',
                           digest_of(data.labels)));
}

}  // namespace pergrad
