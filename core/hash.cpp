// SHA-256 and HMAC on top of OpenSSL 3; the fingerprint of a dataset.
#include "core/hash.h"

#include "core/dataset.h"
#include "core/error.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace pergrad {

std::string to_hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (uint8_t b : bytes) {
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  PG_CHECK(state_->context && EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1,
           "sha256: libcrypto could not start");
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const uint8_t> bytes) {
  PG_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1, "sha256: update failed");
}

Digest Sha256::finish() {
  Digest digest{};
  PG_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) == 1, "sha256: finish failed");
  return digest;
}

namespace {
std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
}  // namespace

Digest sha256(std::string_view text) {
  Sha256 hash;
  hash.update(bytes_of(text));
  return hash.finish();
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

std::string dataset_fingerprint(const Dataset& data) {
  Sha256 hash;
  hash.update(bytes_of(concat("pergrad dataset ", data.height, ' ', data.width, ' ', data.channels, ' ',
                              data.label_count, ' ', data.size(), '\n')));
  hash.update(data.pixels);
  hash.update({reinterpret_cast<const uint8_t*>(data.labels.data()), data.labels.size() * sizeof(int32_t)});
  return to_hex(hash.finish());
}

}  // namespace pergrad
