// One table of op cases. Three generic tests walk it: derivatives, rows, and float against double.
// A new op is one more case in op_cases.cpp; a test reads autograd/ops.h and fails if one has none.
#pragma once

#include "autograd/ops.h"

#include <functional>
#include <string>
#include <vector>

namespace pergrad::test {

// What an operand is filled with.
enum class Fill {
  normal,          // standard normal
  away_from_zero,  // 0.1 <= |x| <= 1.1: no kink of relu within a difference step
  distinct,        // all entries at least 0.02 apart: no ties in max_pool within a difference step
  small,           // normal / 2
  one_flat,        // as small, but channel 0 (of the last axis) 1000 times smaller: below the floor of
                   // weight_standardize
  soft_labels,     // >= 0, multiples of 1/64, summing to exactly 1 over the last axis
  view_weights,    // unequal weights of V views, one of them 0 if V >= 2, summing to 1
};

struct Operand {
  Shape shape;  // of an input: of one row, [V, ...]; of a weight: the whole
  Fill fill = Fill::normal;
  bool differentiable = true;
};

// Records the op on a tape, from the inputs.
using Record = std::function<Var(Tape&, const std::vector<Var>&)>;

struct OpCase {
  std::string op;                 // the group it belongs to
  std::string name;               // what is particular
  std::vector<std::string> uses;  // functions of autograd/ops.h that it exercises
  std::vector<Operand> inputs;
  std::vector<Operand> weights;
  // Derives weights from the leaves, and returns how to record the op.
  std::function<Record(WeightTape&, const std::vector<WeightVar>&)> prepare;
  // A straight line in each entry: central differences are exact for any step.
  bool multilinear = false;
};

const std::vector<OpCase>& op_cases();

// The numbers of one case, N rows.
struct CaseData {
  std::vector<Tensor> inputs;   // [N, V, ...]
  std::vector<Tensor> weights;  // no example axis
  Tensor coefficients;          // [N, ...], like the output: the loss of row n is <coefficients, output>
  int64_t rows() const { return coefficients.dim(0); }
};
// Random numbers that floats hold exactly; the same for both types.
CaseData make_data(const OpCase& c, int64_t rows, DType type);
// The same weights, and these rows in this order.
CaseData select_rows(const CaseData& data, const std::vector<int64_t>& rows);

class GuardedWorkspace;

struct CaseRun {
  Tensor output;
  std::vector<Tensor> input_gradients;  // undefined where the operand is not differentiable
  Tensor weight_gradients;              // [N, P], the weights one after the other
  std::string overrun;                  // names an output whose guard words were written to, else empty
};
// Forward and backward. `guards`: also look behind every output.
CaseRun run_case(const OpCase& c, const CaseData& data, GuardedWorkspace* guards = nullptr);
// The same on a GPU (or an emulated one), from float data, back on the processor in float; with bf16, images
// go there as bf16. Slots and slab have guard columns and a guard row.
CaseRun run_case_on_gpu(const OpCase& c, const CaseData& data, Device device,
                        const GpuConvSettings& settings);
// Float to bf16; any type on any device to float on the processor.
Tensor in_bf16(const Tensor& t);
Tensor in_float(const Tensor& t);
// The losses [N], forward only.
std::vector<double> case_losses(const OpCase& c, const CaseData& data);

// Derivatives of all losses by one number, by central differences. Writes to `entry` and restores it.
//   losses: () -> vector of N.  `straight`: two points with step 1/2, else four points with step 1e-3.
std::vector<double> difference_quotient(const std::function<std::vector<double>()>& losses, double& entry,
                                        bool straight);

}  // namespace pergrad::test
