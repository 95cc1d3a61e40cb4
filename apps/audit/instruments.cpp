// random_key and test_instruments.
#include "apps/audit/instruments.h"

#include "apps/audit/statistics.h"

#include <cmath>

namespace pergrad::audit {

Key random_key(uint64_t seed) { return key_from_text(concat("pergrad audit ", seed)); }

void test_instruments(const Subject& subject, Checks& checks) {
  checks.require(!(random_key(1) == random_key(2)) && !(subject.random == random_key(0x5eed)),
                 "audits of different seeds draw the same");
  const auto fails = [&](const char* what, const auto& check) {
    Checks trial;
    check(trial);
    checks.require(!trial.passed(), "the audit's own test cannot fail: ", what);
  };
  const auto passes = [&](const char* what, const auto& check) {
    Checks trial;
    check(trial);
    checks.require(trial.passed(), "the audit's own test fails where all is well: ", what);
  };
  fails("an exact fact", [](Checks& c) { c.require(false, ""); });
  fails("a number that is not one", [](Checks& c) { c.likely(NAN, 1, ""); });
  fails("p just below the level", [](Checks& c) { c.likely(kLevel * 0.99, 1, ""); });
  fails("the worst of many", [](Checks& c) { c.likely(kLevel / 1001, 1000, ""); });
  passes("p just above the level", [](Checks& c) { c.likely(kLevel * 1.01, 1, ""); });

  // Six and a half deviations to either side are found, four are not.
  const auto two_sided = [&](const char* what, const auto& p_at) {
    for (double side : {-1.0, 1.0}) {
      fails(what, [&](Checks& c) { c.likely(p_at(6.5 * side), 1, ""); });
      passes(what, [&](Checks& c) { c.likely(p_at(4 * side), 1, ""); });
    }
  };
  constexpr double kMany = 1e7;
  two_sided("normal", [](double z) { return normal_p(z); });
  two_sided("binomial", [](double z) {
    return binomial_p(std::llround(0.3 * kMany + z * std::sqrt(0.21 * kMany)), static_cast<int64_t>(kMany),
                      0.3);
  });
  two_sided("chi-square", [](double z) { return chi_square_p(kMany + z * std::sqrt(2 * kMany), kMany); });
  fails("goodness of fit", [](Checks& c) { c.likely(chi_square_above_p(100, 7), 1, ""); });
  passes("goodness of fit", [](Checks& c) { c.likely(chi_square_above_p(0, 7), 1, ""); });
  fails("Kolmogorov-Smirnov", [](Checks& c) { c.likely(ks_p(3.4e-3, 1'000'000), 1, ""); });
  passes("Kolmogorov-Smirnov", [](Checks& c) { c.likely(ks_p(2e-3, 1'000'000), 1, ""); });

  // Bounds that must hold, against values worked out by hand: 0 of n and n of n, and the smallest chi-square.
  const double all = binomial_lower(1000, 1000, 1e-9), none = binomial_upper(0, 1000, 1e-9);
  checks.require(
      std::fabs(all - std::pow(1e-9, 1e-3)) < 1e-9 && std::fabs(none - (1 - std::pow(1e-9, 1e-3))) < 1e-9,
      "Clopper-Pearson bounds are ", all, " and ", none);
  const Between one = deviation_between(1e6, 1e6, 1e-9);
  checks.require(one.lower < 1 && one.lower > 0.995 && one.upper > 1 && one.upper < 1.005,
                 "a deviation of 1 is put between ", one.lower, " and ", one.upper);
  // Balle and Wang 2018: delta at epsilon 0 is the total variation distance, 2 Phi(mu/2) - 1.
  checks.require(std::fabs(gaussian_delta(1, 0) - 0.38292492254802624) < 1e-12 &&
                     std::fabs(gaussian_delta(1, gaussian_epsilon(1, 1e-5)) - 1e-5) < 1e-12,
                 "the Gaussian mechanism's own curve is wrong");
}

}  // namespace pergrad::audit
