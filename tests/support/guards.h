// Guard words: memory behind an output that nobody may write to.
#pragma once

#include "core/tensor.h"
#include "tests/support/compare.h"

#include <cstdint>
#include <vector>

namespace pergrad::test {

// n numbers between two fences of guard words, for functions that take pointers.
template <class T>
class Guarded {
 public:
  explicit Guarded(int64_t n, T fill = T{0}) : n_(n), all_(static_cast<size_t>(n) + 2 * kFence, kGuard) {
    std::fill_n(data(), n, fill);
  }
  T* data() { return all_.data() + kFence; }
  std::vector<T> values() const { return {all_.begin() + kFence, all_.end() - kFence}; }
  bool intact() const {
    for (int64_t i = 0; i < kFence; ++i)
      if (all_[static_cast<size_t>(i)] != kGuard || all_[static_cast<size_t>(kFence + n_ + i)] != kGuard)
        return false;
    return true;
  }

 private:
  static constexpr int64_t kFence = 64;  // four registers of the widest build
  static constexpr T kGuard = static_cast<T>(-12345.5);
  int64_t n_;
  std::vector<T> all_;
};

// A workspace whose buffers were filled with a pattern: a buffer is at least as large as its tensor, and what
// lies between the end of the tensor and the end of its buffer must keep the pattern. Buffers come back in
// turn, so a stock of them lets every tensor of one run have a fresh one.
class GuardedWorkspace {
 public:
  // REQUIRES: no tensor of the run is larger than `largest`; it takes at most `stock` of one size.
  explicit GuardedWorkspace(size_t largest, int stock = 64) {
    std::vector<std::shared_ptr<std::byte>> taken;
    for (size_t bytes = 1; bytes <= largest; bytes = capacity(bytes) + 1)
      for (int i = 0; i < stock; ++i) {
        taken.push_back(workspace_.take(bytes));
        std::memset(taken.back().get(), kPattern, capacity(bytes));
      }
    stocked_ = workspace_.bytes_reserved();
  }
  Workspace& workspace() { return workspace_; }
  // Whether the words behind the tensor are whole; false also when there is no room for a guard.
  bool intact(const Tensor& t) const {
    const size_t begin = byte_size(t), end = capacity(begin);
    const auto* bytes = static_cast<const unsigned char*>(bytes_of(t));
    for (size_t i = begin; i < end; ++i)
      if (bytes[i] != kPattern) return false;
    return begin < end;
  }
  // Whether the stock sufficed, i.e. no buffer without a pattern was handed out.
  bool sufficed() const { return workspace_.bytes_reserved() == stocked_; }

 private:
  static constexpr unsigned char kPattern = 0xA5;
  // Size of the buffer behind a tensor of this many bytes, asked of a workspace that has nothing free.
  static size_t capacity(size_t bytes) {
    Workspace fresh;
    (void)fresh.take(bytes);
    return fresh.bytes_reserved();
  }
  Workspace workspace_;
  size_t stocked_ = 0;
};

}  // namespace pergrad::test
