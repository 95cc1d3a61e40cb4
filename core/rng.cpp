// Keys, and the start of a stream.
#include "core/rng.h"

#include "core/error.h"
#include "core/hash.h"

#include <sys/random.h>

namespace pergrad {

Key derive_key(const Key& parent, std::string_view label) {
  const std::span<const uint8_t> text(reinterpret_cast<const uint8_t*>(label.data()), label.size());
  return Key{hmac_sha256(parent.bytes, text)};
}

Key key_from_text(std::string_view text) { return Key{sha256(text)}; }

Key key_from_entropy() {
  Key key;
  const ssize_t got = getrandom(key.bytes.data(), key.bytes.size(), 0);
  PG_CHECK_AS(PrivacyError, got == static_cast<ssize_t>(key.bytes.size()),
              "noise: the operating system gave no entropy");
  return key;
}

namespace {
uint32_t little_endian(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
         static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}
}  // namespace

ChaChaStream::ChaChaStream(const Key& key, uint64_t step, uint32_t index)
    : nonce_{static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), index} {
  for (int i = 0; i < 8; ++i) key_[i] = little_endian(key.bytes.data() + 4 * i);
}

}  // namespace pergrad
