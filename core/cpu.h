// Which build of the kernels runs on this processor. Sources in isa/ folders are built for three instruction
// sets; each names itself by PG_ISA, and everything else asks here.
#pragma once

#include <string>

#define PG_JOIN2(a, b) a##b
#define PG_JOIN(a, b) PG_JOIN2(a, b)
#define PG_FOR_ISA(name) PG_JOIN(name, PG_ISA)

namespace pergrad {

enum class InstructionSet { baseline, x86_64_v3, x86_64_v4 };

// The best one that this processor has.
InstructionSet instruction_set();
// "x86-64-v4", "x86-64-v3" or "baseline".
std::string instruction_set_name();

// The member of three builds for this processor: of_this_processor(a_baseline(), a_v3(), a_v4()).
template <class Kernels>
const Kernels& of_this_processor(const Kernels& baseline, const Kernels& v3, const Kernels& v4) {
  const InstructionSet set = instruction_set();
  return set == InstructionSet::x86_64_v4 ? v4 : set == InstructionSet::x86_64_v3 ? v3 : baseline;
}

}  // namespace pergrad
