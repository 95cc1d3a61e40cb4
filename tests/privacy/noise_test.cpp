// The discrete Gaussian: its law at small sigma against the exact probabilities, moments and tails at 2^41.
#include "tests/privacy/fakes.h"
#include "dp/discrete_gaussian.h"

#include <gtest/gtest.h>

#include <map>

namespace pergrad::dp {
namespace {

double chi_square(const std::vector<double>& seen, const std::vector<double>& expected) {
  double total = 0;
  for (size_t i = 0; i < seen.size(); ++i)
    total += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
  return total;
}

// Over all first two bytes: heads for exactly floor(65536 a / b) of them, and at most one that needs a third.
TEST(Coin, IsExact) {
  for (const auto& [a, b] :
       std::vector<std::pair<uint64_t, uint64_t>>{{1, 2},
                                                  {1, 3},
                                                  {1, 6},
                                                  {2, 3},
                                                  {0, 5},
                                                  {5, 5},
                                                  {1, 7},
                                                  {255, 256},
                                                  {99999, 100003},
                                                  {(uint64_t{1} << 54) / 3, uint64_t{1} << 54},
                                                  {(uint64_t{1} << 54) - 1, uint64_t{1} << 54}}) {
    uint64_t heads = 0, open = 0;
    for (uint64_t first = 0; first < 65536; ++first) {
      int used = 0;
      bool settled = true;
      const bool head = coin(a, b, [&]() -> uint64_t {
        ++used;
        settled = settled && used <= 2;
        return used == 1 ? first >> 8 : used == 2 ? first & 255 : 0;
      });
      heads += settled && head, open += !settled;
    }
    EXPECT_EQ(heads, static_cast<uint64_t>(static_cast<long double>(a) * 65536 / static_cast<long double>(b)))
        << a << '/' << b;
    EXPECT_LE(open, 1u);
  }
}

// Detects a change of 1 % in the probability of 0 at sigma 1, and any larger distortion.
TEST(DiscreteGaussian, HasTheExactLawAtSmallSigma) {
  constexpr int kDraws = 400000;
  for (int64_t sigma : {1, 2, 3, 7, 10}) {
    DiscreteGaussian noise(sigma, ChaChaStream(key_from_text("law"), static_cast<uint64_t>(sigma), 0));
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
  DiscreteGaussian noise(sigma, ChaChaStream(key_from_text("large"), 0, 0));
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
  DiscreteGaussian noise(1, ChaChaStream(key_from_text("tails"), 0, 0));
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
    DiscreteGaussian noise(sigma, ChaChaStream(key_from_text("range"), 0, 0));
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
