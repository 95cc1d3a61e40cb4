// Rung c: who takes part. The rate that is accounted is the threshold that is compared, exactly; and the real
// sampler draws like independent coins over steps, records and pairs of either.
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/audit/statistics.h"
#include "dp/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace pergrad::audit {
namespace {

using dp::Plan;
using dp::PlanSettings;

// floor(q 2^64) from the bits of the double: mantissa x 2^(exponent - 1075 + 64).
uint128_t exact_threshold(double q) {
  const auto bits = std::bit_cast<uint64_t>(q);
  const auto exponent = static_cast<int>(bits >> 52);
  const uint128_t mantissa = (bits & ((uint64_t{1} << 52) - 1)) | (exponent ? uint64_t{1} << 52 : 0);
  const int shift = std::max(exponent, 1) - 1075 + 64;
  return shift >= 0 ? mantissa << shift : shift > -64 ? mantissa >> -shift : 0;
}

std::string decimal(uint128_t n) {
  std::string text;
  for (; n > 0; n /= 10) text.insert(text.begin(), static_cast<char>('0' + static_cast<int>(n % 10)));
  return text.empty() ? "0" : text;
}

void thresholds(const Subject& subject, Checks& checks) {
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "rates"), 0, 0);
  std::vector<double> rates = {subject.plan->sampling_rate, 1.0, 0.5, 0x1p-64, 0.1, 1 / 3.0,
                               std::nextafter(1.0, 0.0)};
  for (int i = 0; i < 200; ++i) rates.push_back(std::pow(2.0, -60 * random.uniform() * (i % 2 ? 1 : 0.1)));
  for (double q : rates) {
    const Plan plan = plan_like(subject.plan, [q](PlanSettings& s) { s.sampling_rate = q; });
    const uint128_t threshold = exact_threshold(q);
    checks.require(plan.threshold_text() == decimal(threshold), "the threshold of rate ", q, " is ",
                   plan.threshold_text(), ", floor(q 2^64) is ", decimal(threshold));
    checks.require(exact_threshold(plan->sampling_rate) == threshold && plan->sampling_rate <= q,
                   "another rate than the sampler's is accounted for ", q);
    const auto last = static_cast<uint64_t>(threshold - 1);
    checks.require(plan.joins(0) && plan.joins(last), "a word below the threshold of rate ", q,
                   " does not join");
    checks.require(threshold > last && (last == ~uint64_t{0} || !plan.joins(last + 1)) &&
                       plan.joins(~uint64_t{0}) == (q == 1),
                   "a word at the threshold of rate ", q, " joins");
  }
  checks.found(fmt::format(
      "the threshold is floor(q 2^64), and the accounted rate exactly threshold / 2^64, for {} rates",
      rates.size()));
}

// So many coincidences of two events of chance q, at places that are `distance` apart among `n`, in `rows`
// rows: neighbouring pairs share an event, which the variance counts.
double coincidence_p(int64_t hits, double rows, double n, double distance, double q) {
  const double pairs = rows * (n - distance), chained = rows * std::max(0.0, n - 2 * distance);
  const double variance = pairs * (q * q - std::pow(q, 4)) + 2 * chained * (std::pow(q, 3) - std::pow(q, 4));
  return normal_p((static_cast<double>(hits) - pairs * q * q) / std::sqrt(variance));
}

// The sum over n counts, each of `tries` coins of chance q, of (count - mean)^2 / variance: mean n, and a
// chi-square in all but its variance, which counts have larger or smaller.
double dispersion_p(double sum, double n, double tries, double q) {
  const double variance = n * (2 + (1 - 6 * q * (1 - q)) / (tries * q * (1 - q)));
  const double degrees = 2 * n * n / variance;
  return chi_square_p(sum * degrees / n, degrees);
}

void draws(const Subject& subject, double rate, int64_t N, int64_t T, Checks& checks) {
  const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
    s.sampling_rate = rate, s.steps = T + 1, s.max_examples = N + 1, s.units = "example",
    s.microbatch_size = 0;
  });
  const Key key = derive_key(subject.random, "draws");
  const dp::PoissonSampler sampler(plan, key, N);
  const double q = plan->sampling_rate;
  const auto n = static_cast<double>(N), t = static_cast<double>(T);
  constexpr int64_t kLags[] = {1, 2, 7};
  const int64_t kGaps[] = {1, 2, 16, N / 2};
  std::vector<int64_t> of_record(static_cast<size_t>(N), 0);
  std::vector<std::vector<uint8_t>> history(8, std::vector<uint8_t>(static_cast<size_t>(N), 0));
  // Draws larger than the mean by 0, 1 and 2 deviations: what cuts large batches off.
  const double deviation = std::sqrt(n * q * (1 - q));
  int64_t limits[3] = {}, beyond[3] = {};
  for (int k = 0; k < 3; ++k) limits[k] = static_cast<int64_t>(n * q + k * deviation);
  int64_t total = 0, lags[std::size(kLags)] = {}, gaps[std::size(kGaps)] = {}, empty = 0;
  double dispersion = 0, worst_size = 1;
  bool in_order = true;
  for (int64_t step = 0; step < T; ++step) {
    std::vector<uint8_t>& now = history[static_cast<size_t>(step % 8)];
    std::ranges::fill(now, uint8_t{0});
    const std::vector<Unit> units = sampler.draw(step);
    int64_t before = -1;
    for (const Unit& unit : units) {
      const int64_t id = unit.ids.at(0);
      in_order = in_order && unit.ids.size() == 1 && id > before && id < N;
      before = id;
      if (id >= 0 && id < N) now[static_cast<size_t>(id)] = 1, ++of_record[static_cast<size_t>(id)];
    }
    const auto size = static_cast<int64_t>(units.size());
    total += size, empty += size == 0;
    for (int k = 0; k < 3; ++k) beyond[k] += size > limits[k];
    dispersion += std::pow(static_cast<double>(size) - n * q, 2) / (n * q * (1 - q));
    worst_size = std::min(worst_size, binomial_p(size, N, q));
    for (size_t l = 0; l < std::size(kLags); ++l)
      if (step >= kLags[l]) {
        const auto& then = history[static_cast<size_t>((step - kLags[l]) % 8)];
        for (size_t i = 0; i < now.size(); ++i) lags[l] += now[i] & then[i];
      }
    for (size_t g = 0; g < std::size(kGaps); ++g)
      for (size_t i = static_cast<size_t>(kGaps[g]); i < now.size(); ++i)
        gaps[g] += now[i] & now[i - static_cast<size_t>(kGaps[g])];
  }
  const std::string where = concat(" (rate ", rate, ", ", N, " records, ", T, " steps)");
  checks.require(in_order, "a draw names a record twice, out of order or that is not there", where);
  const double p = binomial_p(total, N * T, q);
  checks.likely(p, 1, "records join at rate ", static_cast<double>(total) / (n * t), ", not ", q, where);
  checks.likely(worst_size, T, "a draw has a size that coins do not give", where);
  for (int k = 0; k < 3; ++k)
    checks.likely(binomial_p(beyond[k], T, binomial_above(limits[k], N, q)), 1, beyond[k], " of ", T,
                  " draws have more than ", limits[k], " records", where);
  // Sizes vary as coins do: a shuffle or a fixed batch gives 0.
  checks.likely(dispersion_p(dispersion, t, n, q), 1, "sizes of draws vary by ", dispersion / t,
                " of what coins give", where);
  double records = 0, worst_record = 1;
  for (int64_t k : of_record) {
    records += std::pow(static_cast<double>(k) - t * q, 2) / (t * q * (1 - q));
    worst_record = std::min(worst_record, binomial_p(k, T, q));
  }
  checks.likely(dispersion_p(records, n, t, q), 1, "how often records join varies by ", records / n,
                " of what coins give", where);
  checks.likely(worst_record, N, "a record joins too often or too seldom", where);
  const bool many = n * t * q * q > 1e4;  // coincidences: else they are not near-normal to 6 deviations
  for (size_t l = 0; many && l < std::size(kLags); ++l)
    checks.likely(coincidence_p(lags[l], n, t, static_cast<double>(kLags[l]), q), 1,
                  "who joins a step joins the one ", kLags[l], " later ",
                  static_cast<double>(lags[l]) / (n * (t - static_cast<double>(kLags[l])) * q * q),
                  " times as often as by chance", where);
  for (size_t g = 0; many && g < std::size(kGaps); ++g)
    checks.likely(coincidence_p(gaps[g], t, n, static_cast<double>(kGaps[g]), q), 1, "records ", kGaps[g],
                  " apart join together ",
                  static_cast<double>(gaps[g]) / (t * (n - static_cast<double>(kGaps[g])) * q * q),
                  " times as often as by chance", where);
  const double none = std::exp(n * std::log1p(-q));
  if (none * t > 1e-3)
    checks.likely(binomial_p(empty, T, none), 1, empty, " draws of ", T, " are empty", where);
  if (none < 0.5)
    checks.found(fmt::format("{:.0e} coins at rate {:g}: seen {:.6f}, resolved to {:.2f} %", n * t, q,
                             static_cast<double>(total) / (n * t), 611 * std::sqrt((1 - q) / (q * n * t))));
}

// Who joins does not depend on who else there is; steps, plans and keys draw anew; a step draws the same
// again.
void own_coins(const Subject& subject, Checks& checks) {
  const auto plan_of = [&](double delta) {
    return plan_like(subject.plan, [&](PlanSettings& s) {
      s.sampling_rate = 0.3, s.max_examples = 5001, s.delta = delta, s.units = "example",
      s.microbatch_size = 0;
    });
  };
  const Plan plan = plan_of(1e-5), other = plan_of(1e-6);
  const Key key = derive_key(subject.random, "coins"), other_key = derive_key(subject.random, "other coins");
  const auto members = [](const dp::PoissonSampler& sampler, int64_t step) {
    std::vector<int64_t> ids;
    for (const Unit& unit : sampler.draw(step)) ids.push_back(unit.ids.at(0));
    return ids;
  };
  const dp::PoissonSampler sampler(plan, key, 5000);
  for (int64_t step : {0, 1, 2, 70}) {
    const std::vector<int64_t> base = members(sampler, step);
    checks.require(members(sampler, step) == base, "step ", step, " draws others when it is drawn again");
    for (int64_t n : {1, 17, 2500, 4999, 5001}) {
      std::vector<int64_t> fewer = members(dp::PoissonSampler(plan, key, n), step), expected;
      std::ranges::copy_if(base, std::back_inserter(expected), [&](int64_t id) { return id < n; });
      std::erase_if(fewer, [](int64_t id) { return id >= 5000; });
      checks.require(fewer == expected, "with ", n, " records others join step ", step);
    }
    const auto shared = [&](const std::vector<int64_t>& two) {
      std::vector<int64_t> both;
      std::ranges::set_intersection(base, two, std::back_inserter(both));
      return binomial_p(static_cast<int64_t>(both.size()), 5000, 0.09);
    };
    checks.likely(shared(members(sampler, step + 1)), 1, "step ", step, " and the next draw alike");
    checks.likely(shared(members(dp::PoissonSampler(other, key, 5000), step)), 1, "two plans draw alike");
    checks.likely(shared(members(dp::PoissonSampler(plan, other_key, 5000), step)), 1, "two keys draw alike");
  }
}

// However small the batch that is expected and the memory for it: who joins is drawn.
void nobody_left_out(const Subject& subject, Checks& checks) {
  for (double rate : {1.0, 0.999}) {
    const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
      s.sampling_rate = rate, s.expected_batch = 8, s.max_examples = 20'000, s.units = "example",
      s.microbatch_size = 0;
    });
    const dp::PoissonSampler sampler(plan, derive_key(subject.random, "everybody"), 20'000);
    const auto size = static_cast<int64_t>(sampler.draw(0).size());
    checks.likely(rate == 1 ? (size == 20'000 ? 1 : 0) : binomial_p(size, 20'000, rate), 1, size,
                  " of 20000 records join at rate ", rate, ", where 8 are expected");
  }
}

// Microbatches: who joined goes to one bucket, each as likely, whoever else joined.
void buckets(const Subject& subject, Checks& checks) {
  const Plan plan = plan_like(subject.plan, [](PlanSettings& s) {
    s.sampling_rate = 0.5, s.expected_batch = 60, s.units = "microbatch", s.microbatch_size = 6,
    s.max_examples = 200;
  });
  const Key key = derive_key(subject.random, "buckets");
  checks.require(plan.buckets() == 10 && plan.divisor() == 10, "60 records in groups of 6 are ",
                 plan.buckets(), " buckets");
  const dp::PoissonSampler sampler(plan, key, 120), more(plan, key, 121);
  std::vector<int64_t> sizes(121, 0);
  int64_t together = 0, pairs = 0, total = 0;
  bool once = true, kept = true;
  constexpr int64_t kSteps = 3000;
  for (int64_t step = 0; step < kSteps; ++step) {
    std::vector<Unit> units = sampler.draw(step), with = more.draw(step);
    std::vector<int64_t> bucket_of(121, -1);
    for (size_t b = 0; b < units.size(); ++b)
      for (int64_t id : units[b].ids) {
        once = once && bucket_of.at(static_cast<size_t>(id)) < 0;
        bucket_of.at(static_cast<size_t>(id)) = static_cast<int64_t>(b);
        ++total;
      }
    for (size_t i = 0; i + 1 < 120; ++i)
      if (bucket_of[i] >= 0 && bucket_of[i + 1] >= 0) ++pairs, together += bucket_of[i] == bucket_of[i + 1];
    // One record more: its bucket gains it, all others stay.
    for (Unit& unit : with) std::erase(unit.ids, 120);
    std::erase_if(with, [](const Unit& unit) { return unit.ids.empty(); });
    kept =
        kept && std::ranges::equal(with, units, [](const Unit& a, const Unit& b) { return a.ids == b.ids; });
    once = once && units.size() <= 10;
  }
  checks.require(once, "a record is in two buckets, or there are too many buckets");
  checks.require(kept, "one record more moved others to other buckets");
  checks.likely(binomial_p(total, 120 * kSteps, 0.5), 1, "records join buckets at another rate");
  checks.likely(binomial_p(together, pairs, 0.1), 1, "two records share a bucket with chance ",
                static_cast<double>(together) / static_cast<double>(pairs), ", not 1 in 10");
}

}  // namespace

void audit_sampling(const Subject& subject, Checks& checks) {
  thresholds(subject, checks);
  draws(subject, 0.08, 50'000, subject.full ? 10'000 : 1000, checks);
  draws(subject, subject.plan->sampling_rate < 1 ? subject.plan->sampling_rate : 0.5, 20'000, 200, checks);
  draws(subject, 0.01, 60, 20'000, checks);  // more than half of the draws are empty
  own_coins(subject, checks);
  nobody_left_out(subject, checks);
  buckets(subject, checks);
}

}  // namespace pergrad::audit
