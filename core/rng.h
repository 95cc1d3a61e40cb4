// Random numbers that the guarantee rests on: keys, and a cryptographic stream.
//
// 1. Everything random is a pure function of (key, step, index): replay and resumption give the same bits,
//    and no result depends on threads, chunks or order.
// 2. ChaChaStream decides who is sampled, and the noise. What the guarantee does not rest on
//    (augmentations, initial weights) comes from core/philox.h.
// 3. Different uses have different keys: derive_key(parent, "noise") is not derive_key(parent, "sampler").
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

// What ChaCha20 makes block 0 from (RFC 8439, section 2.3): 4 constant words, 8 of the key, the block's
// number, and as nonce the step (2 words) and the index.
struct ChaChaStart {
  uint32_t words[16];
  ChaChaStart(const Key& key, uint64_t step, uint32_t index);
  PG_HD ChaChaStart(const ChaChaStart& other, uint32_t index) : ChaChaStart(other) { words[15] = index; }
};

// An endless sequence of bits: the ChaCha20 blocks 0, 1, 2, ... in their order.
//   Guarantee: streams with different (key, step, index) share no block.  2^38 bytes at most per stream.
class ChaChaStream {
 public:
  explicit ChaChaStream(const ChaChaStart& start) : state_(start) {}
  ChaChaStream(const Key& key, uint64_t step, uint32_t index) : state_(key, step, index) {}
  uint64_t next_u64() {
    if (at_ >= 128 && (at_ -= 127) == 16) refill();
    at_ += 16;
    return words_[at_ - 16];
  }

 private:
  void refill();  // the next 16 blocks, side by side: word k of block b becomes words_[16 k + b]
  ChaChaStart state_;
  uint64_t words_[128];
  int at_ = 143;  // behind the last word of block 15
};

__extension__ typedef unsigned __int128 uint128_t;

// Uniform in [0, n), exactly: words whose product's lower half is below 2^64 mod n are drawn again (Lemire
// 2019, ACM TOMACS 29:1).   REQUIRES: n >= 1.
template <class Bits>
PG_HD uint64_t below(Bits& bits, uint64_t n) {
  for (;;) {
    const uint128_t product = uint128_t{bits.next_u64()} * n;
    const auto low = static_cast<uint64_t>(product);
    if (low >= n || low >= (0 - n) % n) return static_cast<uint64_t>(product >> 64);
  }
}

}  // namespace pergrad
