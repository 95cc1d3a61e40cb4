// The emulated and the planning device.
#include "core/conv.h"
#include "core/bf16.h"
#include "core/gpu/gpu.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

namespace pergrad {
namespace {

using Work = std::vector<std::function<void()>>;

// Element i of an array of the activation type.
float element(DType type, const std::byte* data, int64_t i) {
  return type == DType::bf16 ? to_float(reinterpret_cast<const bf16*>(data)[i])
                             : reinterpret_cast<const float*>(data)[i];
}
std::vector<float> floats(DType type, const std::byte* data, int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = element(type, data, i);
  return out;
}
void store(DType type, const std::vector<float>& values, std::byte* data) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == DType::bf16)
      reinterpret_cast<bf16*>(data)[i] = to_bf16(values[i]);
    else
      reinterpret_cast<float*>(data)[i] = values[i];
  }
}

// Plain loops, image by image, in float: what the library computes, rounded to the activation type.
class EmulatedConv final : public LibraryConv {
 public:
  EmulatedConv(Gpu& gpu, const ConvShape& shape, int64_t images, Precision precision)
      : gpu_(gpu), s_(shape), images_(images), type_(activation_type(precision)) {}
  size_t scratch_bytes() const override { return 0; }
  void forward(const std::byte* x, const std::byte* w, std::byte* y, std::byte*) override {
    gpu_.submit([=, this] {
      each_image(x, s_.input_size(), w, y, s_.output_size(),
                 [this](const float* in, const float* weights, float* out) {
                   conv_reference::forward(s_, in, weights, out);
                 });
    });
  }
  void input_gradient(const std::byte* dy, const std::byte* w, std::byte* dx, std::byte*) override {
    gpu_.submit([=, this] {
      each_image(dy, s_.output_size(), w, dx, s_.input_size(),
                 [this](const float* in, const float* weights, float* out) {
                   conv_reference::input_gradient(s_, in, weights, out);
                 });
    });
  }

 private:
  template <class F>
  void each_image(const std::byte* from, int64_t from_size, const std::byte* w, std::byte* to,
                  int64_t to_size, const F& f) const {
    const auto bytes = static_cast<int64_t>(size_of(type_));
    // [O,K,K,C] to [K,K,C,O].
    std::vector<float> weights(static_cast<size_t>(s_.weight_size()));
    const int64_t fan_in = s_.weight_size() / s_.outputs;
    for (int64_t o = 0; o < s_.outputs; ++o)
      for (int64_t i = 0; i < fan_in; ++i)
        weights[static_cast<size_t>(i * s_.outputs + o)] = element(type_, w, o * fan_in + i);
    std::vector<float> out(static_cast<size_t>(to_size));
    for (int64_t image = 0; image < images_; ++image) {
      f(floats(type_, from + image * from_size * bytes, from_size).data(), weights.data(), out.data());
      store(type_, out, to + image * to_size * bytes);
    }
  }
  Gpu& gpu_;
  ConvShape s_;
  int64_t images_;
  DType type_;
};

class EmulatedGpu final : public Gpu {
 public:
  explicit EmulatedGpu(Device device) : Gpu(device), plans_(device.kind == Device::Kind::planning) {
    // For tests of what a failing device leaves behind: the launch of this number fails.
    if (const char* fault = std::getenv("PERGRAD_EMULATED_FAULT")) until_fault_ = std::atoll(fault);
  }

  std::string title() const override {
    return plans_ ? "planning (memory is counted, nothing runs)" : "GPU kernels emulated on the processor";
  }
  Memory memory() const override {
    const size_t total = plans_ ? size_t{1} << 46 : size_t{4} << 30;
    return {total - used_, total};
  }

  std::byte* allocate(size_t bytes) override {
    PG_CHECK_AS(DeviceError, !recording_, "gpu: memory asked for while work is captured");
    // Planning: addresses without memory behind them.
    const size_t mapped = std::max<size_t>(bytes, 1);
    void* memory = mmap(nullptr, mapped, plans_ ? PROT_NONE : PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    PG_CHECK_AS(DeviceError, memory != MAP_FAILED, "gpu: ", device().name(), " has no ", bytes,
                " bytes left");
    if (!plans_) std::memset(memory, 0xff, mapped);  // NaN, until somebody writes
    sizes_[static_cast<std::byte*>(memory)] = mapped;
    used_ += mapped;
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory) noexcept override {
    const auto found = sizes_.find(memory);
    if (found == sizes_.end()) return;
    munmap(memory, found->second);
    used_ -= found->second;
    sizes_.erase(found);
  }

  void upload(void* to, const void* from, size_t bytes) override {
    PG_CHECK_AS(DeviceError, !recording_, "gpu: upload while work is captured");
    if (!plans_) std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    PG_CHECK_AS(DeviceError, !recording_, "gpu: download while work is captured");
    if (plans_)
      std::memset(to, 0, bytes);
    else
      std::memcpy(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    submit([=] { std::memmove(to, from, bytes); });
  }
  void zero(void* to, size_t bytes) override {
    submit([=] { std::memset(to, 0, bytes); });
  }
  void wait() override {}

  std::unique_ptr<GpuGraph> capture(const std::function<void()>& work) override;

  std::unique_ptr<LibraryConv> conv(const ConvShape& shape, int64_t images, Precision precision) override {
    return std::make_unique<EmulatedConv>(*this, shape, images, precision);
  }
  void gemms(const TransposedGemms& g) override {
    submit([g] {
      for (int64_t i = 0; i < g.batch; ++i) {
        const auto bytes = static_cast<int64_t>(size_of(g.type));
        const std::byte* a = g.a + i * g.a_stride * bytes;
        const std::byte* b = g.b + i * g.b_stride * bytes;
        for (int64_t r = 0; r < g.m; ++r)
          for (int64_t s = 0; s < g.n; ++s) {
            float& c = g.c[i * g.c_stride + r * g.n + s];
            float sum = g.accumulate ? c : 0.0f;
            for (int64_t p = 0; p < g.k; ++p)
              sum += element(g.type, a, p * g.a_row + r) * element(g.type, b, p * g.n + s);
            c = sum;
          }
      }
    });
  }

  void submit(std::function<void()> work) override {
    if (plans_) return;
    PG_CHECK_AS(DeviceError, --until_fault_ != 0,
                "emulated: launch failed, as PERGRAD_EMULATED_FAULT wanted; the run can be resumed");
    if (recording_)
      recording_->push_back(std::move(work));
    else
      work();
  }

 private:
  bool plans_;
  int64_t until_fault_ = 0;
  size_t used_ = 0;
  std::map<std::byte*, size_t> sizes_;
  Work* recording_ = nullptr;
};

class EmulatedGraph final : public GpuGraph {
 public:
  explicit EmulatedGraph(Work work) : work_(std::move(work)) {}
  void replay() override {
    for (const auto& each : work_) each();
  }

 private:
  Work work_;
};

std::unique_ptr<GpuGraph> EmulatedGpu::capture(const std::function<void()>& work) {
  Work recorded;
  recording_ = &recorded;
  try {
    work();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return std::make_unique<EmulatedGraph>(std::move(recorded));
}

}  // namespace

std::unique_ptr<Gpu> make_emulated_gpu(Device device) { return std::make_unique<EmulatedGpu>(device); }

}  // namespace pergrad
