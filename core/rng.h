// Random numbers that the guarantee rests on: keys, and a cryptographic stream.
//
// 1. Everything random is a pure function of (key, step, index): replay and resumption give the same bits,
//    and no result depends on threads, chunks or order.
// 2. ChaChaStream decides who is sampled, and the noise. What the guarantee does not rest on
//    (augmentations, initial weights) comes from core/philox.h.
// 3. Different uses have different keys: derive_key(parent, "noise") never equals derive_key(parent,
//    "sampler").
#pragma once

#include "core/exec.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace pergrad {

// 256-bit secret from which every stream of a run is derived.
struct Key {
  std::array<uint8_t, 32> bytes{};
  bool operator==(const Key&) const = default;
};

// A child key: HMAC-SHA-256(parent, label).
Key derive_key(const Key& parent, std::string_view label);
// SHA-256 of a text; reproducible mode: (seed, config, dataset fingerprint) -> run key.
Key key_from_text(std::string_view text);
// 256 bits from the operating system (getrandom).  THROWS: PrivacyError if it has none.
Key key_from_entropy();

// One ChaCha20 block (RFC 8439, section 2.3): 16 words from key, 32-bit block counter and 96-bit nonce.
PG_HD inline void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                                 uint32_t out[16]) {
  const uint32_t start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,  // "expand 32-byte k"
                              key[0],      key[1],      key[2],      key[3],      key[4],   key[5],
                              key[6],      key[7],      counter,     nonce[0],    nonce[1], nonce[2]};
  uint32_t x[16];
  for (int i = 0; i < 16; ++i) x[i] = start[i];
  const auto turn = [](uint32_t v, int bits) { return (v << bits) | (v >> (32 - bits)); };
  const auto quarter = [&](int a, int b, int c, int d) {
    x[a] += x[b], x[d] = turn(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = turn(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = turn(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = turn(x[b] ^ x[c], 7);
  };
  for (int round = 0; round < 10; ++round) {
    quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15);
    quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14);
  }
  for (int i = 0; i < 16; ++i) out[i] = x[i] + start[i];
}

// An endless sequence of bits: ChaCha20 under `key`, nonce = (step, index).
//   Guarantee: streams with different (key, step, index) share no block.  2^38 bytes at most per stream.
class ChaChaStream {
 public:
  ChaChaStream(const Key& key, uint64_t step, uint32_t index);
  // The stream (key, step, index) from another one of (key, step) that nothing was drawn from.
  PG_HD ChaChaStream(const ChaChaStream& other, uint32_t index) : ChaChaStream(other) { nonce_[2] = index; }
  PG_HD uint32_t next_u32() {
    if (used_ == 16) refill();
    return block_[used_++];
  }
  PG_HD uint64_t next_u64() {
    const uint64_t low = next_u32();
    return low | (static_cast<uint64_t>(next_u32()) << 32);
  }
  // Uniform in [0, n), exactly: words below 2^64 mod n are drawn again.   REQUIRES: n >= 1.
  PG_HD uint64_t below(uint64_t n) {
    uint64_t word = next_u64();
    while (word < n && word < (0 - n) % n) word = next_u64();
    return word % n;
  }

 private:
  PG_HD void refill() {
    chacha20_block(key_, counter_++, nonce_, block_);
    used_ = 0;
  }
  uint32_t key_[8];
  uint32_t nonce_[3];
  uint32_t counter_ = 0;
  uint32_t block_[16];
  int used_ = 16;
};

}  // namespace pergrad
