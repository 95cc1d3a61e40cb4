// The processor's instruction set, asked once.
#include "core/cpu.h"

namespace pergrad {

InstructionSet instruction_set() {
  static const InstructionSet kSet = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512cd"))
      return InstructionSet::x86_64_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
      return InstructionSet::x86_64_v3;
    return InstructionSet::baseline;
  }();
  return kSet;
}

std::string instruction_set_name() {
  switch (instruction_set()) {
    case InstructionSet::x86_64_v4:
      return "x86-64-v4";
    case InstructionSet::x86_64_v3:
      return "x86-64-v3";
    case InstructionSet::baseline:
      break;
  }
  return "baseline";
}

}  // namespace pergrad
