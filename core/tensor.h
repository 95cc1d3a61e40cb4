// Tensor: a shape over a shared buffer. Always contiguous; the only view is rows(a, b) of the leading axis.
//
// On a GPU (core/gpu/gpu.h) work is queued: empty, zeros, copies and fills of one device happen in order.
// Only kernels touch such memory: data() refuses it.
//
// Memory comes from a Workspace, which keeps what tensors give back for the next ones: after the first step
// no memory is asked of the operating system. A Workspace serves one thread, unless it is said to be shared.
#pragma once

#include "core/bf16.h"
#include "core/device.h"
#include "core/error.h"
#include "core/shape.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace pergrad {

// bf16: activations on a GPU; i64: sums on the privacy grid there.
enum class DType { f32, f64, bf16, i64 };
inline size_t size_of(DType type) { return type == DType::bf16 ? 2 : type == DType::f32 ? 4 : 8; }
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, bf16>) return DType::bf16;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16> ||
                std::is_same_v<T, int64_t>);
  return DType::i64;
}

class Workspace;

class Tensor {
 public:
  Tensor() = default;
  // Memory from the heap; contents undefined / zero.
  static Tensor empty(Shape shape, DType type, Device device = {});
  static Tensor zeros(Shape shape, DType type, Device device = {});
  // Memory from a workspace; contents undefined / zero.
  static Tensor empty(Shape shape, DType type, Workspace& workspace);
  static Tensor zeros(Shape shape, DType type, Workspace& workspace);
  // A copy of `values` with this shape.
  template <class T>
  static Tensor of(Shape shape, std::span<const T> values) {
    Tensor t = empty(std::move(shape), dtype_of<T>());
    PG_CHECK(t.size() == static_cast<int64_t>(values.size()), "tensor: ", values.size(), " values for shape ",
             to_string(t.shape()));
    std::copy(values.begin(), values.end(), t.data<T>());
    return t;
  }

  bool defined() const { return buffer_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_.at(static_cast<size_t>(axis)); }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t size() const { return size_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  // The elements.  THROWS: Error if T is not the dtype, there is no buffer, or it is on a GPU.
  template <class T>
  T* data() const {
    PG_CHECK(buffer_ && dtype_ == dtype_of<T>() && device_.is_cpu(),
             "tensor: no data of the type asked for on the processor");
    return reinterpret_cast<T*>(buffer_.get()) + offset_;
  }
  // The elements where they are, for kernels.  THROWS: Error if T is not the dtype or there is no buffer.
  template <class T>
  T* device_data() const {
    PG_CHECK(buffer_ && dtype_ == dtype_of<T>(), "tensor: no data of the type asked for");
    return reinterpret_cast<T*>(buffer_.get()) + offset_;
  }
  std::byte* device_bytes() const { return buffer_.get() + offset_ * static_cast<int64_t>(size_of(dtype_)); }
  size_t byte_size() const { return static_cast<size_t>(size_) * size_of(dtype_); }
  // No other tensor shares this memory.
  bool sole_owner() const { return buffer_.use_count() == 1; }
  template <class T>
  std::span<T> values() const {
    return {data<T>(), static_cast<size_t>(size_)};
  }

  // Rows [begin, end) of the leading axis, sharing memory.
  Tensor rows(int64_t begin, int64_t end) const;
  // The same elements under another shape of equal size, sharing memory.
  Tensor reshape(Shape shape) const;
  // A deep copy on the heap of the same device.
  Tensor clone() const;
  // A deep copy on another device, or on the same.
  Tensor to(Device device) const;
  // A deep copy converted to another type; on the processor only.
  Tensor to(DType type) const;
  // Overwrites all elements with those of another of the same shape and type, from any device.
  void assign(const Tensor& from) const;
  void fill(double value) const;

 private:
  Tensor(std::shared_ptr<std::byte> buffer, Shape shape, DType type, Device device);
  std::shared_ptr<std::byte> buffer_;
  int64_t offset_ = 0;  // elements
  int64_t size_ = 0;    // elements
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_;
};

// f.operator()<float>() or <double>(), by dtype: what the processor computes in.   THROWS: Error for others.
template <class F>
decltype(auto) dispatch(DType type, F&& f) {
  PG_CHECK(type == DType::f32 || type == DType::f64, "dispatch: wanted float or double");
  return type == DType::f32 ? f.template operator()<float>() : f.template operator()<double>();
}
// f.operator()<float>() or <bf16>(): what activations are on a GPU.   THROWS: Error for others.
template <class F>
decltype(auto) dispatch_gpu(DType type, F&& f) {
  PG_CHECK(type == DType::f32 || type == DType::bf16, "dispatch: wanted float or bf16 on a GPU");
  return type == DType::f32 ? f.template operator()<float>() : f.template operator()<bf16>();
}

// A pool of buffers for the tensors of one thread, or of several, on one device.
class Workspace {
 public:
  enum class Users { one_thread, several_threads };
  explicit Workspace(Device device = {}, Users users = Users::one_thread);
  Device device() const { return device_; }
  // A buffer of at least `bytes`, aligned to 64; goes back to the pool with its last owner. On a GPU what
  // was queued on it before is done before what is queued next.
  std::shared_ptr<std::byte> take(size_t bytes);
  // Bytes ever asked of the operating system or the GPU.
  size_t bytes_reserved() const;

 private:
  struct Pool;
  Device device_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace pergrad
