// The discrete Gaussian: its table, its indices, places and coins one by one; its law at small sigma against
// the exact probabilities, moments and tails at 2^41.
#include "tests/privacy/fakes.h"
#include "tests/support/scripted_bits.h"
#include "core/gpu/chacha.h"
#include "dp/discrete_gaussian.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>

namespace pergrad::dp {
namespace {

double chi_square(const std::vector<double>& seen, const std::vector<double>& expected) {
  double total = 0;
  for (size_t i = 0; i < seen.size(); ++i)
    total += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
  return total;
}

const GaussianBins kTable;

uint64_t first_index(int i) { return i == 0 ? 0 : kTable.last[i - 1] + 1; }

// The mantissa of v_i and its exponent: v_i = mantissa * 2^-shift, as the constructor had them.
std::pair<uint128_t, int> value_of_bin(int i) {
  const uint128_t whole = kTable.last[i] - first_index(i);
  if (whole == 0) return {kTable.fraction[i], 128 + kTable.halvings[i]};
  int shift = 128;
  for (; whole >> (128 - shift) != 0; --shift) {
  }
  return {whole << shift | (kTable.fraction[i] >> (128 - shift)), shift};
}

// Every v_i against exp in long double, to 2^-60.
TEST(GaussianBins, HoldExp) {
  for (int i = 0; i < GaussianBins::kBins; ++i) {
    const auto [mantissa, shift] = value_of_bin(i);
    ASSERT_TRUE(i == 0 || mantissa >> 127 == 1) << i;
    const long double value = std::ldexp(static_cast<long double>(mantissa), -shift);
    const long double wanted =
        std::ldexp(101.0L, 37) * std::exp(-static_cast<long double>(i) * static_cast<long double>(i) / 8192);
    ASSERT_LT(std::fabs(value / wanted - 1), std::max(0x1p-60L, 64 * LDBL_EPSILON)) << i;
  }
}

// The proved error, 2^-100, against 128 bits of 101 * 2^37 * exp(-i^2 / 8192) (Python's decimal, 120 digits).
// Units of the last place of a mantissa in [1/2, 1): 2^28. Measured: below 2^26.
TEST(GaussianBins, AreAsExactAsProved) {
  struct Row {
    int i, shift;
    uint64_t high, low;
  };
  const Row rows[] = {
      {1, 84, 0xc9f9b0193fbcab31, 0x547ddefd268a29ea},
      {2, 84, 0xc9e6c193ef2b3151, 0xf7896bc4ad9314a2},
      {63, 85, 0xf8dde6821656f58a, 0xf7e0ff9395bc5ccc},
      {64, 85, 0xf509d3b300c63e2c, 0xce71a5c27104d7ef},
      {300, 100, 0xe02531c79af9c643, 0xfdb065bf6e01340c},
      {571, 141, 0x97116a14b6443387, 0x5f630de151bb7daf},
      {572, 141, 0x8364faa55c980aae, 0x51f6458143a9fcaa},
      {573, 142, 0xe48297ce7371f351, 0xb6e00e37a1a27536},
      {1000, 260, 0xbb23ef4698909596, 0xc2de01ce0bcf0f24},
      {2048, 823, 0xffb51d58e7b40f13, 0x09f043830f8dd6f1},
      {4094, 3036, 0xef6dcb35e758483e, 0x600bd64970c87285},
      {4095, 3037, 0xb039f8aef169ba89, 0xf01d86589fb5d7c4},
  };
  for (const Row& row : rows) {
    const auto [mantissa, shift] = value_of_bin(row.i);
    ASSERT_EQ(shift, row.shift) << row.i;
    const uint128_t wanted = uint128_t{row.high} << 64 | row.low;
    const uint128_t error = mantissa > wanted ? mantissa - wanted : wanted - mantissa;
    EXPECT_LT(error, uint128_t{1} << 28) << row.i;
  }
}

TEST(GaussianBins, ShareTheIndicesWithoutGaps) {
  for (int i = 1; i < GaussianBins::kBins; ++i) ASSERT_GT(kTable.last[i], kTable.last[i - 1]) << i;
  EXPECT_LT(kTable.last[GaussianBins::kBins - 1], uint64_t{1} << 50);
  EXPECT_GT(kTable.last[GaussianBins::kBins - 1], (uint64_t{1} << 50) / 256 * 254);  // and few are left over
}

// What a sampler makes of these words: a number, or nothing if it asks for more (which means: drawn anew).
std::optional<int64_t> drawn(int64_t sigma, std::vector<uint64_t> words, size_t* used = nullptr) {
  const test::ScriptedBits bits{std::move(words)};
  DiscreteGaussian noise(kTable, sigma, bits);
  try {
    const int64_t value = noise.next();
    if (used != nullptr) *used = *bits.used;
    return value;
  } catch (const std::out_of_range&) {
    return {};
  }
}
uint64_t word_of(uint64_t index, uint64_t u, bool negative = false) {
  return index << 14 | uint64_t{negative} << 13 | u;
}
constexpr uint64_t kSurely = 8191;        // the u that every bin keeps without coins
constexpr uint64_t kEven = ~uint64_t{1};  // a halving is passed; as a proposal it would be nobody's

// A proposal of the last index of bin i, and of place m, and what makes it count.
std::vector<uint64_t> last_of(int i, uint64_t m, uint64_t places, bool negative = false) {
  std::vector<uint64_t> words = {word_of(kTable.last[i], kSurely, negative), test::word_for(m, places)};
  words.resize(words.size() + kTable.halvings[i], kEven);
  words.push_back(0), words.push_back(0);
  return words;
}

// Each bin has its indices, seen from outside: with sigma 2^10, place m of bin i is the number 16 i + m. The
// last index counts for exactly v_i - floor(v_i) of what can follow it.
TEST(DiscreteGaussian, DrawsEachBinByItsOwnIndices) {
  for (int i = 0; i < GaussianBins::kBins; ++i) {
    const uint64_t first = first_index(i), last = kTable.last[i], m = test::word_for(3, 16);
    if (first < last) {
      for (uint64_t index : {first, (first + last) / 2, last - 1})
        ASSERT_EQ(drawn(1024, {word_of(index, kSurely), m}), 16 * i + 3) << i;
    }
    const auto halvings = kTable.halvings[i];
    const auto with = [&](uint128_t rest, int odd) {
      std::vector<uint64_t> words = {word_of(last, kSurely), m};
      for (int n = 0; n < halvings; ++n) words.push_back(n == odd ? kEven + 1 : kEven);
      words.push_back(static_cast<uint64_t>(rest >> 64)), words.push_back(static_cast<uint64_t>(rest));
      return drawn(1024, words);
    };
    const uint128_t fraction = kTable.fraction[i];
    if (fraction > 0) {
      ASSERT_EQ(with(0, -1), 16 * i + 3) << i;
      ASSERT_EQ(with(fraction - 1, -1), 16 * i + 3) << i;
    }
    ASSERT_EQ(with(fraction, -1), std::nullopt) << i;
    ASSERT_EQ(with(~uint128_t{0}, -1), std::nullopt) << i;
    for (int odd : {0, halvings / 2, halvings - 1})
      if (odd >= 0 && odd < halvings) {
        ASSERT_EQ(with(0, odd), std::nullopt) << i;
      }
  }
  const uint64_t end = kTable.last[GaussianBins::kBins - 1];
  for (uint64_t index : {end + 1, (uint64_t{1} << 50) - 1})
    for (uint64_t u : {uint64_t{0}, kSurely}) {
      size_t used = 0;  // nobody's: the next proposal is taken
      EXPECT_EQ(drawn(1024, {word_of(index, u), 5, word_of(7, kSurely), test::word_for(9, 16)}, &used), 9);
      EXPECT_EQ(used, 4u);
    }
}

// Every integer belongs to one place of one bin, for every sigma; with both signs, but 0 with one only.
TEST(DiscreteGaussian, ReachesEveryIntegerInOneWay) {
  for (int64_t sigma : {1, 2, 3, 7, 10, 63, 64, 65, 100, 127, 1000}) {
    const auto places = static_cast<uint64_t>((sigma + 63) / 64);
    std::map<int64_t, int> seen;
    for (int i = 0; i < GaussianBins::kBins; ++i)
      for (uint64_t m = 0; m < places; ++m)
        for (bool negative : {false, true}) {
          std::vector<uint64_t> words = last_of(i, m, places, negative);
          if (i == 0) words = {word_of(0, kSurely, negative), words[1]};  // its last never counts
          const auto z = drawn(sigma, words);
          if (!z) continue;
          ASSERT_EQ(std::abs(*z) * 64 / sigma, i) << sigma;
          ASSERT_EQ(*z < 0, negative) << sigma;
          ++seen[*z];
        }
    EXPECT_EQ(seen.size(), static_cast<size_t>(2 * 64 * sigma - 1)) << sigma;
    for (const auto& [z, times] : seen) ASSERT_EQ(times, 1) << z;
  }
  // At the upper end of the range, in 128 bits.
  for (int64_t sigma : {int64_t{1} << 54, (int64_t{1} << 54) - 1, (int64_t{1} << 53) + 12345}) {
    const auto places = static_cast<uint64_t>((sigma + 63) / 64);
    for (int i : {1, 2, 63, 64, 1000, 4094, 4095})
      for (uint64_t m : {uint64_t{0}, places / 3, places - 2, places - 1}) {
        const int128 before = (int128{i} * sigma + 63) / 64, wanted = before + static_cast<int128>(m);
        const auto z = drawn(sigma, last_of(i, m, places));
        const bool inside = wanted * 64 < (int128{i} + 1) * sigma;
        ASSERT_EQ(z, inside ? std::optional(static_cast<int64_t>(wanted)) : std::nullopt) << i << ' ' << m;
      }
  }
}

// The coins of exp(-x (2 i + x) / 8192), each at the ends of its range: which make heads, and what follows.
TEST(DiscreteGaussian, KeepsByTheStatedCoins) {
  constexpr uint64_t kSigma = 1 << 16, kPlaces = kSigma / 64;
  for (int i : {0, 1, 50, 64, 300}) {
    const uint64_t m = 700, a = 64 * m, edge = 2 * static_cast<uint64_t>(i);
    const int64_t j = i * static_cast<int64_t>(kPlaces) + 700;
    const uint64_t x_heads = test::word_for(a - 1, kSigma), x_tail = test::word_for(a, kSigma),
                   tail = kSurely;
    const auto kept = [&](uint64_t u, std::vector<uint64_t> coins) {
      std::vector<uint64_t> words = {word_of(first_index(i), u), test::word_for(m, kPlaces)};
      words.insert(words.end(), coins.begin(), coins.end());
      const size_t all = words.size();
      words.push_back(word_of(first_index(0), kSurely)), words.push_back(test::word_for(5, kPlaces));
      size_t used = 0;  // the next proposal is 5: what comes if this one is not kept
      const auto z = drawn(kSigma, words, &used);
      EXPECT_TRUE(z == j ? used == all : z == 5 && used == all + 2) << i << ' ' << u;
      return z == j;
    };
    const uint64_t one = test::word_for(0, 1), half_heads = test::word_for(0, 2),
                   half_tail = test::word_for(1, 2), third_tail = test::word_for(1, 3);
    // The first toss: g itself.
    EXPECT_TRUE(kept(edge + 1, {}));
    EXPECT_TRUE(kept(edge, {x_tail}));
    EXPECT_TRUE(kept(edge, {x_heads, x_tail}));
    EXPECT_FALSE(kept(edge, {x_heads, x_heads, one, tail}));
    if (i > 0) {
      EXPECT_TRUE(kept(edge - 1, {x_tail}));
      EXPECT_FALSE(kept(edge - 1, {x_heads, one, tail}));
      EXPECT_FALSE(kept(0, {x_heads, one, tail}));
      // The second: g / 2; the third: g / 3. An even number of tosses is a rejection.
      EXPECT_FALSE(kept(0, {x_heads, one, edge + 1}));
      EXPECT_FALSE(kept(0, {x_heads, one, edge - 1, x_tail}));
      EXPECT_FALSE(kept(0, {x_heads, one, edge, x_tail}));
      EXPECT_FALSE(kept(0, {x_heads, one, 0, x_heads, half_tail}));
      EXPECT_TRUE(kept(0, {x_heads, one, 0, x_heads, half_heads, tail}));
      EXPECT_TRUE(kept(0, {x_heads, one, 8192, x_heads, half_heads, edge + 1 + 8192}));
      EXPECT_TRUE(kept(0, {x_heads, one, 0, x_heads, half_heads, 0, x_heads, third_tail}));
      EXPECT_FALSE(kept(0, {x_heads, one, 0, x_heads, half_heads, 0, x_heads, test::word_for(0, 3), tail}));
    }
  }
}

// A GPU's thread makes its blocks one at a time, and draws the same numbers.
TEST(DiscreteGaussian, IsTheSameFromBlocksOneAtATime) {
  for (int64_t sigma : {int64_t{1}, int64_t{1000}, (int64_t{1} << 41) + 12345, int64_t{1} << 54}) {
    const ChaChaStart start(key_from_text("same"), 3, 9);
    DiscreteGaussian many(kTable, sigma, ChaChaStream(start));
    DiscreteGaussian single(kTable, sigma, ChaChaBlocks(start));
    for (int n = 0; n < 5000; ++n) ASSERT_EQ(many.next(), single.next()) << sigma << ' ' << n;
  }
}

// Detects a change of 1 % in the probability of 0 at sigma 1, and any larger distortion.
TEST(DiscreteGaussian, HasTheExactLawAtSmallSigma) {
  constexpr int kDraws = 400000;
  for (int64_t sigma : {1, 2, 3, 7, 10}) {
    DiscreteGaussian noise(kTable, sigma,
                           ChaChaStream(key_from_text("law"), static_cast<uint64_t>(sigma), 0));
    std::map<int64_t, int> seen;
    for (int i = 0; i < kDraws; ++i) ++seen[noise.next()];
    const auto weight = [&](int64_t z) {
      return std::exp(-0.5 * static_cast<double>(z * z) / static_cast<double>(sigma * sigma));
    };
    double norm = 0;
    for (int64_t z = -50 * sigma; z <= 50 * sigma; ++z) norm += weight(z);
    std::vector<double> counts, expected;
    double rest = kDraws, rest_expected = kDraws;
    for (int64_t z = -5 * sigma; z <= 5 * sigma; ++z)
      if (const double e = kDraws * weight(z) / norm; e >= 20) {
        counts.push_back(seen[z]), expected.push_back(e);
        rest -= seen[z], rest_expected -= e;
      }
    if (rest_expected > 5) counts.push_back(rest), expected.push_back(rest_expected);
    EXPECT_LT(chi_square(counts, expected), chi_square_limit(static_cast<double>(counts.size() - 1)))
        << "sigma " << sigma;
  }
}

TEST(DiscreteGaussian, IsGaussianAtTheSizeThatIsUsed) {
  constexpr int kDraws = 1500000;
  const int64_t sigma = (int64_t{1} << 41) + 12345;
  DiscreteGaussian noise(kTable, sigma, ChaChaStream(key_from_text("large"), 0, 0));
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, beyond4 = 0, lag = 0, last = 0;
  std::vector<double> bins(66), expected(66), low_byte(256), same(256, kDraws / 256.0);
  for (int i = 0; i < kDraws; ++i) {
    const int64_t value = noise.next();
    const double z = static_cast<double>(value) / static_cast<double>(sigma);
    m1 += z, m2 += z * z, m3 += z * z * z, m4 += z * z * z * z, lag += z * last, last = z;
    beyond4 += std::fabs(z) > 4;
    ++bins[static_cast<size_t>(std::clamp(std::floor(z * 8) + 33, 0.0, 65.0))];
    ++low_byte[static_cast<size_t>(value & 255)];
  }
  const double n = kDraws;
  EXPECT_LT(std::fabs(m1), kSigmas * std::sqrt(n));
  EXPECT_LT(std::fabs(m2 - n), kSigmas * std::sqrt(2 * n));  // 0.7 % of the variance
  EXPECT_LT(std::fabs(m3), kSigmas * std::sqrt(15 * n));
  EXPECT_LT(std::fabs(m4 - 3 * n), kSigmas * std::sqrt(96 * n));
  EXPECT_LT(std::fabs(lag), kSigmas * std::sqrt(n));
  const double tail = n * std::erfc(4 / std::sqrt(2.0));
  EXPECT_LT(std::fabs(beyond4 - tail), kSigmas * std::sqrt(tail) + 4);
  for (size_t b = 0; b < 66; ++b) {
    const double low = b == 0 ? 0 : normal_cdf((static_cast<double>(b) - 33) / 8);
    const double high = b == 65 ? 1 : normal_cdf((static_cast<double>(b) - 32) / 8);
    expected[b] = n * (high - low);
  }
  EXPECT_LT(chi_square(bins, expected), chi_square_limit(65));
  EXPECT_LT(chi_square(low_byte, same), chi_square_limit(255));
}

// The support reaches far: with sigma 1 and many draws, values beyond 4.5 sigma turn up as often as they
// should.
TEST(DiscreteGaussian, ReachesIntoTheTails) {
  DiscreteGaussian noise(kTable, 1, ChaChaStream(key_from_text("tails"), 0, 0));
  constexpr int kDraws = 6000000;
  int five = 0;
  for (int i = 0; i < kDraws; ++i) five += std::abs(noise.next()) >= 5;
  const double expected =
      kDraws * 2 * std::exp(-12.5) * (1 + std::exp(-5.5)) / std::sqrt(2 * 3.14159265358979);
  EXPECT_GT(five, 0);
  EXPECT_LT(std::fabs(five - expected), kSigmas * std::sqrt(expected) + 4);
}

TEST(DiscreteGaussian, HoldsAtTheEndsOfItsRange) {
  for (int64_t sigma : {int64_t{1}, (int64_t{1} << 20) + 1, int64_t{1} << 54}) {
    DiscreteGaussian noise(kTable, sigma, ChaChaStream(key_from_text("range"), 0, 0));
    double squares = 0;
    for (int i = 0; i < 20000; ++i) {
      const double z = static_cast<double>(noise.next()) / static_cast<double>(sigma);
      ASSERT_LT(std::fabs(z), 64);
      squares += z * z;
    }
    EXPECT_LT(std::fabs(squares - 20000), kSigmas * std::sqrt(2 * 20000.0)) << sigma;
  }
}

}  // namespace
}  // namespace pergrad::dp
