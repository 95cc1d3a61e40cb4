// public_table_test.cpp: twelve published settings, from real papers and from the corners.
//
// Figures: our public accounting table (accounting_public.csv, rows P01 to P12). `exact` is column
// epsilon_exact (inverse Laplace transform on the saddle-point contour, 1e-12); `published_rdp` is column
// epsilon_rdp_exact_default_orders (exact divergences at dp_accounting's default grid of orders).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dp/accounting/accountant.h"

namespace pergrad::accounting {
namespace {

struct Row {
  const char* name;
  Phase phase;
  double delta, exact, published_rdp;
};

const std::vector<Row> kTable = {
    {"P01", {2.0, 0.08192, 250}, 1e-5, 3.02949609072, 3.31761460034},
    {"P02", {3.0, 0.08192, 2500}, 1e-5, 6.57889585058, 7.09848302081},
    {"P03", {4.0, 0.08192, 1687}, 1e-5, 3.6876805063, 3.99622564656},
    {"P04", {10.0, 0.08192, 875}, 1e-5, 0.902760277613, 0.987709286298},
    {"P05", {25.0, 0.08192, 10000}, 1e-5, 1.24871788023, 1.36180368843},
    {"P06", {1.1, 256.0 / 60000.0, 14063}, 1e-5, 2.38168972614, 2.59665552868},
    {"P07", {1.0, 0.0001, 100000}, 1e-6, 0.156892080204, 0.617619339899},
    {"P08", {10.0, 1.0, 100}, 1e-5, 4.37717809568, 4.72850706722},
    {"P09", {0.5, 0.01, 100}, 1e-6, 7.91608410128, 9.49821494428},
    {"P10", {50.0, 0.3, 2000}, 1e-8, 1.39450773627, 1.47694065031},
    {"P11", {1.5, 2560.0 / 60000.0, 700}, 1e-5, 3.79462374678, 4.14691834347},
    {"P12", {0.6, 0.5, 200}, 1e-5, 161.518113218, 172.002946008},
};

TEST(PublicTable, TheIntervalHoldsTheExactEpsilon) {
  for (const Row& row : kTable) {
    const Interval epsilon = epsilon_interval({row.phase}, row.delta);
    EXPECT_LE(epsilon.lower, row.exact) << row.name;
    EXPECT_GE(epsilon.upper, row.exact) << row.name;
    EXPECT_GE(epsilon.lower, 0.7 * row.exact)
        << row.name << ": the attacks of lower_bound.h lost their strength";
  }
}

TEST(PublicTable, ContinuousOrdersAreNeverWorseThanTheGrid) {
  for (const Row& row : kTable) {
    EXPECT_LE(epsilon_interval({row.phase}, row.delta).rdp, row.published_rdp * (1 + 1e-6)) << row.name;
  }
}

TEST(PublicTable, TheIntervalHoldsTheExactDelta) {
  for (const Row& row : kTable) {
    const Interval delta = delta_interval({row.phase}, row.exact);
    EXPECT_LE(delta.lower, row.delta * (1 + 1e-8)) << row.name;  // the table has 12 digits of epsilon
    EXPECT_GE(delta.upper, row.delta) << row.name;
  }
}

TEST(PublicTable, WithoutSamplingTheLowerBoundIsExact) {
  const Row& row = kTable[7];  // q = 1: the sum of the outcomes is a sufficient statistic
  EXPECT_NEAR(epsilon_interval({row.phase}, row.delta).lower / row.exact, 1.0, 1e-8);
}

}  // namespace
}  // namespace pergrad::accounting
