// Rung b: the noise that is released. Its size on every tensor and every number, its shape and tails, that no
// two numbers share any of it, that it does not depend on the sum; and, on the sampler's own table, that it
// reaches 64 standard deviations with the right chances.
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/audit/statistics.h"
#include "dp/discrete_gaussian.h"
#include "dp/sampler.h"
#include "dp/step.h"
#include "layers/models.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_set>

namespace pergrad::audit {
namespace {

using dp::ClippedSum;
using dp::Plan;
using dp::PlanSettings;

// Sums over pairs of numbers at a distance.
struct Correlation {
  std::string what;
  double sum = 0;
  int64_t n = 0;
  void add(double a, double b) { sum += a * b, ++n; }
};

// Real steps (sampler, clip, sum, noise), a few records in each, in chunks; then noise = release - sum, in
// standard deviations.
class Draws {
 public:
  Draws(const Subject& subject, int64_t steps)
      : P_(subject.parameters),
        steps_(steps),
        plan_(plan_like(subject.plan,
                        [&](PlanSettings& s) {
                          s.sampling_rate = 0.25, s.steps = steps, s.max_examples = 1000;
                          s.units = "example", s.microbatch_size = 0;
                        })),
        key_(derive_key(subject.random, "noise")),
        own_(plan_, key_, subject.scratch, "noise"),
        exec_(subject.exec) {}

  // f(step, z [P], sum [P] in noise deviations)
  template <class F>
  void each(const F& f) {
    NamedUnits examples;
    ChosenRows rows(P_, [this](const Unit& unit, std::span<float> row) {
      PhiloxStream random(99, static_cast<uint64_t>(unit.ids[0]));
      for (float& x : row) x = static_cast<float>(random.uniform() - 0.3);  // clipped, and never of mean zero
    });
    const dp::PoissonSampler sampler(plan_, key_, 12);
    const double on_grid = plan_.divisor() / plan_->clip_norm;  // a clip norm is 1
    const double sigma = plan_->noise_multiplier;
    std::vector<float> z(static_cast<size_t>(P_)), sum(z);
    for (int64_t step = 0; step < steps_; ++step) {
      ClippedSum clipped(plan_, P_);
      if (const std::vector<Unit> units = sampler.draw(step); !units.empty())
        clip_and_sum(rows.rows(examples.views(units, step)), plan_, clipped);
      const dp::PrivateGradient gradient =
          private_step(sampler, examples, rows, own_.mechanism, step, step % 2 ? 1 : 100, exec_);
      const auto out = gradient.values().values<float>();
      const auto exact = clipped.nonprivate_values();
      for (size_t i = 0; i < z.size(); ++i) {
        const double s = std::ldexp(static_cast<double>(exact[i]), -plan_->grid_bits);
        sum[i] = static_cast<float>(s / sigma);
        z[i] = static_cast<float>((static_cast<double>(out[i]) * on_grid - s) / sigma);
      }
      f(step, z, sum);
    }
  }

 private:
  int64_t P_, steps_;
  Plan plan_;
  Key key_;
  OwnMechanism own_;
  CpuExec exec_;
};

void law(const Subject& subject, Checks& checks) {
  const int64_t P = subject.parameters, wanted = subject.full ? 100'000'000 : 10'000'000;
  const int64_t steps = std::max<int64_t>(24, (wanted + P - 1) / P);
  Model model(subject.config.model, {subject.data.height, subject.data.width, subject.data.channels},
              subject.data.label_count);
  const auto& tensors = model.parameters().layout().entries;

  std::vector<double> of_coordinate(static_cast<size_t>(P), 0), of_tensor(tensors.size(), 0);
  double sum1 = 0, sum2 = 0, sum4 = 0, far = 0;
  std::vector<float> sample, before;
  Correlation next{"next numbers"}, second{"numbers two apart"}, block{"numbers of neighbouring blocks"},
      halves{"the two halves of a release"}, step_before{"one number in two steps"},
      with_sum{"noise and sum"};
  double sum_squares = 0;
  constexpr double kTails[] = {2, 3, 4, 5, 6};
  int64_t tails[std::size(kTails)] = {};
  Draws draws(subject, steps);
  draws.each([&](int64_t, const std::vector<float>& z, const std::vector<float>& sum) {
    const size_t n = z.size();
    for (size_t i = 0; i < n; ++i) {
      const double x = z[i], xx = x * x;
      of_coordinate[i] += xx;
      sum1 += x, sum2 += xx, sum4 += xx * xx;
      far = std::max(far, std::fabs(x));
      if (xx > 4)
        for (size_t t = 0; t < std::size(kTails); ++t) tails[t] += std::fabs(x) > kTails[t];
      if (i + 1 < n) next.add(x, z[i + 1]);
      if (i + 2 < n) second.add(x, z[i + 2]);
      if (i + dp::kNoiseBlock < n) block.add(x, z[i + dp::kNoiseBlock]);
      if (i + n / 2 < n && n > 4) halves.add(x, z[i + n / 2]);
      if (!before.empty()) step_before.add(x, before[i]);
      with_sum.add(x, sum[i]), sum_squares += static_cast<double>(sum[i]) * static_cast<double>(sum[i]);
    }
    for (size_t t = 0; t < tensors.size(); ++t)
      for (int64_t i = tensors[t].begin; i < tensors[t].end; ++i)
        of_tensor[t] +=
            static_cast<double>(z[static_cast<size_t>(i)]) * static_cast<double>(z[static_cast<size_t>(i)]);
    before = z;
    if (sample.size() < 2'000'000) sample.insert(sample.end(), z.begin(), z.end());
  });

  const auto n = static_cast<double>(P * steps);
  const Between sigma = deviation_between(sum2, n, kLevel);
  checks.likely(chi_square_p(sum2, n), 1, "the noise has ", std::sqrt(sum2 / n),
                " times the stated standard deviation (certified: ", sigma.lower, " to ", sigma.upper, ")");
  checks.likely(normal_p(sum1 / std::sqrt(n)), 1, "the noise has mean ", sum1 / n, " deviations");
  checks.likely(normal_p((sum4 / n - 3) / std::sqrt(96 / n)), 1, "the noise has fourth moment ", sum4 / n);
  double worst = 1;
  size_t where = 0;
  for (size_t t = 0; t < tensors.size(); ++t)
    if (const double p =
            chi_square_p(of_tensor[t], static_cast<double>((tensors[t].end - tensors[t].begin) * steps));
        p < worst)
      worst = p, where = t;
  checks.likely(worst, static_cast<int64_t>(tensors.size()), "the noise on ", tensors[where].name,
                " has another standard deviation than stated");
  worst = 1;
  int64_t coordinate = 0;
  for (int64_t i = 0; i < P; ++i)
    if (const double p = chi_square_p(of_coordinate[static_cast<size_t>(i)], static_cast<double>(steps));
        p < worst)
      worst = p, coordinate = i;
  checks.likely(worst, P, "the noise on number ", coordinate, " has another standard deviation than stated");
  for (size_t t = 0; t < std::size(kTails); ++t)
    checks.likely(binomial_p(tails[t], P * steps, 2 * normal_cdf(-kTails[t])), 1, tails[t], " of ", P * steps,
                  " noises lie beyond ", kTails[t], " deviations");
  const auto tested = static_cast<int64_t>(sample.size());
  const double distance = ks_distance_from_normal(sample);
  checks.likely(ks_p(distance, tested), 1, "the noise is not Gaussian: Kolmogorov-Smirnov distance ",
                distance);
  for (const Correlation* c : {&next, &second, &block, &halves, &step_before})
    checks.likely(normal_p(c->sum / std::sqrt(static_cast<double>(std::max<int64_t>(1, c->n)))), 1, c->what,
                  " share noise: correlation ", c->sum / static_cast<double>(std::max<int64_t>(1, c->n)));
  checks.likely(normal_p(with_sum.sum / std::sqrt(std::max(sum_squares, 1e-300))), 1,
                "the noise depends on the sum");
  checks.found(fmt::format(
      "{:.1e} numbers of noise: standard deviation within [{:.5f}, {:.5f}] of the stated one, also "
      "on each of {} tensors and {} numbers; the largest at {:.2f} deviations",
      n, sigma.lower, sigma.upper, tensors.size(), P, far));
}

// Releases of nothing: whatever is equal in them was drawn from the same random block. Places are chosen by
// what stands there, so that a copy is found wherever it starts.
void nothing_twice(const Subject& subject, Checks& checks) {
  const int64_t P = std::max<int64_t>(100'003, subject.parameters), steps = subject.full ? 100 : 20;
  const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) { s.steps = steps; });
  OwnMechanism own(plan, derive_key(subject.random, "twice"), subject.scratch, "twice");
  OwnMechanism other(plan, derive_key(subject.random, "thrice"), subject.scratch, "thrice");
  std::unordered_set<uint64_t> seen;
  int64_t marks = 0, twice = 0, zeros = 0;
  for (int64_t step = 0; step < steps; ++step)
    for (OwnMechanism* one : {&own, &other}) {
      const dp::PrivateGradient gradient = one->mechanism.release(ClippedSum(plan, P), step, subject.exec);
      const auto out = gradient.values().values<float>();
      for (size_t i = 0; i + 3 < out.size(); ++i) {
        const auto bits = [&](size_t k) { return uint64_t{std::bit_cast<uint32_t>(out[i + k])}; };
        zeros += out[i] == 0;
        if (bits(0) * 0x9E3779B1u >> 28 & 1) continue;
        uint64_t mark = 0;
        for (size_t k = 0; k < 4; ++k) mark = (mark ^ bits(k)) * 0x9E3779B97F4A7C15u, mark ^= mark >> 31;
        ++marks, twice += !seen.insert(mark).second;
      }
    }
  // By chance: below marks^2 / 2^65, and four consecutive equal noises of 24 bits or more.
  checks.require(twice == 0, twice, " of ", marks, " runs of four noises came twice");
  checks.require(zeros < 10, zeros, " numbers were released without noise");
  checks.found(fmt::format("{} runs of four noises over steps, blocks and keys: none came twice", marks));
}

// With few grid steps to a float the release shows the very integers: each a whole number of grid steps, and
// each residue as often as the next.
void on_the_grid(const Subject& subject, Checks& checks) {
  const Plan plan = plan_like(subject.plan, [](PlanSettings& s) {
    s.grid_bits = 30, s.noise_multiplier = 0x1p-10, s.clip_norm = 1, s.expected_batch = 1,
    s.max_examples = 1000;
    s.units = "example", s.microbatch_size = 0, s.steps = 10;
  });
  OwnMechanism own(plan, derive_key(subject.random, "grid"), subject.scratch, "grid");
  constexpr int64_t kNumbers = 400'000;
  const dp::PrivateGradient gradient = own.mechanism.release(ClippedSum(plan, kNumbers), 0, subject.exec);
  int64_t off = 0, n = 0;
  std::vector<int64_t> residues[4];
  constexpr int64_t kModuli[] = {2, 3, 7, 64};
  for (size_t m = 0; m < 4; ++m) residues[m].assign(static_cast<size_t>(kModuli[m]), 0);
  for (float x : gradient.values().values<float>()) {
    const double grid = std::ldexp(static_cast<double>(x), 30);
    if (std::fabs(grid) >= 0x1p24) continue;  // a float holds no more digits
    if (grid != std::floor(grid)) {
      ++off;
      continue;
    }
    ++n;
    for (size_t m = 0; m < 4; ++m)
      ++residues[m]
                [static_cast<size_t>(((static_cast<int64_t>(grid) % kModuli[m]) + kModuli[m]) % kModuli[m])];
  }
  checks.require(off == 0 && n > kNumbers / 2, off, " of ", kNumbers, " noises are not on the grid");
  for (size_t m = 0; m < 4; ++m) {
    double chi = 0;
    const double expected = static_cast<double>(n) / static_cast<double>(kModuli[m]);
    for (int64_t count : residues[m]) chi += std::pow(static_cast<double>(count) - expected, 2) / expected;
    checks.likely(chi_square_above_p(chi, static_cast<double>(kModuli[m] - 1)), 1, "noises modulo ",
                  kModuli[m], " are not even");
  }
}

// The sampler's table holds exp(-i^2 / 8192) for every bin, and a draw reaches the last of them.
void support(const Subject& subject, Checks& checks) {
  static const dp::GaussianBins bins;
  constexpr int kBins = dp::GaussianBins::kBins;
  double worst = 0;
  for (int i = 0; i < kBins; ++i) {
    const uint64_t indices = bins.last[i] - (i == 0 ? ~uint64_t{0} : bins.last[i - 1]);
    const long double weight =
        static_cast<long double>(indices - 1) +
        std::ldexp(static_cast<long double>(bins.fraction[i]), -128 - bins.halvings[i]);
    const long double x = static_cast<long double>(i);
    const long double exact = 101 * 0x1p37L * std::exp(-x * x / 8192);
    worst = std::max(worst, static_cast<double>(std::fabs(weight / exact - 1)));
  }
  // Long doubles have 64 bits, and exp of -2047 loses 11 of them.
  checks.require(worst < 0x1p-48, "the table of the Gaussian is off by a factor of 1 + ", worst);
  // RFC 8439, A.1, test vectors 1 and 2: blocks 0 and 1 under the key 0.
  ChaChaStream words(Key{}, 0, 0);
  uint64_t at[9];
  for (uint64_t& word : at) word = words.next_u64();
  checks.require(at[0] == 0x903df1a0ade0b876u && at[1] == 0x28bd8653e56a5d40u && at[8] == 0x7a385155bee7079fu,
                 "ChaCha20 is not that of RFC 8439");
  struct Chosen {  // one word, then others that accept whatever is asked
    uint64_t word;
    int* left;
    uint64_t next_u64() {
      PG_CHECK(--*left > 0, "the sampler does not come to an end");
      const uint64_t now = word;
      word = uint64_t{1} << 40;
      return now;
    }
  };
  int reached = 0;
  for (int deviations : {1, 5, 9, 20, 40, 63}) {
    const int i = 64 * deviations;
    int left = 100'000;
    dp::DiscreteGaussian<Chosen> gaussian(bins, subject.plan.noise_std_on_grid(),
                                          Chosen{bins.last[i] << 14 | uint64_t{1} << 13 | 8191, &left});
    const auto least = static_cast<double>(subject.plan.noise_std_on_grid()) * deviations;
    const auto got = -static_cast<double>(gaussian.next());
    checks.require(got >= least * (1 - 1e-9) && got < least + least / 32, "noise at ", deviations,
                   " deviations came out at ", got / static_cast<double>(subject.plan.noise_std_on_grid()));
    reached = deviations;
  }
  checks.found(
      fmt::format("the sampler reaches {} deviations, and all {} chances of its table are right to 1 in 2^48",
                  reached, kBins));
}

}  // namespace

void audit_noise(const Subject& subject, Checks& checks) {
  support(subject, checks);
  on_the_grid(subject, checks);
  nothing_twice(subject, checks);
  law(subject, checks);
}

}  // namespace pergrad::audit
