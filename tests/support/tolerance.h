// Every tolerance of the tests, by name, with its reason. Changing one needs a reason in the commit.
#pragma once

namespace pergrad::test {

// Derivatives in double against central differences, relative. The differences are exact to about 1e-10
// (four points, step 1e-3), so that 1e-6 leaves room for curvature and still sees any wrong term.
constexpr double kGradcheckTolerance = 1e-6;
// Entries smaller than this fraction of the largest of their array are compared with that fraction of it:
// a difference quotient has an absolute error, too.
constexpr double kGradcheckFloor = 1e-2;

// One op, float against double on the same numbers, as ||difference|| / ||reference|| of a whole array. A
// sum of m terms in float errs by about sqrt(m) 2^-24; the longest here has 8 * 8 * 48 terms: 55 * 6e-8
// = 3.3e-6 at worst, less in practice: measured 6.3e-7 over the table.
constexpr double kFloatOpTolerance = 2e-6;

// The same with bf16 activations (8 bits: each rounding errs by 2^-9 at most, 1.1e-3 in the mean square): an
// op rounds its output once, two ops in a row twice; measured 3.1e-3 over the table.
constexpr double kBf16OpTolerance = 4e-3;

// Two implementations in double of one whole network (ours; by hand; PyTorch): 1e-16 times the few thousand
// roundings on the longest path, relative to the root mean square of the array. Measured below 1e-12, which
// is also how many digits the golden file prints.
constexpr double kModelTolerance = 1e-10;
// A whole network in float against double: the normalised error of a row; measured below 1e-6. Of the
// gradient of a single parameter, where terms cancel, ten times that; measured 1.2e-5.
constexpr double kFloatModelTolerance = 1e-5;

// A small network of random weights with bf16 activations against double: the errors of its dozen layers add
// up, and what cancels in a gradient does not cancel in them. Measured 0.138; PyTorch and JAX in bf16 err by
// 0.11 to 0.14 on a net of this kind (tools/bench_peers_gpu check). It is coarse: what sees a wrong kernel
// are the tests of ops, and this network in float.
constexpr double kBf16ModelTolerance = 0.25;

// Whole network in double against central differences with steps of 1e-6 to 1e-5: rounding of the loss by the
// step is 1e-10, and some relu of thousands may have its kink within the step. Small entries are compared
// with a fraction of larger ones, which each test states.
constexpr double kModelGradcheckTolerance = 1e-4;

// Statistical tests: z scores beyond this happen by chance less than once in 10^6 runs (two-sided 5.0 sigma:
// 5.7e-7).
constexpr double kStatisticalSigmas = 5.0;

}  // namespace pergrad::test
