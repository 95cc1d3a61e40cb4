// Gpu: one device that runs GPU code: its memory, its queue, its libraries. Three kinds behind one face:
//
//   cuda:i     an NVIDIA GPU (builds with CUDA only).
//   emulated   the same kernels on this processor, thread by thread: slow, for tests and for reading. Library
//              calls (cuDNN, cuBLAS) are plain loops there.
//   planning   memory is counted and nothing runs: how much a step would take on a card of any size.
//
// 1. Everything that is asked of a Gpu is queued and done in the order of asking. upload() returns when its
//    source may change, download() when its target is there.
// 2. Host code never touches device memory: Tensor::data() refuses it, on the emulated device too.
// 3. A status of CUDA, cuDNN or cuBLAS that is not success is a DeviceError that says what to do.
// 4. Work can be captured into a graph and replayed with one call; nothing is allocated while it is captured.
#pragma once

#include "core/device.h"
#include "core/tensor.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace pergrad {

// What convolutions compute in; activations are bf16 with bf16, else float. Sums are in float always.
enum class Precision { fp32, tf32, bf16 };
// "fp32", "tf32", "bf16" and back.   THROWS: Error for any other text.
Precision parse_precision(const std::string& text);
std::string text_of(Precision precision);
inline DType activation_type(Precision p) { return p == Precision::bf16 ? DType::bf16 : DType::f32; }

// Captured work.
class GpuGraph {
 public:
  virtual ~GpuGraph() = default;
  virtual void replay() = 0;
};

// A convolution of a library: always the same number of images, so that always the same algorithm runs and
// no image's bits depend on how many there are. Deterministic algorithms only; sums in float.
//   x [images,H,W,C], y [images,out_h,out_w,O] of the activation type; w [O,K,K,C] of the same.
class LibraryConv {
 public:
  virtual ~LibraryConv() = default;
  virtual size_t scratch_bytes() const = 0;  // that both calls may use
  virtual void forward(const std::byte* x, const std::byte* w, std::byte* y, std::byte* scratch) = 0;
  virtual void input_gradient(const std::byte* dy, const std::byte* w, std::byte* dx, std::byte* scratch) = 0;
};

// c[i] (+)= a[i]^T b[i] for i in [0, batch): a[i] is k rows of m numbers, b[i] k rows of n, c[i] m rows of n.
// Rows of a lie a_row apart, others are dense; a and b of `type`, c float.
// Strides: numbers from one i to the next.
struct TransposedGemms {
  DType type = DType::f32;
  Precision precision = Precision::fp32;
  int64_t batch = 0, m = 0, n = 0, k = 0, a_row = 0;
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  float* c = nullptr;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  bool accumulate = false;
};

struct ConvShape;

class Gpu {
 public:
  // The one object of this device, made at the first call.
  //   THROWS: DeviceError, in one line, if there is no such device or this build cannot use it.
  static Gpu& of(Device device);
  virtual ~Gpu() = default;
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  Device device() const { return device_; }
  // "NVIDIA H200, compute capability 9.0".
  virtual std::string title() const = 0;
  struct Memory {
    size_t free = 0;
    size_t total = 0;
  };
  virtual Memory memory() const = 0;

  // Device memory, aligned to 256.   THROWS: DeviceError if there is not so much.
  virtual std::byte* allocate(size_t bytes) = 0;
  virtual void release(std::byte* memory) noexcept = 0;

  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // within the device
  virtual void zero(void* to, size_t bytes) = 0;
  // Returns when everything that was asked for is done.   THROWS: DeviceError if any of it failed.
  virtual void wait() = 0;

  // What `work` asks for, recorded instead of done. It must ask for the same memory as a run before it did.
  virtual std::unique_ptr<GpuGraph> capture(const std::function<void()>& work) = 0;

  virtual std::unique_ptr<LibraryConv> conv(const ConvShape& shape, int64_t images, Precision precision) = 0;
  virtual void gemms(const TransposedGemms& g) = 0;

  // Queues work of the processor: how launch.h runs kernels on devices without CUDA.
  virtual void submit(std::function<void()> work);

 protected:
  explicit Gpu(Device device) : device_(device) {}

 private:
  Device device_;
};

// The two makers behind Gpu::of.
std::unique_ptr<Gpu> make_emulated_gpu(Device device);
std::unique_ptr<Gpu> make_cuda_gpu(Device device);

}  // namespace pergrad
