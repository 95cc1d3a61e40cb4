// EmulatedBlock: the verbs of a block kernel on this processor, so that its indices, barriers and waits are
// tested on any machine. Each thread of a block is a fiber; it runs until it waits for others.
//
// What it makes visible: shared memory starts as NaN; an asynchronous copy lands only at its wait (until then
// its target is NaN); a barrier that not all threads reach, or a misaligned address, ends the program with a
// message.
#pragma once

#include "core/gpu/block.h"

#include <cstddef>
#include <cstdint>
#include <functional>

namespace pergrad {

#if !defined(__CUDACC__)
class EmulatedBlock {
 public:
  struct State;
  explicit EmulatedBlock(State& state) : state_(state) {}

  int thread() const;
  int64_t index() const;
  template <class T>
  T* shared() const {
    return reinterpret_cast<T*>(shared_memory());
  }
  void sync();
  float shuffle_xor(float v, int mask);
  double shuffle_xor(double v, int mask);
  void copy16_async(void* to, const void* from, bool inside);
  void commit();
  template <int kGroups>
  void wait() {
    wait_for(kGroups);
  }
  void load_transposed(uint32_t (&r)[4], const unsigned char* base, uint32_t offset);
  void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

 private:
  unsigned char* shared_memory() const;
  void wait_for(int groups);
  template <class T>
  T exchange(T v, int mask);
  State& state_;
};

// kernel(block) on each of `threads` threads of each block, one block after the other.
void emulate_blocks(int64_t blocks, int threads, size_t shared_bytes,
                    const std::function<void(EmulatedBlock&)>& kernel);
#endif

}  // namespace pergrad
