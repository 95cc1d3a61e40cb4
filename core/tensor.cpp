// Tensor and Workspace.
#include "core/tensor.h"

#include "core/gpu/gpu.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
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

std::byte* allocate(size_t bytes, Device device) {
  if (!device.is_cpu()) return Gpu::of(device).allocate(bytes);
  void* memory = std::aligned_alloc(kAlignment,
                                    std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
  if (!memory) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

void release(std::byte* memory, Device device) noexcept {
  if (device.is_cpu())
    std::free(memory);
  else
    Gpu::of(device).release(memory);
}

}  // namespace

// Free buffers by size class: powers of two and the three quarter steps between them, so that at most a
// quarter is wasted and a step finds what the last one left.
struct Workspace::Pool {
  Pool(Device d, Users u) : device(d), users(u) {}
  Device device;
  Users users;
  std::mutex mutex;
  std::map<size_t, std::deque<std::byte*>> free;  // by size class; they come back in turn
  size_t reserved = 0;
  ~Pool() {
    for (auto& [size, buffers] : free)
      for (std::byte* memory : buffers) release(memory, device);
  }
  // Keeps other threads out, if there are any, for as long as what it returns lives.
  std::unique_lock<std::mutex> alone() {
    return users == Users::several_threads ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
  }
  static size_t size_class(size_t bytes) {
    const size_t power = std::max<size_t>(256, std::bit_floor(bytes));
    const size_t quarter = power / 4;
    return bytes <= power ? power : power + (bytes - power + quarter - 1) / quarter * quarter;
  }
};

Workspace::Workspace(Device device, Users users)
    : device_(device), pool_(std::make_shared<Pool>(device, users)) {
  if (!device.is_cpu()) Gpu::of(device);  // refuses one that is not there
}

std::shared_ptr<std::byte> Workspace::take(size_t bytes) {
  const size_t size = Pool::size_class(bytes);
  std::byte* memory = nullptr;
  auto alone = pool_->alone();
  if (std::deque<std::byte*>& free = pool_->free[size]; !free.empty()) {
    memory = free.front();
    free.pop_front();
  } else {
    memory = allocate(size, device_);
    pool_->reserved += size;
  }
  if (alone) alone.unlock();
  return {memory, [pool = pool_, size](std::byte* p) {
            const auto none_else = pool->alone();
            pool->free[size].push_back(p);
          }};
}

size_t Workspace::bytes_reserved() const {
  const auto alone = pool_->alone();
  return pool_->reserved;
}

Tensor::Tensor(std::shared_ptr<std::byte> buffer, Shape shape, DType type, Device device)
    : buffer_(std::move(buffer)),
      size_(count(shape)),
      shape_(std::move(shape)),
      dtype_(type),
      device_(device) {}

Tensor Tensor::empty(Shape shape, DType type, Device device) {
  const size_t bytes = static_cast<size_t>(count(shape)) * size_of(type);
  return {std::shared_ptr<std::byte>(allocate(bytes, device), [device](std::byte* p) { release(p, device); }),
          std::move(shape), type, device};
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

Tensor Tensor::clone() const { return to(device_); }

Tensor Tensor::to(Device device) const {
  Tensor t = empty(shape_, dtype_, device);
  t.assign(*this);
  return t;
}

void Tensor::assign(const Tensor& from) const {
  PG_CHECK(from.shape_ == shape_ && from.dtype_ == dtype_, "assign: ", to_string(from.shape_), " to ",
           to_string(shape_), " of another shape or type");
  if (size_ == 0) return;
  if (device_.is_cpu() && from.device_.is_cpu()) {
    std::memcpy(device_bytes(), from.device_bytes(), byte_size());
  } else if (device_.is_cpu()) {
    Gpu::of(from.device_).download(device_bytes(), from.device_bytes(), byte_size());
  } else if (from.device_.is_cpu()) {
    Gpu::of(device_).upload(device_bytes(), from.device_bytes(), byte_size());
  } else {
    PG_CHECK(device_ == from.device_, "assign: from ", from.device_.name(), " to ", device_.name());
    Gpu::of(device_).copy(device_bytes(), from.device_bytes(), byte_size());
  }
}

Tensor Tensor::to(DType type) const {
  Tensor t = empty(shape_, type);
  dispatch(dtype_, [&]<class From>() {
    dispatch(type, [&]<class To>() {
      std::transform(data<From>(), data<From>() + size_, t.data<To>(),
                     [](From v) { return static_cast<To>(v); });
    });
  });
  return t;
}

void Tensor::fill(double value) const {
  if (size_ == 0) return;
  if (device_.is_cpu() && (dtype_ == DType::f32 || dtype_ == DType::f64)) {
    dispatch(dtype_, [&]<class T>() { std::fill_n(data<T>(), size_, static_cast<T>(value)); });
  } else if (value == 0) {
    if (device_.is_cpu())
      std::memset(device_bytes(), 0, byte_size());
    else
      Gpu::of(device_).zero(device_bytes(), byte_size());
  } else {
    const Tensor host = empty(shape_, dtype_);
    host.fill(value);  // REQUIRES: float or double
    assign(host);
  }
}

}  // namespace pergrad
