// The choice among the builds of autograd/isa.
#include "autograd/isa_kernels.h"

#include "core/cpu.h"

namespace pergrad {

const IsaKernels& isa_kernels() {
  static const IsaKernels& kKernels =
      of_this_processor(isa_kernels_baseline(), isa_kernels_x86_64_v3(), isa_kernels_x86_64_v4());
  return kKernels;
}

}  // namespace pergrad
