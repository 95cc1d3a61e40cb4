// SHA-256 and HMAC on top of OpenSSL 3.
#include "core/hash.h"

#include "core/error.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace pergrad {

std::string to_hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t b : bytes) text += {kDigits[b >> 4], kDigits[b & 15]};
  return text;
}

Digest sha256(std::span<const uint8_t> bytes) {
  Digest digest{};
  PG_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1,
           "sha256: libcrypto failed");
  return digest;
}

Digest sha256(std::string_view text) {
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Digest hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> bytes) {
  Digest digest{};
  unsigned length = 0;
  PG_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(),
                digest.data(), &length) &&
               length == digest.size(),
           "hmac_sha256: libcrypto failed");
  return digest;
}

}  // namespace pergrad
