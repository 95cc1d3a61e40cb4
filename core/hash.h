// SHA-256 and HMAC-SHA-256 (OpenSSL's libcrypto) as plain functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace pergrad {

using Digest = std::array<uint8_t, 32>;

// Lower-case hexadecimal of any bytes.
std::string to_hex(std::span<const uint8_t> bytes);

// SHA-256 of a text (FIPS 180-4).
Digest sha256(std::string_view text);
inline std::string sha256_hex(std::string_view text) { return to_hex(sha256(text)); }

// HMAC-SHA-256 (RFC 2104) of bytes under a key.
Digest hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> bytes);

// SHA-256 of something too long to hold at once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(std::span<const uint8_t> bytes);
  Digest finish();  // call once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pergrad
