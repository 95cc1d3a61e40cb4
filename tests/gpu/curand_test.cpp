// core/philox.h gives the stream of cuRAND. Its generator for the processor needs no GPU; builds with cuRAND
// only.
#include "core/philox.h"

#include <gtest/gtest.h>

#include <vector>

#if defined(PG_CURAND)
#include <curand.h>
#endif

namespace pergrad::test {
namespace {

#if defined(PG_CURAND)

// 64 values of each of the 65,536 subsequences, which take turns, four values at a time (cuRAND guide, 2.2.3
// "Order": the legacy order, which no release changes).
constexpr size_t kSubsequences = 65536, kBlocks = 16, kSize = kSubsequences * kBlocks * 4;

class Generator {
 public:
  explicit Generator(uint64_t seed) {
    EXPECT_EQ(curandCreateGeneratorHost(&generator_, CURAND_RNG_PSEUDO_PHILOX4_32_10), CURAND_STATUS_SUCCESS);
    EXPECT_EQ(curandSetGeneratorOrdering(generator_, CURAND_ORDERING_PSEUDO_LEGACY), CURAND_STATUS_SUCCESS);
    EXPECT_EQ(curandSetPseudoRandomGeneratorSeed(generator_, seed), CURAND_STATUS_SUCCESS);
  }
  ~Generator() { curandDestroyGenerator(generator_); }
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  std::vector<uint32_t> words() {
    std::vector<uint32_t> out(kSize);
    EXPECT_EQ(curandGenerate(generator_, out.data(), kSize), CURAND_STATUS_SUCCESS);
    return out;
  }
  std::vector<float> uniforms() {
    std::vector<float> out(kSize);
    EXPECT_EQ(curandGenerateUniform(generator_, out.data(), kSize), CURAND_STATUS_SUCCESS);
    return out;
  }

 private:
  curandGenerator_t generator_ = nullptr;
};

// visit(place in cuRAND's order, our word), for all of them.
template <class Visit>
void each_word(uint64_t seed, const Visit& visit) {
  for (size_t s = 0; s < kSubsequences; ++s) {
    PhiloxStream stream(seed, s);
    for (size_t block = 0; block < kBlocks; ++block)
      for (size_t i = 0; i < 4; ++i) visit((block * kSubsequences + s) * 4 + i, stream.next_u32());
  }
}

TEST(Curand, FourMillionWordsAreOurs) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{0x0123456789abcdef}}) {
    const std::vector<uint32_t> theirs = Generator(seed).words();
    size_t wrong = 0;
    each_word(seed, [&](size_t at, uint32_t word) { wrong += theirs[at] != word; });
    EXPECT_EQ(wrong, 0u) << "of " << kSize << ", seed " << seed;
  }
}

// Its floats are x 2^-32 + 2^-33, in (0, 1].
TEST(Curand, UniformNumbersAreOurWordsScaled) {
  const std::vector<float> theirs = Generator(42).uniforms();
  size_t wrong = 0;
  each_word(42, [&](size_t at, uint32_t word) {
    wrong += theirs[at] != static_cast<float>(word) * 0x1p-32f + 0x1p-33f;
  });
  EXPECT_EQ(wrong, 0u) << "of " << kSize;
}

#else

TEST(Curand, FourMillionWordsAreOurs) { GTEST_SKIP() << "this build has no cuRAND"; }

#endif

}  // namespace
}  // namespace pergrad::test
