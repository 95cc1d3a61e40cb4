// ChaChaBlocks: the words of a ChaChaStream (core/rng.h), made one block at a time by one thread of a GPU.
#pragma once

#include "core/rng.h"

namespace pergrad {

// One ChaCha20 block (RFC 8439, section 2.3).
PG_HD inline void chacha20_block(const ChaChaStart& start, uint32_t out[16]) {
  uint32_t x[16];
  for (int i = 0; i < 16; ++i) x[i] = start.words[i];
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
  for (int i = 0; i < 16; ++i) out[i] = x[i] + start.words[i];
}

class ChaChaBlocks {
 public:
  PG_HD explicit ChaChaBlocks(const ChaChaStart& start) : state_(start) {}
  PG_HD uint64_t next_u64() {
    if (used_ == 16) chacha20_block(state_, block_), ++state_.words[12], used_ = 0;
    used_ += 2;
    return block_[used_ - 2] | static_cast<uint64_t>(block_[used_ - 1]) << 32;
  }

 private:
  ChaChaStart state_;
  uint32_t block_[16];
  int used_ = 16;
};

}  // namespace pergrad
