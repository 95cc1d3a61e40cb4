// CpuExec: every index once, on any number of threads, and exceptions come out.
#include "core/exec_rows.h"
#include "core/error.h"
#include "tests/support/compare.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

namespace pergrad::test {
namespace {

TEST(Exec, ForEachVisitsEveryIndexOnce) {
  for (int threads : {1, 2, 5})
    for (int64_t n : {0, 1, 7, 1000}) {
      std::vector<int> visits(static_cast<size_t>(n));
      CpuExec{threads}.for_each(n, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
      EXPECT_EQ(std::accumulate(visits.begin(), visits.end(), 0), n);
      EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](int v) { return v == 1; }));
    }
}

TEST(Exec, ForEachRowVisitsEveryRowOnce) {
  for (int threads : {1, 2, 5})
    for (int64_t n : {0, 1, 7, 200}) {
      std::vector<int> visits(static_cast<size_t>(n));
      for_each_row(CpuExec{threads}, n, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
      EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](int v) { return v == 1; }));
    }
}

TEST(Exec, AnExceptionInARowComesOutAndStopsTheHandOut) {
  for (int threads : {1, 3}) {
    std::atomic<int> visited = 0;
    const auto run = [&] {
      for_each_row(CpuExec{threads}, 100000, [&](int64_t i) {
        ++visited;
        PG_CHECK(i != 5, "row: ", i, " is bad");
        // The others must not be through with all rows before this one's exception is on its way.
        if (i > 5) std::this_thread::sleep_for(std::chrono::microseconds(20));
      });
    };
    EXPECT_EQ(message_of(run), "row: 5 is bad") << threads;
    EXPECT_LT(visited, 100000) << threads << " threads: rows were handed out after the exception";
    // Whatever was thrown, and the loop works again afterwards.
    EXPECT_THROW(for_each_row(CpuExec{threads}, 3, [](int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
    visited = 0;
    for_each_row(CpuExec{threads}, 10, [&](int64_t) { ++visited; });
    EXPECT_EQ(visited, 10);
  }
}

TEST(Build, HasNoFastMath) {
  volatile double zero = 0;
  EXPECT_FALSE(std::isfinite(zero / zero));
  EXPECT_FALSE(std::isfinite(1 / zero));
  volatile float small = std::numeric_limits<float>::denorm_min();
  EXPECT_GT(small, 0.0f) << "denormals are flushed";
}

TEST(Errors, SayWhatTheyAre) {
  EXPECT_EQ(message_of([] { PG_CHECK(1 > 2, "op: what: got ", 1, ", wanted ", 2.5); }),
            "op: what: got 1, wanted 2.5");
  EXPECT_THROW(PG_CHECK_AS(PrivacyError, false, "x"), PrivacyError);
  EXPECT_THROW(PG_CHECK_AS(FormatError, false, "x"), Error);
}

}  // namespace
}  // namespace pergrad::test
