// SHA-256 and HMAC-SHA-256 (OpenSSL's libcrypto) as plain functions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pergrad {

using Digest = std::array<uint8_t, 32>;

// Lower-case hexadecimal of any bytes.
std::string to_hex(std::span<const uint8_t> bytes);

// SHA-256 (FIPS 180-4).
Digest sha256(std::span<const uint8_t> bytes);
Digest sha256(std::string_view text);
inline std::string sha256_hex(std::string_view text) { return to_hex(sha256(text)); }

// HMAC-SHA-256 (RFC 2104) of bytes under a key.
Digest hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> bytes);

}  // namespace pergrad
