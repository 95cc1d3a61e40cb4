// Fibers in place of GPU threads.
#include "core/gpu/emulated_block.h"

#include "core/bf16.h"

#include <csetjmp>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#if defined(PG_SANITIZED)
#include <sanitizer/common_interface_defs.h>
#endif

namespace pergrad {
namespace {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = size_t{128} << 10;
constexpr size_t kSharedAlignment = 128;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulated GPU: %s\n", what);
  std::abort();
}

struct Copy {
  void* to;
  const void* from;
  bool inside;
};

// A fiber is made once and serves block after block. It starts by makecontext; later switches go by _setjmp
// and _longjmp, which make no system call (under the address sanitizer by swapcontext, which it can follow).
struct Fiber {
  ucontext_t context{};
  jmp_buf place{};
  bool started = false;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStackBytes);
  void* fake_stack = nullptr;  // kept for the address sanitizer
  bool done = false;
  const uint64_t* waits_on = nullptr;  // runs on when *waits_on >= goal
  uint64_t goal = 0;
  std::vector<Copy> open;                 // asynchronous copies since the last commit
  std::vector<std::vector<Copy>> groups;  // committed, not yet waited for
};

}  // namespace

struct EmulatedBlock::State {
  int threads = 0;
  int64_t index = 0;
  int current = 0;
  const std::function<void(EmulatedBlock&)>* kernel = nullptr;
  std::deque<Fiber> fibers;  // never moved
  ucontext_t scheduler{};
  jmp_buf scheduler_place{};
  void* scheduler_fake_stack = nullptr;
  const void* scheduler_stack = nullptr;  // its bounds, for the address sanitizer
  size_t scheduler_stack_bytes = 0;
  std::vector<unsigned char> memory;
  unsigned char* shared = nullptr;
  uint64_t arrived = 0;                // at block barriers, ever
  std::vector<uint64_t> warp_arrived;  // at warp barriers, ever
  // What the threads of a warp show each other.
  std::vector<std::array<std::array<uint64_t, 8>, kWarp>> slots;

  Fiber& me() { return fibers[static_cast<size_t>(current)]; }

  void prepare(int block_threads, size_t shared_bytes) {
    threads = block_threads;
    for (auto made = std::ssize(fibers); made < threads; ++made) make_fiber();
    memory.resize(shared_bytes + kSharedAlignment);
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    shared = memory.data() + (kSharedAlignment - address % kSharedAlignment) % kSharedAlignment;
    warp_arrived.resize(static_cast<size_t>(threads / kWarp));
    slots.resize(static_cast<size_t>(threads / kWarp));
  }

  void make_fiber();
  void run(int64_t block);
  void resume(Fiber& fiber) {
#if defined(PG_SANITIZED)
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack.get(), kStackBytes);
    swapcontext(&scheduler, &fiber.context);
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#else
    if (_setjmp(scheduler_place) != 0) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.context);
#endif
  }
  // From a fiber to the scheduler; returns when the scheduler resumes it.
  void pause(Fiber& fiber) {
#if defined(PG_SANITIZED)
    __sanitizer_start_switch_fiber(&fiber.fake_stack, scheduler_stack, scheduler_stack_bytes);
    swapcontext(&fiber.context, &scheduler);
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#else
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler_place, 1);
#endif
  }
  // Lets the others run until `counter` reaches `until`.
  void wait_until(const uint64_t& counter, uint64_t until) {
    if (counter >= until) return;
    Fiber& fiber = me();
    fiber.waits_on = &counter;
    fiber.goal = until;
    pause(fiber);
  }

  void barrier() {
    const auto n = static_cast<uint64_t>(threads);
    const uint64_t until = (arrived / n + 1) * n;
    ++arrived;
    wait_until(arrived, until);
  }
  void warp_barrier() {
    uint64_t& count = warp_arrived[static_cast<size_t>(current / kWarp)];
    const uint64_t until = (count / kWarp + 1) * kWarp;
    ++count;
    wait_until(count, until);
  }
  uint64_t& slot(int lane, int i) {
    return slots[static_cast<size_t>(current / kWarp)][static_cast<size_t>(lane)][static_cast<size_t>(i)];
  }
  template <class T>
  void show(int i, T v) {
    std::memcpy(&slot(current % kWarp, i), &v, sizeof v);
  }
  template <class T>
  T see(int lane, int i) {
    T v;
    std::memcpy(&v, &slot(lane, i), sizeof v);
    return v;
  }
};

namespace {

thread_local EmulatedBlock::State* running = nullptr;

// The only function of every fiber: one block after the other.
void serve() {
  EmulatedBlock::State& state = *running;
#if defined(PG_SANITIZED)
  __sanitizer_finish_switch_fiber(nullptr, &state.scheduler_stack, &state.scheduler_stack_bytes);
#endif
  for (;;) {
    EmulatedBlock block(state);
    (*state.kernel)(block);
    state.me().done = true;
    state.pause(state.me());
  }
}

}  // namespace

void EmulatedBlock::State::make_fiber() {
  Fiber& fiber = fibers.emplace_back();
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, serve, 0);
}

void EmulatedBlock::State::run(int64_t block) {
  index = block;
  arrived = 0;
  std::fill(warp_arrived.begin(), warp_arrived.end(), 0);
  std::fill(memory.begin(), memory.end(), static_cast<unsigned char>(0xff));
  for (int t = 0; t < threads; ++t) {
    Fiber& fiber = fibers[static_cast<size_t>(t)];
    fiber.done = false;
    fiber.waits_on = nullptr;
    fiber.open.clear();
    fiber.groups.clear();
  }
  for (int left = threads; left > 0;) {
    bool moved = false;
    for (current = 0; current < threads; ++current) {
      Fiber& fiber = me();
      if (fiber.done || (fiber.waits_on && *fiber.waits_on < fiber.goal)) continue;
      moved = true;
      fiber.waits_on = nullptr;
      resume(fiber);
      left -= fiber.done;
    }
    if (!moved) fail("a barrier that not all threads reach");
  }
}

int EmulatedBlock::thread() const { return state_.current; }
int64_t EmulatedBlock::index() const { return state_.index; }
unsigned char* EmulatedBlock::shared_memory() const { return state_.shared; }
void EmulatedBlock::sync() { state_.barrier(); }

template <class T>
T EmulatedBlock::exchange(T v, int mask) {
  state_.show(0, v);
  state_.warp_barrier();
  const T other = state_.see<T>((state_.current % kWarp) ^ mask, 0);
  state_.warp_barrier();
  return other;
}
float EmulatedBlock::shuffle_xor(float v, int mask) { return exchange(v, mask); }
double EmulatedBlock::shuffle_xor(double v, int mask) { return exchange(v, mask); }

void EmulatedBlock::copy16_async(void* to, const void* from, bool inside) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || (inside && reinterpret_cast<uintptr_t>(from) % 16))
    fail("an asynchronous copy that is not aligned to 16 bytes");
  std::memset(to, 0xff, 16);
  state_.me().open.push_back({to, from, inside});
}
void EmulatedBlock::commit() {
  Fiber& fiber = state_.me();
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}
void EmulatedBlock::wait_for(int groups) {
  Fiber& fiber = state_.me();
  while (std::ssize(fiber.groups) > groups) {
    for (const Copy& copy : fiber.groups.front()) {
      if (copy.inside)
        std::memcpy(copy.to, copy.from, 16);
      else
        std::memset(copy.to, 0, 16);
    }
    fiber.groups.erase(fiber.groups.begin());
  }
}

void EmulatedBlock::load_transposed(uint32_t (&r)[4], const unsigned char* base, uint32_t offset) {
  if (reinterpret_cast<uintptr_t>(base + offset) % 16)
    fail("ldmatrix: a row that is not aligned to 16 bytes");
  state_.show(0, base + offset);
  state_.warp_barrier();
  const int lane = state_.current % kWarp;
  for (int m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (int j = 0; j < 2; ++j) {
      const auto* row = state_.see<const unsigned char*>(m * 8 + 2 * (lane % 4) + j, 0);
      std::memcpy(&pair[j], row + 2 * (lane / 4), 2);
    }
    std::memcpy(&r[m], pair, 4);
  }
  state_.warp_barrier();
}

void EmulatedBlock::mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  for (int i = 0; i < 4; ++i) state_.show(i, a[i]);
  state_.show(4, b0);
  state_.show(5, b1);
  state_.warp_barrier();
  const auto half = [](uint32_t word, int i) {
    return to_float(bf16{static_cast<uint16_t>(i ? word >> 16 : word & 0xffffu)});
  };
  const int lane = state_.current % kWarp;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i >= 2 ? 8 : 0), column = 2 * (lane % 4) + (i & 1);
    float sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const uint32_t x = state_.see<uint32_t>((row % 8) * 4 + (k % 8) / 2, row / 8 + 2 * (k / 8));
      const uint32_t y = state_.see<uint32_t>(column * 4 + (k % 8) / 2, 4 + k / 8);
      sum += half(x, k & 1) * half(y, k & 1);
    }
    c[i] = sum;
  }
  state_.warp_barrier();
}

void emulate_blocks(int64_t blocks, int threads, size_t shared_bytes,
                    const std::function<void(EmulatedBlock&)>& kernel) {
  if (threads <= 0 || threads % kWarp) fail("a block that is not made of whole warps");
  static thread_local EmulatedBlock::State state;
  state.prepare(threads, shared_bytes);
  state.kernel = &kernel;
  running = &state;
  for (int64_t block = 0; block < blocks; ++block) state.run(block);
  running = nullptr;
}

}  // namespace pergrad
