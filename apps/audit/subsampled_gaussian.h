// What is really lost by T steps of the Poisson-subsampled Gaussian mechanism, told without the accountant.
//
// P = (1 - q) N(0, sigma^2) + q N(1, sigma^2) against Q = N(0, sigma^2), each T times; the log ratio of a
// step at outcome x is L(x) = log(1 - q + q exp((2 x - 1) / (2 sigma^2))), and L of a run is their sum.
//   remove  P is the truth, Q the neighbour: delta(epsilon) = E_P[max(0, 1 - exp(epsilon - L))]
//   add     the other way round:             delta(epsilon) = E_Q[max(0, 1 - exp(epsilon + L))]
#pragma once

#include "core/exec.h"
#include "core/rng.h"

#include <cstdint>
#include <vector>

namespace pergrad::audit {

struct SubsampledGaussian {
  double q = 0, sigma = 0;
  int64_t steps = 0;
};

struct BothWays {
  double remove = 0, add = 0;
};

// Exact delta where steps = 1: the likelihood ratio is monotone in x, so the best event is a half-line.
BothWays one_step_delta(const SubsampledGaussian& run, double epsilon);

// Lower bounds of delta at each epsilon, from so many simulated runs in each of the two worlds. All of them
// hold together with confidence 1 - level. The larger of two bounds by Clopper and Pearson:
//   event    the observer says "P" where L > epsilon: hits - e^epsilon false alarms. Needs no formula of L to
//            be a bound.
//   thinned  a run counts with probability max(0, 1 - exp(epsilon - L)): the chance of that is delta.
std::vector<BothWays> proved_deltas(const SubsampledGaussian& run, const std::vector<double>& epsilons,
                                    int64_t runs, double level, const Key& key, const CpuExec& exec);

}  // namespace pergrad::audit
