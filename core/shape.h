// Shape: the extents of a tensor, in place: a step copies thousands of them, and none asks for memory.
#pragma once

#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

namespace pergrad {

// At most kMost extents; what std::vector has of it, with its meaning.   THROWS: Error beyond kMost.
class Shape {
 public:
  static constexpr size_t kMost = 8;
  using value_type = int64_t;
  using iterator = int64_t*;
  using const_iterator = const int64_t*;

  Shape() = default;
  Shape(const Shape&) = default;
  Shape& operator=(const Shape&) = default;
  Shape(Shape&& other) noexcept  // empty after a move, as a vector is
      : extents_(other.extents_), size_(std::exchange(other.size_, 0)) {}
  Shape& operator=(Shape&& other) noexcept {
    if (this != &other) *this = std::as_const(other), other.size_ = 0;
    return *this;
  }
  Shape(std::initializer_list<int64_t> extents) : Shape(extents.begin(), extents.end()) {}
  template <class It>
  Shape(It first, It last) {
    for (; first != last; ++first) push_back(*first);
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  iterator begin() { return extents_.data(); }
  iterator end() { return extents_.data() + size_; }
  const_iterator begin() const { return extents_.data(); }
  const_iterator end() const { return extents_.data() + size_; }
  int64_t& operator[](size_t i) { return extents_[i]; }
  int64_t operator[](size_t i) const { return extents_[i]; }
  int64_t at(size_t i) const {
    PG_CHECK(i < size_, "shape: axis ", i, " of ", size_);
    return extents_[i];
  }
  int64_t& back() { return extents_[size_ - 1]; }
  int64_t back() const { return extents_[size_ - 1]; }

  void push_back(int64_t extent) { insert(end(), extent); }
  void insert(const_iterator before, int64_t extent) {
    PG_CHECK(size_ < kMost, "shape: more than ", kMost, " axes");
    const auto at = begin() + (before - begin());
    std::copy_backward(at, end(), end() + 1);
    *at = extent;
    ++size_;
  }
  void erase(const_iterator which) {
    const auto at = begin() + (which - begin());
    std::copy(at + 1, end(), at);
    --size_;
  }

  friend bool operator==(const Shape& a, const Shape& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  std::array<int64_t, kMost> extents_{};
  size_t size_ = 0;
};

// Product of the extents; 1 for a scalar.
int64_t count(const Shape& shape);
// "[2,3,32,32,3]".
std::string to_string(const Shape& shape);

}  // namespace pergrad
