// The verbs of a block kernel on an NVIDIA GPU. A kernel is written once, against any type with these verbs
// (template <class Block> PG_DEVICE void operator()(Block& block) const); the other such type is
// EmulatedBlock.
//
// Warp verbs (shuffle_xor, load_transposed, mma_bf16) are called by all 32 threads of a warp together, sync
// by all threads of the block.
#pragma once

#include <cstdint>

// PG_UNROLL before a loop whose sums must stay in registers, PG_NO_UNROLL before one that would need too
// many.
#if defined(__CUDACC__)
#define PG_DEVICE __device__
#define PG_UNROLL _Pragma("unroll")
#define PG_NO_UNROLL _Pragma("unroll 1")
#define PG_UNROLL_4 _Pragma("unroll 4")
#else
#define PG_DEVICE
#define PG_UNROLL
#define PG_NO_UNROLL
#define PG_UNROLL_4
#endif

#if defined(__CUDACC__)
namespace pergrad {

class CudaBlock {
 public:
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int64_t index() const { return blockIdx.x; }
  // The memory that the threads of a block share; aligned to 128.
  template <class T>
  __device__ T* shared() const {
    extern __shared__ __align__(128) unsigned char pergrad_shared[];
    return reinterpret_cast<T*>(pergrad_shared);
  }
  __device__ void sync() const { __syncthreads(); }

  // The value of thread (lane ^ mask) of this warp.
  template <class T>
  __device__ T shuffle_xor(T v, int mask) const {
    return __shfl_xor_sync(0xffffffffu, v, mask);
  }

  // Starts copying 16 bytes into shared memory, zeros where not `inside`; commit() closes a group of copies,
  // wait<N>() returns when at most the N newest groups of this thread are under way.
  __device__ void copy16_async(void* to, const void* from, bool inside) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
  }
  __device__ void commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int kGroups>
  __device__ void wait() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
  }

  // Four 8x8 matrices of 16-bit numbers, transposed: thread 8 m + r names row r of matrix m (16 bytes in
  // shared memory, `offset` from base); r[m] holds elements (2 (lane % 4) + {0, 1}, lane / 4) of matrix m.
  __device__ void load_transposed(uint32_t (&r)[4], const unsigned char* base, uint32_t offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(base) + offset)
                 : "memory");
  }
  // c [16,8] += a [16,16] b [16,8], bf16 with float sums; fragments as in the PTX manual (mma.m16n8k16).
  __device__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }

 private:
  __device__ static uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
  }
};

}  // namespace pergrad
#endif
