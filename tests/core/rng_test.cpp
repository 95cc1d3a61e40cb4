// The generators against published vectors, and the laws of what is made of their bits.
#include "core/gpu/chacha.h"
#include "core/philox.h"
#include "tests/support/compare.h"
#include "tests/support/scripted_bits.h"
#include "tests/support/tolerance.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace pergrad::test {
namespace {

// The key and nonce of RFC 8439, section 2.3.2: words 0x09000000, 0x4a000000, 0 of nonce as (step, index).
ChaChaStart rfc_start() {
  Key key;
  for (size_t i = 0; i < 32; ++i) key.bytes[i] = static_cast<uint8_t>(i);
  return {key, 0x4a00000009000000ull, 0};
}
const uint32_t kRfcBlock1[16] = {0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033,
                                 0x9aaa2204, 0x4e6cd4c3, 0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9,
                                 0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};

TEST(ChaCha20, Rfc8439BlockFunction) {  // section 2.3.2
  ChaChaStart start = rfc_start();
  start.words[12] = 1;
  uint32_t out[16];
  chacha20_block(start, out);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(out[i], kRfcBlock1[i]) << i;
}

TEST(ChaCha20, Rfc8439AppendixA1) {  // test vectors 1 and 2: key and nonce zero, counters 0 and 1
  ChaChaStream stream(Key{}, 0, 0);
  EXPECT_EQ(stream.next_u64(), 0x903df1a0ade0b876ull);
  for (int i = 1; i < 8; ++i) stream.next_u64();
  EXPECT_EQ(stream.next_u64(), 0x7a385155bee7079full);
}

TEST(ChaCha20, StreamIsTheBlocksInOrder) {
  ChaChaStream stream(rfc_start());
  for (int i = 0; i < 8; ++i) stream.next_u64();
  for (int i = 0; i < 16; i += 2)
    EXPECT_EQ(stream.next_u64(), kRfcBlock1[i] | uint64_t{kRfcBlock1[i + 1]} << 32);
}

// 16 blocks at once, and one at a time as a thread of a GPU makes them: the same words, over many refills.
TEST(ChaCha20, SixteenBlocksAtOnceAreTheSixteenBlocks) {
  const Key key = key_from_text("batch");
  for (uint64_t step : {uint64_t{0}, uint64_t{7}, uint64_t{1} << 63})
    for (uint32_t index : {0u, 1u, ~0u}) {
      ChaChaStream many(key, step, index);
      ChaChaBlocks single(ChaChaStart(ChaChaStart(key, step, 5), index));
      for (int i = 0; i < 8 * 16 * 5 + 3; ++i) ASSERT_EQ(many.next_u64(), single.next_u64()) << i;
    }
}

// Each result has floor(2^64 / n) words: those whose product with n has it as its upper half, without the
// first where there is one more.
TEST(Below, IsExact) {
  for (uint64_t n :
       {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{10}, uint64_t{240}, (uint64_t{1} << 48) - 1,
        (uint64_t{1} << 54) / 3, uint64_t{1} << 54, (uint64_t{1} << 63) + 1, ~uint64_t{0}}) {
    const uint128_t all = uint128_t{1} << 64;
    const auto per_result = static_cast<uint64_t>(all / n);
    for (uint64_t r : {uint64_t{0}, uint64_t{1}, n / 3, n / 2, n - 2, n - 1}) {
      if (r >= n) continue;
      const uint128_t first = (all * r + n - 1) / n, end = (all * (r + 1) + n - 1) / n;
      const auto drawn = [&](uint128_t word) {
        ScriptedBits bits{{static_cast<uint64_t>(word), ~uint64_t{0}}};
        const uint64_t result = below(bits, n);
        return *bits.used == 1 ? result : n;  // n: drawn again
      };
      const auto spare = static_cast<uint64_t>(end - first) - per_result;  // 0 or 1
      ASSERT_LE(spare, 1u);
      EXPECT_EQ(drawn(first), spare == 1 ? n : r) << n << ' ' << r;
      if (first + spare < end) {
        EXPECT_EQ(drawn(first + spare), r) << n << ' ' << r;
        EXPECT_EQ(drawn(end - 1), r) << n << ' ' << r;
      }
    }
  }
}

TEST(ChaCha20, StreamsDiffer) {
  std::set<uint64_t> seen;
  Key other;
  other.bytes[31] = 1;
  for (const Key& key : {Key{}, other})
    for (uint64_t step : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32})
      for (uint32_t index : {0u, 1u, 7u})
        EXPECT_TRUE(seen.insert(ChaChaStream(key, step, index).next_u64()).second);
}

struct PhiloxVector {
  uint64_t key, low, high;
  uint32_t out[4];
};

TEST(Philox, Random123Vectors) {  // Random123 1.14, tests/kat_vectors, philox4x32 10
  const PhiloxVector vectors[] = {
      {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {0x299f31d0a4093822ull,  // digits of pi
       0x85a308d3243f6a88ull,
       0x0370734413198a2eull,
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const PhiloxVector& v : vectors) {
    uint32_t out[4];
    philox4x32_10(v.key, v.low, v.high, out);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(out[i], v.out[i]) << std::hex << v.key << ' ' << i;
  }
}

TEST(Philox, StreamCountsBlocksAndKeepsItsSubsequence) {
  PhiloxStream stream(42, 7);
  for (uint64_t block = 0; block < 3; ++block) {
    uint32_t out[4];
    philox4x32_10(42, block, 7, out);
    for (uint32_t word : out) EXPECT_EQ(stream.next_u32(), word);
  }
}

TEST(Philox, PartsAreFarBlocksWhereverTheStreamStands) {
  PhiloxStream stream(42, 7), untouched(42, 7);
  for (const uint32_t number : {0u, 1u, 131071u}) {
    uint32_t out[4];
    philox4x32_10(42, (uint64_t{number} + 1) << 32, 7, out);
    PhiloxStream part = stream.part(number);
    for (uint32_t word : out) EXPECT_EQ(part.next_u32(), word);
    EXPECT_EQ(stream.next_u32(), untouched.next_u32());
  }
}

TEST(Philox, ExamplesAndStepsHaveTheirOwnStreams) {
  const Key key = key_from_text("a");
  std::set<uint64_t> seen;
  for (int64_t step : {0, 1, 2})
    for (int64_t id : {0, 1, 2}) EXPECT_TRUE(seen.insert(PhiloxStream::of(key, step, id).next_u64()).second);
  EXPECT_EQ(PhiloxStream::of(key, 1, 2).next_u64(), PhiloxStream::of(key, 1, 2).next_u64());
  EXPECT_THROW(PhiloxStream::of(key, -1, 0), Error);
  EXPECT_THROW(PhiloxStream::of(key, 0, int64_t{1} << 32), Error);
}

TEST(Philox, BelowIsUniform) {
  // Chi-squared with n - 1 degrees of freedom; its cube root is nearly normal (Wilson and Hilferty 1931).
  for (uint32_t n : {2u, 3u, 7u, 10u, 81u}) {
    PhiloxStream random(123, n);
    const int draws = 200000;
    std::vector<double> counts(n);
    for (int i = 0; i < draws; ++i) {
      const uint32_t k = random.below(n);
      ASSERT_LT(k, n);
      ++counts[k];
    }
    double chi = 0;
    for (double c : counts) chi += (c - draws / double(n)) * (c - draws / double(n)) / (draws / double(n));
    const double freedom = n - 1, variance = 2 / (9 * freedom);
    const double z = (std::cbrt(chi / freedom) - (1 - variance)) / std::sqrt(variance);
    EXPECT_LT(std::abs(z), kStatisticalSigmas) << n;
  }
  PhiloxStream random(1, 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.below(1), 0u);
}

TEST(Philox, BelowRejectsWhatWouldBeUneven) {
  // n = 3 * 2^30: without rejection the result is floor(3 u / 4) of a 32-bit u, a multiple of 3 for two u of
  // four: probability 1/2 where 1/3 is right.
  PhiloxStream random(9, 9);
  const uint32_t n = 3u << 30;
  const int draws = 100000;
  int hits = 0;
  for (int i = 0; i < draws; ++i) hits += random.below(n) % 3 == 0;
  const double sigma = std::sqrt(draws * (1.0 / 3) * (2.0 / 3));
  EXPECT_LT(std::abs(hits - draws / 3.0), kStatisticalSigmas * sigma);
}

TEST(Philox, UniformAndNormalMoments) {
  PhiloxStream random(5, 5);
  const int draws = 200000;
  double sum = 0, normal_sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < draws; ++i) {
    const double u = random.uniform(), z = random.normal();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_TRUE(std::isfinite(z));
    sum += u;
    normal_sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  const double root = std::sqrt(static_cast<double>(draws));
  EXPECT_LT(std::abs(sum / draws - 0.5), kStatisticalSigmas * std::sqrt(1.0 / 12) / root);
  EXPECT_LT(std::abs(normal_sum / draws), kStatisticalSigmas / root);
  EXPECT_LT(std::abs(squares / draws - 1), kStatisticalSigmas * std::sqrt(2.0) / root);
  EXPECT_LT(std::abs(fourth / draws - 3), kStatisticalSigmas * std::sqrt(96.0) / root);
}

TEST(Keys, DerivedKeysAreIndependent) {
  const Key parent = key_from_text("run");
  std::set<std::array<uint8_t, 32>> seen = {parent.bytes};
  for (const char* label : {"", "noise", "sampler", "nois", "noise ", "init"})
    EXPECT_TRUE(seen.insert(derive_key(parent, label).bytes).second) << label;
  EXPECT_TRUE(seen.insert(derive_key(key_from_text("run2"), "noise").bytes).second);
  EXPECT_TRUE(seen.insert(derive_key(derive_key(parent, "noise"), "noise").bytes).second);
  EXPECT_EQ(derive_key(parent, "noise"), derive_key(parent, "noise"));
  // Streams under two derived keys: their exclusive or has half of its bits set.
  ChaChaStream a(derive_key(parent, "noise"), 0, 0), b(derive_key(parent, "sampler"), 0, 0);
  const int words = 2048;
  int ones = 0;
  for (int i = 0; i < words; ++i) ones += __builtin_popcountll(a.next_u64() ^ b.next_u64());
  EXPECT_LT(std::abs(ones - 32.0 * words), kStatisticalSigmas * std::sqrt(16.0 * words));
}

TEST(Keys, EntropyIsFresh) { EXPECT_NE(key_from_entropy(), key_from_entropy()); }

}  // namespace
}  // namespace pergrad::test
