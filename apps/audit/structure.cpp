// Rung a: neighbours. One record more or less moves the integer sum by its own vector, of norm <= C exactly,
// and nothing else: no other row, no divisor, no number of releases. Tolerance zero, in 128 bits.
#include "apps/audit/control_flow.h"
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/audit/structure_rows.h"
#include "core/exec_rows.h"
#include "dp/sampler.h"
#include "dp/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

namespace pergrad::audit {
namespace {

using dp::ClippedSum;
using dp::Plan;
using dp::PlanSettings;

// A row whose size and pattern are drawn: ordinary, at the edge of the ball, huge, tiny, not finite.
void draw_row(PhiloxStream& random, double clip_norm, std::span<float> row) {
  const auto kind = random.below(16);
  if (kind < 8) {  // from 1e-3 to 1e3 clip norms
    const double size =
        clip_norm * std::pow(10.0, 6 * random.uniform() - 3) / std::sqrt(static_cast<double>(row.size()));
    for (float& x : row) x = static_cast<float>(size * random.normal());
  } else if (kind < 12) {  // the norm is C up to a few roundings
    double squares = 0;
    for (float& x : row)
      x = static_cast<float>(random.normal()), squares += static_cast<double>(x) * static_cast<double>(x);
    const double scale = clip_norm / std::sqrt(squares);
    for (float& x : row) x = static_cast<float>(x * scale);
  } else if (kind < 14) {  // any exponent
    for (float& x : row)
      x = static_cast<float>((random.uniform() - 0.5) * std::pow(10.0, 76 * random.uniform() - 38));
  } else {
    constexpr float kValues[] = {0, -0.0f, kTiny, -kTiny, FLT_MIN, FLT_MAX, -FLT_MAX, 1e38f, 1, -1};
    for (float& x : row) x = kValues[random.below(std::size(kValues))];
    if (kind == 15) {
      constexpr float kBad[] = {NAN, -NAN, kInf, -kInf};
      row[random.below(static_cast<uint32_t>(row.size()))] = kBad[random.below(4)];
    }
  }
}

// What a row may add: x C/max(C, ||x||) on the grid, cut toward zero, with less than one step and the stated
// margins lost; nothing if it is not finite. In 64-bit significands, from the definition.
bool is_clipped(std::span<const float> row, std::span<const int64_t> added, const Plan& plan) {
  long double squares = 0;
  for (float x : row) squares += static_cast<long double>(x) * static_cast<long double>(x);
  if (!(squares < std::numeric_limits<long double>::infinity()))
    return std::ranges::all_of(added, [](int64_t q) { return q == 0; });
  const auto clip_norm = static_cast<long double>(plan->clip_norm);
  const long double scale = std::ldexp(1.0L, plan->grid_bits) / std::max(clip_norm, std::sqrt(squares));
  const long double margin = static_cast<long double>(row.size() + 32) * 0x1p-52L;
  for (size_t i = 0; i < row.size(); ++i) {
    const long double exact = std::fabs(static_cast<long double>(row[i])) * scale;
    const auto got = static_cast<long double>(added[i] < 0 ? -added[i] : added[i]);
    if (got > exact * (1 + 0x1p-51L) || got < exact * (1 - margin) - 1.001L) return false;
    if (added[i] != 0 && (added[i] < 0) != (row[i] < 0)) return false;
  }
  return true;
}

// A million pairs: sums over n and over n + 1 records, n = 0, 1, 2, ...
void million_pairs(const Subject& subject, Checks& checks) {
  const int64_t pairs = subject.full ? 4'000'000 : 1'000'000;
  constexpr int64_t kGroups = 64;
  const int64_t sizes[] = {1, 2, 3, 5, 16, 17, 33, 64};
  std::vector<int64_t> outside(kGroups, 0), wrong(kGroups, 0);
  const Key key = derive_key(subject.random, "pairs");
  for_each_row(subject.exec, kGroups, [&](int64_t group) {
    PhiloxStream random = PhiloxStream::of(key, 0, group);
    const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
      if (group % 2) s.clip_norm = std::pow(10.0, 8 * random.uniform() - 4);
      s.grid_bits = 30 + 2 * static_cast<int>(group % 6);
      s.max_examples = int64_t{1} << (61 - s.grid_bits);
      s.noise_multiplier = 1;
    });
    const auto P = static_cast<size_t>(sizes[group % 8]);
    std::vector<float> row(P);
    std::vector<int64_t> before(P, 0), added(P);
    ClippedSum sum(plan, static_cast<int64_t>(P));
    for (int64_t n = 0; n < pairs / kGroups; ++n) {
      draw_row(random, plan->clip_norm, row);
      clip_and_sum(one_row(row), plan, sum);
      const auto after = sum.nonprivate_values();
      for (size_t i = 0; i < P; ++i) added[i] = after[i] - before[i], before[i] = after[i];
      outside[static_cast<size_t>(group)] += squared_norm(added) > uint128_t{1} << (2 * plan->grid_bits);
      wrong[static_cast<size_t>(group)] += !is_clipped(row, added, plan);
      if (n % 1000 == 999) sum = ClippedSum(plan, static_cast<int64_t>(P)), before.assign(P, 0);
    }
  });
  int64_t far = 0, other = 0;
  for (int64_t group = 0; group < kGroups; ++group)
    far += outside[static_cast<size_t>(group)], other += wrong[static_cast<size_t>(group)];
  checks.counted(pairs - 1);
  checks.require(far == 0, far, " of ", pairs, " records moved the sum by more than the clip norm");
  checks.require(other == 0, other, " of ", pairs,
                 " records added another vector than their clipped gradient");
  if (far + other == 0)
    checks.found(fmt::format(
        "{} neighbouring sums: none further apart than the clip norm, in 128-bit integers", pairs));
}

// Rows whose clipped vector lands just inside the ball only because the norm is rounded up and numbers toward
// zero.
void edges(const Subject& subject, Checks& checks) {
  const float p27 = 0x1p-27f;  // (1, 2^-27) has the norm 1 + 2^-55, which rounds to 1
  const std::vector<std::vector<float>> rows = {{1, p27},
                                                {p27, 1, p27},
                                                {1, 0, p27, p27, p27, p27},
                                                {FLT_MAX},
                                                {3, 4},
                                                {0.6f, 0.8f},
                                                {0.3f},
                                                {0.1f},
                                                {-1},
                                                {std::nextafter(1.0f, 2.0f)},
                                                {FLT_MAX, kTiny},
                                                std::vector<float>(1000, FLT_MAX),
                                                std::vector<float>(4096, 1 / 64.0f)};
  for (double clip_norm : {1.0, 0.3, 5.0, 1e-20, 1e20, static_cast<double>(0.1f)})
    for (int grid_bits : {30, 40, 44})
      for (const std::vector<float>& row : rows) {
        const Plan plan = plan_like(subject.plan, [&](PlanSettings& s) {
          s.clip_norm = clip_norm, s.grid_bits = grid_bits, s.max_examples = 1000, s.noise_multiplier = 1;
        });
        ClippedSum sum(plan, static_cast<int64_t>(row.size()));
        clip_and_sum(one_row(row), plan, sum);
        checks.require(squared_norm(sum.nonprivate_values()) <= uint128_t{1} << (2 * grid_bits), "a row of ",
                       row.size(), " numbers that starts with ", row[0], " left the ball of clip norm ",
                       clip_norm);
        checks.require(is_clipped(row, sum.nonprivate_values(), plan), "a row of ", row.size(),
                       " numbers that starts with ", row[0], " was not clipped as stated at clip norm ",
                       clip_norm);
      }
}

// Long rows, where roundings add up: a float norm of 2.7 million squares is 0.16 % too small.
void long_rows(const Subject& subject, Checks& checks) {
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "long rows"), 0, 0);
  const Plan plan = plan_like(
      subject.plan, [](PlanSettings& s) { s.grid_bits = 40, s.max_examples = 1000, s.noise_multiplier = 1; });
  for (size_t P : {100'000, 2'752'506}) {
    std::vector<float> row(P);
    for (float& x : row) x = static_cast<float>(random.normal());
    ClippedSum sum(plan, static_cast<int64_t>(P));
    clip_and_sum(one_row(row), plan, sum);
    checks.require(squared_norm(sum.nonprivate_values()) <= uint128_t{1} << 80, "a row of ", P,
                   " numbers moved the sum by more than the clip norm");
    checks.require(is_clipped(row, sum.nonprivate_values(), plan), "a row of ", P,
                   " numbers was not clipped as stated");
  }
}

// Unit {i} has row i; behind every chunk comes a padding row, loud or not a number.
struct PaddedRows : GradientSource {
  explicit PaddedRows(const std::vector<std::vector<float>>& rows) : all(rows) {}
  int64_t parameter_count() const override { return std::ssize(all.at(0)); }
  bool prepare_for_threads() override { return true; }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    const auto n = static_cast<int64_t>(batch.units.size()), P = parameter_count();
    Tensor slab = Tensor::empty({n + 1, P}, DType::f32);
    for (int64_t i = 0; i < n; ++i)
      std::ranges::copy(all[static_cast<size_t>(batch.units[static_cast<size_t>(i)].ids[0])],
                        slab.data<float>() + i * P);
    slab.rows(n, n + 1).fill(n % 2 ? NAN : 0.5);
    batch.is_real.push_back(0);
    return {std::move(slab), std::move(batch.is_real)};
  }
  const std::vector<std::vector<float>>& all;
};

// Records side by side: every place, every chunk, one thread or all.
void places_and_chunks(const Subject& subject, Checks& checks) {
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "places"), 0, 0);
  constexpr size_t P = 5000, N = 33;
  const Plan plan = plan_like(
      subject.plan, [](PlanSettings& s) { s.grid_bits = 40, s.max_examples = 1000, s.noise_multiplier = 1; });
  std::vector<std::vector<float>> others(N, std::vector<float>(P));
  for (auto& row : others) draw_row(random, plan->clip_norm, row);
  const auto sum_of = [&](const std::vector<std::vector<float>>& rows, size_t chunk, const CpuExec& exec) {
    std::vector<Unit> units;
    for (size_t i = 0; i < rows.size(); ++i) units.push_back({{static_cast<int64_t>(i)}});
    NamedUnits examples;
    PaddedRows padded(rows);
    const ClippedSum sum = clipped_sum(units, examples, padded, plan, 0, static_cast<int64_t>(chunk), exec);
    return std::vector<int64_t>(sum.nonprivate_values().begin(), sum.nonprivate_values().end());
  };
  const std::vector<int64_t> without = sum_of(others, N, CpuExec{1});
  std::vector<float> extra(P);
  int64_t pairs = 0;
  for (int trial = 0; trial < 6; ++trial) {
    draw_row(random, plan->clip_norm, extra);
    if (trial == 1) extra = others[4];  // a record that is there already
    const std::vector<int64_t> own = sum_of({extra}, 1, CpuExec{1});
    checks.require(squared_norm(own) <= uint128_t{1} << 80,
                   "a record moved the sum by more than the clip norm");
    for (size_t place = 0; place <= N; place += place < 3 ? 1 : 10)
      for (size_t chunk : {1, 2, 7, 32, 34}) {
        std::vector<std::vector<float>> rows = others;
        rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(place), extra);
        const std::vector<int64_t> with = sum_of(rows, chunk, chunk == 7 ? subject.exec : CpuExec{1});
        bool same = true;
        for (size_t i = 0; i < P; ++i) same = same && with[i] - without[i] == own[i];
        checks.require(same, "a record at place ", place, " in chunks of ", chunk,
                       " changed what the others add");
        ++pairs;
      }
  }
  checks.found(
      fmt::format("{} records put among {} others: the sum moved by their own vector, to the bit", pairs, N));
}

// A whole step, with next to no noise so that the release shows the sum: an empty draw is released, the
// divisor is the constant of the plan, chunks change nothing, a unit counts once.
void whole_steps(const Subject& subject, Checks& checks) {
  const Plan plan = plan_like(subject.plan, [](PlanSettings& s) {
    s.grid_bits = 44, s.noise_multiplier = 0x1p-24, s.max_examples = 1000, s.sampling_rate = 0.4;
    s.clip_norm = 0.7, s.expected_batch = 12.5, s.units = "example", s.microbatch_size = 0, s.steps = 100000;
  });
  constexpr int64_t P = 6;
  const Key key = derive_key(subject.random, "steps");
  OwnMechanism own(plan, key, subject.scratch, "steps");
  NamedUnits examples;
  std::atomic<int64_t> asked = 0;
  ChosenRows rows(P, [&](const Unit& unit, std::span<float> row) {
    ++asked;
    for (int64_t id : unit.ids)
      row[static_cast<size_t>(id % P)] += 3, row[0] += 0.25f * static_cast<float>(id % 5);
  });
  int64_t step = 0;
  const auto released = [&](int64_t n, int64_t chunk, int64_t at) {
    const dp::PoissonSampler sampler(plan, key, n);
    const dp::PrivateGradient gradient =
        private_step(sampler, examples, rows, own.mechanism, at, chunk, subject.exec);
    return std::vector<float>(gradient.values().values<float>().begin(),
                              gradient.values().values<float>().end());
  };
  const auto far = [&](const std::vector<float>& a, const std::vector<float>& b) {
    double squares = 0;
    for (size_t i = 0; i < P; ++i)
      squares += std::pow((static_cast<double>(a[i]) - static_cast<double>(b[i])) * 12.5 / 0.7, 2);
    return std::sqrt(squares);  // in clip norms
  };
  constexpr double kSmall = 1e-4;  // noise of 6e-8 and floats of 24 bits, sums below 30 clip norms
  for (int trial = 0; trial < 40; ++trial) {
    ++step;
    const int64_t n = trial % 8 * 5;
    const std::vector<float> without = released(n, 1000, step), with = released(n + 1, 1000, step);
    const dp::PoissonSampler sampler(plan, key, n + 1);
    const std::vector<Unit> units = sampler.draw(step);
    const bool joined = !units.empty() && units.back().ids == std::vector<int64_t>{n};
    // Without it: the sum by the definition.
    std::vector<double> sum(P, 0);
    for (const Unit& unit : units) {
      if (unit.ids[0] == n) continue;
      std::vector<float> row(P, 0);
      rows.write_row(unit, row);
      double squares = 0;
      for (float x : row) squares += static_cast<double>(x) * static_cast<double>(x);
      for (size_t i = 0; i < P; ++i)
        sum[i] += static_cast<double>(row[i]) * 0.7 / std::max(0.7, std::sqrt(squares)) / 12.5;
    }
    checks.require(far(without, {sum.begin(), sum.end()}) < kSmall,
                   "a step released another sum or divisor than stated, with ", n, " records");
    const double moved = far(with, without);
    checks.require(joined ? moved < 1 + kSmall && moved > 1 - 1e-3 : moved < kSmall, "one record ",
                   joined ? "moved a step by " : "that was not drawn moved a step by ", moved, " clip norms");
    for (int64_t chunk : {1, 2, 7})
      checks.require(released(n + 1, chunk, step) == with, "chunks of ", chunk, " changed a release");
  }
  const int64_t before = own.ledger.releases();
  asked = 0;
  const std::vector<float> empty = released(0, 7, step + 1);
  checks.require(own.ledger.releases() == before + 1, "an empty draw was not recorded");
  checks.require(asked == 0 && std::ranges::any_of(empty, [](float x) { return x != 0; }),
                 "an empty draw was released without noise");
  struct Doubling : ChosenRows {
    using ChosenRows::ChosenRows;
    PerExampleGradient rows(ExampleBatch&& batch) override {
      batch.units.push_back(batch.units.at(0));
      batch.is_real.push_back(1);
      return ChosenRows::rows(std::move(batch));
    }
  } twice(P, [](const Unit&, std::span<float> row) { row[0] = 1; });
  checks.require(refused([&] {
                   const dp::PoissonSampler sampler(plan, key, 900);
                   private_step(sampler, examples, twice, own.mechanism, step + 2, 7, subject.exec);
                 }),
                 "a unit may come back as two rows");
}

}  // namespace

void audit_structure(const Subject& subject, Checks& checks) {
  million_pairs(subject, checks);
  edges(subject, checks);
  long_rows(subject, checks);
  places_and_chunks(subject, checks);
  real_rows(subject, checks);
  whole_steps(subject, checks);
  audit_control_flow(subject, checks);
}

}  // namespace pergrad::audit
