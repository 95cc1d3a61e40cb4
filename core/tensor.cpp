// Tensor and Workspace on the CPU.
#include "core/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>

namespace pergrad {

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  return n;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += ',';
    text += std::to_string(shape[i]);
  }
  text += ']';
  return text;
}

namespace {

constexpr size_t kAlignment = 64;  // a cache line, and one AVX-512 register

std::byte* allocate(size_t bytes) {
  void* memory = std::aligned_alloc(kAlignment,
                                    std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
  if (!memory) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

void check_device(Device device) {
  PG_CHECK_AS(DeviceError, device.is_cpu(), "tensor: this build has no device ", device.name());
}

}  // namespace

// Free buffers by size class: powers of two and the three quarter steps between them, so that at most a
// quarter is wasted and a step finds what the last one left.
struct Workspace::Pool {
  std::multimap<size_t, std::byte*> free;
  size_t reserved = 0;
  ~Pool() {
    for (auto& [size, memory] : free) std::free(memory);
  }
  static size_t size_class(size_t bytes) {
    size_t power = 256;
    while (power * 2 <= bytes) power *= 2;
    const size_t quarter = power / 4;
    return bytes <= power ? power : power + (bytes - power + quarter - 1) / quarter * quarter;
  }
};

Workspace::Workspace(Device device) : device_(device), pool_(std::make_shared<Pool>()) {
  check_device(device);
}

std::shared_ptr<std::byte> Workspace::take(size_t bytes) {
  const size_t size = Pool::size_class(bytes);
  std::byte* memory = nullptr;
  if (auto found = pool_->free.find(size); found != pool_->free.end()) {
    memory = found->second;
    pool_->free.erase(found);
  } else {
    memory = allocate(size);
    pool_->reserved += size;
  }
  return {memory, [pool = pool_, size](std::byte* p) { pool->free.emplace(size, p); }};
}

size_t Workspace::bytes_reserved() const { return pool_->reserved; }

Tensor::Tensor(std::shared_ptr<std::byte> buffer, Shape shape, DType type, Device device)
    : buffer_(std::move(buffer)),
      size_(count(shape)),
      shape_(std::move(shape)),
      dtype_(type),
      device_(device) {}

Tensor Tensor::empty(Shape shape, DType type, Device device) {
  check_device(device);
  const size_t bytes = static_cast<size_t>(count(shape)) * size_of(type);
  return {std::shared_ptr<std::byte>(allocate(bytes), std::free), std::move(shape), type, device};
}

Tensor Tensor::zeros(Shape shape, DType type, Device device) {
  Tensor t = empty(std::move(shape), type, device);
  t.fill(0);
  return t;
}

Tensor Tensor::empty(Shape shape, DType type, Workspace& workspace) {
  const size_t bytes = static_cast<size_t>(count(shape)) * size_of(type);
  return {workspace.take(bytes), std::move(shape), type, workspace.device()};
}

Tensor Tensor::zeros(Shape shape, DType type, Workspace& workspace) {
  Tensor t = empty(std::move(shape), type, workspace);
  t.fill(0);
  return t;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  PG_CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= dim(0), "rows: [", begin, ",", end,
           ") of shape ", to_string(shape_));
  Tensor t = *this;
  const int64_t row = dim(0) == 0 ? 0 : size_ / dim(0);
  t.shape_[0] = end - begin;
  t.size_ = (end - begin) * row;
  t.offset_ += begin * row;
  return t;
}

Tensor Tensor::reshape(Shape shape) const {
  PG_CHECK(count(shape) == size_, "reshape: ", to_string(shape_), " to ", to_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::clone() const { return to(dtype_); }

Tensor Tensor::to(DType type) const {
  Tensor t = empty(shape_, type, device_);
  dispatch(dtype_, [&]<class From>() {
    dispatch(type, [&]<class To>() {
      std::transform(data<From>(), data<From>() + size_, t.data<To>(),
                     [](From v) { return static_cast<To>(v); });
    });
  });
  return t;
}

void Tensor::fill(double value) const {
  dispatch(dtype_, [&]<class T>() { std::fill_n(data<T>(), size_, static_cast<T>(value)); });
}

}  // namespace pergrad
