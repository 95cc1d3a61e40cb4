// How the generic tests run a case of the table (autograd/op_cases.h).
#pragma once

#include "autograd/op_cases.h"

namespace pergrad::test {

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
