// Random numbers that the guarantee does not rest on: augmentations, initial weights, shuffles without
// privacy.
#pragma once

#include "core/exec.h"
#include "core/rng.h"

#include <cstdint>

namespace pergrad {

// One Philox4x32-10 block (Salmon et al. 2011): four words from a 64-bit key and a 128-bit counter.
PG_HD inline void philox4x32_10(uint64_t key, uint64_t counter_low, uint64_t counter_high, uint32_t out[4]) {
  uint32_t c[4] = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                   static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    for (int i = 0; i < 4; ++i) c[i] = next[i];
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 4; ++i) out[i] = c[i];
}

// Philox4x32-10 (Salmon et al. 2011), the stream of cuRAND's curand_init(seed, subsequence, 0).
class PhiloxStream {
 public:
  PG_HD PhiloxStream(uint64_t seed, uint64_t subsequence) : seed_(seed), subsequence_(subsequence) {}
  // The stream of one example in one step.  REQUIRES: step, id < 2^32.
  static PhiloxStream of(const Key& key, int64_t step, int64_t id);

  PG_HD uint32_t next_u32() {
    if (used_ == 4) {
      philox4x32_10(seed_, block_index_++, subsequence_, block_);
      used_ = 0;
    }
    return block_[used_++];
  }
  PG_HD uint64_t next_u64() {
    const uint64_t low = next_u32();
    return low | (static_cast<uint64_t>(next_u32()) << 32);
  }
  // Uniform on the 2^53 doubles k / 2^53 of [0, 1).
  PG_HD double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }
  // Uniform integer in [0, n), exactly (Lemire's rejection).  REQUIRES: n >= 1.
  PG_HD uint32_t below(uint32_t n) {
    uint64_t product = uint64_t{next_u32()} * n;
    if (static_cast<uint32_t>(product) < n) {
      const uint32_t threshold = (0u - n) % n;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{next_u32()} * n;
    }
    return static_cast<uint32_t>(product >> 32);
  }
  // A stream of its own that any number of draws from this one leaves as it is: the blocks from
  // 2^32 (number + 1) on, which this stream does not reach.
  PG_HD PhiloxStream part(uint32_t number) const {
    PhiloxStream stream(seed_, subsequence_);
    stream.block_index_ = (uint64_t{number} + 1) << 32;
    return stream;
  }
  // Standard normal (Box and Muller, one value per pair; not used for privacy noise).
  double normal();

 private:
  uint64_t seed_;
  uint64_t subsequence_;
  uint64_t block_index_ = 0;
  uint32_t block_[4] = {0, 0, 0, 0};
  int used_ = 4;
};

}  // namespace pergrad
