// Keys.
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

KeyWords words_of(const Key& key) {
  KeyWords out{};
  for (size_t i = 0; i < 32; ++i) out.words[i / 4] |= static_cast<uint32_t>(key.bytes[i]) << (8 * (i % 4));
  return out;
}

}  // namespace pergrad
