// One table of op cases, small ones and ones at the sizes of a network. Three generic tests walk the small
// ones (derivatives, rows, float against double, on every device), the kernel benchmark the others. A new op
// is one more case in op_cases.cpp; a test reads autograd/ops.h and fails if one has none.
#pragma once

#include "autograd/ops.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace pergrad {

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
  std::optional<ConvShape> conv;  // of one that is a convolution and nothing else
};

// Small: every op with every kind of shape.
const std::vector<OpCase>& op_cases();
// The layers of WRN-16-4 on 32x32 images and of small_cnn on 28x28, one view.
const std::vector<OpCase>& op_cases_at_size();

// The numbers of one case, N rows.
struct CaseData {
  std::vector<Tensor> inputs;   // [N, V, ...]
  std::vector<Tensor> weights;  // no example axis
  Tensor coefficients;          // [N, ...], like the output: the loss of row n is <coefficients, output>
  int64_t rows() const { return coefficients.dim(0); }
};
// Random numbers that floats hold exactly; the same for both types.
CaseData make_data(const OpCase& c, int64_t rows, DType type);

// A case on a tape: leaves, derived weights, inputs, and the op.
struct Recording {
  WeightTape weights;
  Record record;
  Recording(const OpCase& c, const CaseData& data, const WeightTape& where = WeightTape());
  std::vector<Var> inputs(Tape& tape, const OpCase& c, const CaseData& data) const;
};

// losses [N] of zeros whose gradient by y is c.
Var seed(Tape& tape, Var y, const Tensor& c);

}  // namespace pergrad
