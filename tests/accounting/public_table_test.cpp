// public_table_test.cpp: twenty-four settings with known epsilon, from real papers and from the corners.
//
// P01 to P12 are our public accounting table (accounting_public.csv): exact values in both directions
// (columns epsilon_remove, epsilon_add) by inverse Laplace transform on the saddle-point contour in long
// double, to 1e-12; `published_rdp` is column epsilon_rdp_exact_default_orders. C01 to C12 come from the same
// independent program.
#include "dp/accounting/accountant.h"
#include "dp/accounting/rdp.h"
#include "tests/accounting/attacks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace pergrad::accounting {
namespace {

struct Row {
  const char* name;
  Phase phase;
  double delta, remove, add, published_rdp;
};

const std::vector<Row> kTable = {
    {"P01", {2.0, 0.08192, 250}, 1e-5, 3.02949609072, 2.61189663923, 3.31761460034},
    {"P02", {3.0, 0.08192, 2500}, 1e-5, 6.57889585058, 6.35193405352, 7.09848302081},
    {"P03", {4.0, 0.08192, 1687}, 1e-5, 3.6876805063, 3.58590599902, 3.99622564656},
    {"P04", {10.0, 0.08192, 875}, 1e-5, 0.902760277613, 0.891439579817, 0.987709286298},
    {"P05", {25.0, 0.08192, 10000}, 1e-5, 1.24871788023, 1.24679334067, 1.36180368843},
    {"P06", {1.1, 256.0 / 60000.0, 14063}, 1e-5, 2.38168972614, 2.24365080162, 2.59665552868},
    {"P07", {1.0, 0.0001, 100000}, 1e-6, 0.156892080204, 0.152858223116, 0.617619339899},
    {"P08", {10.0, 1.0, 100}, 1e-5, 4.37717809568, 4.37717809568, 4.72850706722},
    {"P09", {0.5, 0.01, 100}, 1e-6, 7.91608410128, 0.755607443117, 9.49821494428},
    {"P10", {50.0, 0.3, 2000}, 1e-8, 1.39450773627, 1.39210750929, 1.47694065031},
    {"P11", {1.5, 2560.0 / 60000.0, 700}, 1e-5, 3.79462374678, 3.28712648475, 4.14691834347},
    {"P12", {0.6, 0.5, 200}, 1e-5, 161.518113218, 80.4714105306, 172.002946008},
    {"C01", {1.0, 0.01, 1000}, 1e-6, 2.12451517112, 1.58908876246, 0},
    {"C02", {0.8, 0.002, 5000}, 1e-5, 1.19517349576, 0.921727964661, 0},
    {"C03", {5.0, 0.1, 1000000}, 1e-9, 323.601200772, 322.06233816, 0},
    {"C04", {0.7, 0.001, 300}, 1e-7, 1.16734716687, 0.119799038391, 0},
    {"C05", {2.5, 0.5, 50}, 1e-12, 11.8119662939, 9.40021416258, 0},
    {"C06", {30.0, 0.02, 100000}, 1e-6, 0.883198486628, 0.882787287291, 0},
    {"C07", {1.2, 0.2, 3}, 1e-5, 2.37407732771, 0.54251918053, 0},
    {"C08", {1.0, 1e-5, 100000}, 1e-8, 0.017843822377, 0.0173311063286, 0},
    {"C09", {0.4, 0.05, 20}, 1e-5, 17.4004057525, 0.984155571707, 0},
    {"C10", {1000.0, 0.9, 1000000}, 1e-10, 5.8350729923, 5.83506886563, 0},
    {"C11", {1.5, 0.0005, 20000}, 1e-8, 0.257023065582, 0.249088317577, 0},
    {"C12", {3.0, 1e-5, 1000000}, 1e-7, 0.0126003320635, 0.0125827642496, 0},
};

constexpr double kDigits = 2e-11;  // the table has twelve, C08 and C12 ten

void expect_holds(const Range& range, double exact, double width, const std::string& what) {
  const double digits = exact < 0.02 ? 1e-9 : kDigits;
  EXPECT_LE(range.lower, exact * (1 + digits)) << what;
  EXPECT_GE(range.upper, exact * (1 - digits)) << what;
  EXPECT_LE(range.upper - range.lower, width * range.upper) << what;
}

TEST(PublicTable, TheIntervalHoldsTheExactEpsilonWithinOneInTenThousand) {
  for (const Row& row : kTable) {
    const Interval epsilon = epsilon_interval({row.phase}, row.delta);
    EXPECT_EQ(epsilon.accountant, "pld");
    expect_holds(epsilon, std::max(row.remove, row.add), 1e-4, row.name);
    expect_holds(epsilon.remove, row.remove, 1e-4, std::string(row.name) + " remove");
    expect_holds(epsilon.add, row.add, 1e-4, std::string(row.name) + " add");
  }
}

TEST(PublicTable, TheIntervalHoldsTheExactEpsilonWithinOneInAMillionOnRequest) {
  for (const Row& row : kTable) {
    if (row.published_rdp == 0) continue;  // C08 and C12 are out of reach of a million outcomes
    const Interval epsilon = epsilon_interval({row.phase}, row.delta, 1e-6);
    expect_holds(epsilon, std::max(row.remove, row.add), 1e-6, row.name);
  }
}

TEST(PublicTable, TheIntervalHoldsTheExactDelta) {
  for (const Row& row : kTable) {
    if (row.remove < 0.02) continue;  // ten digits of epsilon are few digits of delta there
    const Interval delta = delta_interval({row.phase}, std::max(row.remove, row.add), 1e-3);
    EXPECT_LE(delta.lower, row.delta * (1 + 1e-7)) << row.name;
    EXPECT_GE(delta.upper, row.delta * (1 - 1e-7)) << row.name;
    EXPECT_LE(delta.upper - delta.lower, 1e-3 * delta.upper) << row.name;
  }
}

TEST(PublicTable, RenyiDivergencesAreASecondOpinionNeverBelow) {
  for (const Row& row : kTable) {
    const double rdp = rdp_epsilon({row.phase}, row.delta).value;
    EXPECT_GE(rdp, std::max(row.remove, row.add)) << row.name;
    if (row.published_rdp > 0) {
      EXPECT_LE(rdp, row.published_rdp * (1 + 1e-6))
          << row.name << ": continuous orders lose to a grid of orders";
    }
  }
}

TEST(PublicTable, NoAttackDoesBetter) {
  for (const Row& row : kTable) {
    const Interval epsilon = epsilon_interval({row.phase}, row.delta);
    const double attack = attacks::epsilon_lower_bound({row.phase}, row.delta);
    EXPECT_LE(attack, epsilon.upper) << row.name;
    if (row.published_rdp > 0) {
      EXPECT_GE(attack, 0.7 * epsilon.upper) << row.name << ": a blunt attack";
    }
  }
}

}  // namespace
}  // namespace pergrad::accounting
