// The simulation, and the closed form of one step.
#include "apps/audit/subsampled_gaussian.h"

#include "apps/audit/statistics.h"
#include "core/philox.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace pergrad::audit {
namespace {

// Two standard normals (Box and Muller 1958) of 53-bit uniforms: none lies beyond 8.6, which costs the law a
// chance of 1e-17 a draw.
std::array<double, 2> two_normals(PhiloxStream& stream) {
  const double radius = std::sqrt(-2 * std::log(1 - stream.uniform()));
  const double angle = 2 * std::numbers::pi * stream.uniform();
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// The sum of the steps' log ratios, with one logarithm for many of them.
class LogRatio {
 public:
  explicit LogRatio(const SubsampledGaussian& run) : q_(run.q), variance_(run.sigma * run.sigma) {}
  void add(double x) {
    const double w = (x - 0.5) / variance_;
    if (q_ == 1) {
      sum_ += w;
      return;
    }
    product_ *= 1 - q_ + q_ * std::exp(w);
    if (product_ < 1e-100 || product_ > 1e100) {
      sum_ += std::log(product_);
      product_ = 1;
    }
  }
  double total() const { return sum_ + std::log(product_); }

 private:
  double q_, variance_, product_ = 1, sum_ = 0;
};

struct Counts {
  int64_t hits = 0, false_alarms = 0, thinned = 0;
  void look(double truth, double other, double epsilon, double uniform) {
    hits += truth > epsilon;
    false_alarms += other > epsilon;
    thinned += truth > epsilon && uniform < -std::expm1(epsilon - truth);
  }
  Counts& operator+=(const Counts& more) {
    hits += more.hits;
    false_alarms += more.false_alarms;
    thinned += more.thinned;
    return *this;
  }
  // `level` is split between the two bounds, and between the two rates of the first.
  double proved(int64_t runs, double epsilon, double level) const {
    const double event = binomial_lower(hits, runs, level / 4) -
                         std::exp(epsilon) * binomial_upper(false_alarms, runs, level / 4);
    return std::max({0.0, event, binomial_lower(thinned, runs, level / 2)});
  }
};

}  // namespace

BothWays one_step_delta(const SubsampledGaussian& run, double epsilon) {
  const double q = run.q, s = run.sigma, e = std::exp(epsilon);
  BothWays delta;
  {  // P(x > t) - e^epsilon Q(x > t), L(t) = epsilon
    const double odds = (e - 1 + q) / q, t = 0.5 + s * s * std::log(odds);
    delta.remove = q * (normal_cdf((1 - t) / s) - odds * normal_cdf(-t / s));
  }
  const double odds = (1 / e - 1 + q) / q;
  if (odds > 0) {  // Q(x < t) - e^epsilon P(x < t), L(t) = -epsilon
    const double t = 0.5 + s * s * std::log(odds);
    delta.add = e * q * (odds * normal_cdf(t / s) - normal_cdf((t - 1) / s));
  }
  return delta;
}

std::vector<BothWays> proved_deltas(const SubsampledGaussian& run, const std::vector<double>& epsilons,
                                    int64_t runs, double level, const Key& key, const CpuExec& exec) {
  constexpr int64_t kChunks = 64;
  std::vector<std::vector<Counts>> remove(kChunks, std::vector<Counts>(epsilons.size())), add = remove;
  exec.for_each(kChunks, [&](int64_t chunk) {
    PhiloxStream stream = PhiloxStream::of(key, 0, chunk);
    const auto c = static_cast<size_t>(chunk);
    for (int64_t i = chunk; i < runs; i += kChunks) {
      // Both worlds see the same Gaussian numbers: each has its own law, and no bound needs more than that.
      LogRatio in_p(run), in_q(run);
      std::array<double, 2> z{};
      for (int64_t step = 0; step < run.steps; ++step) {
        if (step % 2 == 0) z = two_normals(stream);
        const double x = run.sigma * z[static_cast<size_t>(step % 2)];
        in_q.add(x);
        in_p.add(stream.uniform() < run.q ? x + 1 : x);
      }
      const double p = in_p.total(), q = in_q.total(), uniform = stream.uniform();
      for (size_t k = 0; k < epsilons.size(); ++k) {
        remove[c][k].look(p, q, epsilons[k], uniform);
        add[c][k].look(-q, -p, epsilons[k], uniform);
      }
    }
  });
  std::vector<BothWays> proved;
  const double each = level / (2 * static_cast<double>(epsilons.size()));
  for (size_t k = 0; k < epsilons.size(); ++k) {
    Counts removed, added;
    for (const auto& chunk : remove) removed += chunk[k];
    for (const auto& chunk : add) added += chunk[k];
    proved.push_back({removed.proved(runs, epsilons[k], each), added.proved(runs, epsilons[k], each)});
  }
  return proved;
}

}  // namespace pergrad::audit
