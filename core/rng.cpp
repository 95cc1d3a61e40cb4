// Keys, and the blocks of a stream.
#include "core/rng.h"

#include "core/error.h"
#include "core/hash.h"

#include <sys/random.h>

#include <bit>
#include <cstring>

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

ChaChaStart::ChaChaStart(const Key& key, uint64_t step, uint32_t index)
    : words{0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u} {  // "expand 32-byte k"
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(words + 4, key.bytes.data(), 32);
  words[13] = static_cast<uint32_t>(step), words[14] = static_cast<uint32_t>(step >> 32), words[15] = index;
}

// 16 blocks at once, h = 0 and 1 eight of them: x[i][h] holds word i of each.
PG_CLONES void ChaChaStream::refill() {
  using Words [[gnu::vector_size(32)]] = uint32_t;
  using Pairs [[gnu::vector_size(64)]] = uint64_t;
  Words x[16][2], start[16][2];
  for (int i = 0; i < 16; ++i) start[i][0] = start[i][1] = Words{} + state_.words[i];
  start[12][0] += Words{0, 1, 2, 3, 4, 5, 6, 7};
  start[12][1] += Words{8, 9, 10, 11, 12, 13, 14, 15};
  for (int i = 0; i < 16; ++i) x[i][0] = start[i][0], x[i][1] = start[i][1];
  state_.words[12] += 16;
  for (int round = 0; round < 10; ++round)
#pragma GCC unroll 16
    for (int q = 0; q < 16; ++q) {  // quarter rounds of the columns, then of the diagonals
      const int i = q / 2 % 4, turn = q / 8, h = q % 2;
      Words &a = x[i][h], &b = x[4 + (i + turn) % 4][h];
      Words &c = x[8 + (i + 2 * turn) % 4][h], &d = x[12 + (i + 3 * turn) % 4][h];
      a += b, d ^= a, d = d << 16 | d >> 16;
      c += d, b ^= c, b = b << 12 | b >> 20;
      a += b, d ^= a, d = d << 8 | d >> 24;
      c += d, b ^= c, b = b << 7 | b >> 25;
    }
  for (int k = 0; k < 8; ++k)
    for (int h = 0; h < 2; ++h) {
      const Words low = x[2 * k][h] + start[2 * k][h], high = x[2 * k + 1][h] + start[2 * k + 1][h];
      const Pairs both = __builtin_convertvector(low, Pairs) | __builtin_convertvector(high, Pairs) << 32;
      std::memcpy(words_ + 16 * k + 8 * h, &both, sizeof both);
    }
  at_ = 0;
}

}  // namespace pergrad
