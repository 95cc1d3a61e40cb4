// cuda:i: the CUDA runtime, cuBLAS and cuDNN behind Gpu.
#include "core/conv.h"
#include "core/gpu/cuda_stream.h"
#include "core/gpu/gpu.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <cstring>
#include <limits>

namespace pergrad {

namespace {

// What a user can do about the commonest failures.
const char* advice(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return "; lower speed.max_examples, or end what else runs on this GPU";
    case cudaErrorInsufficientDriver:
      return "; the driver is older than CUDA " PG_CUDA_VERSION ": update it";
    case cudaErrorNoDevice:
      return "; is the driver loaded (nvidia-smi)?";
    case cudaErrorNoKernelImageForDevice:
      return "; this build has no code for this GPU: configure with CMAKE_CUDA_ARCHITECTURES=native";
    case cudaErrorECCUncorrectable:
      return "; the GPU's memory is failing: go on from the last checkpoint on another one (docs/gpu.md)";
    default:
      return "";
  }
}

void check(cudaError_t status, const char* what) {
  PG_CHECK_AS(DeviceError, status == cudaSuccess, "cuda: ", what, ": ", cudaGetErrorString(status),
              advice(status));
}
void check(cublasStatus_t status, const char* what) {
  PG_CHECK_AS(DeviceError, status == CUBLAS_STATUS_SUCCESS, "cuBLAS: ", what, ": ",
              cublasGetStatusString(status));
}
void check(cudnnStatus_t status, const char* what) {
  PG_CHECK_AS(DeviceError, status == CUDNN_STATUS_SUCCESS, "cuDNN: ", what, ": ",
              cudnnGetErrorString(status));
}

// An object of a C library with its own destructor.
template <auto kDestroy>
struct Destroy {
  template <class Handle>
  void operator()(Handle* handle) const {
    kDestroy(handle);
  }
};
template <class Handle, auto kDestroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<kDestroy>>;

cudaDataType_t blas_type(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }
int narrow(int64_t v) {
  PG_CHECK(v >= 0 && v <= std::numeric_limits<int>::max(), "gpu: ", v, " is too large for a library call");
  return static_cast<int>(v);
}

class CudaGraph final : public GpuGraph {
 public:
  CudaGraph(cudaGraphExec_t graph, cudaStream_t stream) : graph_(graph), stream_(stream) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  void replay() override { check(cudaGraphLaunch(graph_, stream_), "replay of a graph"); }

 private:
  cudaGraphExec_t graph_;
  cudaStream_t stream_;
};

// Legacy API: fixed, deterministic algorithms, no search at run time.
class CudnnConv final : public LibraryConv {
 public:
  CudnnConv(cudnnHandle_t handle, const ConvShape& s, int64_t images, Precision precision) : handle_(handle) {
    const cudnnDataType_t type = precision == Precision::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const cudnnMathType_t math = precision == Precision::fp32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
    cudnnTensorDescriptor_t x = nullptr, y = nullptr;
    cudnnFilterDescriptor_t w = nullptr;
    cudnnConvolutionDescriptor_t conv = nullptr;
    check(cudnnCreateTensorDescriptor(&x), "tensor");
    x_.reset(x);
    check(cudnnCreateTensorDescriptor(&y), "tensor");
    y_.reset(y);
    check(cudnnCreateFilterDescriptor(&w), "filter");
    w_.reset(w);
    check(cudnnCreateConvolutionDescriptor(&conv), "convolution");
    conv_.reset(conv);
    const int n = narrow(images);
    check(cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, type, n, narrow(s.channels), narrow(s.height),
                                     narrow(s.width)),
          "images");
    check(cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, type, n, narrow(s.outputs), narrow(s.out_h()),
                                     narrow(s.out_w())),
          "outputs");
    check(cudnnSetFilter4dDescriptor(w, type, CUDNN_TENSOR_NHWC, narrow(s.outputs), narrow(s.channels),
                                     narrow(s.kernel), narrow(s.kernel)),
          "weights");
    const int pad = narrow(s.pad), stride = narrow(s.stride);
    check(cudnnSetConvolution2dDescriptor(conv, pad, pad, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                          CUDNN_DATA_FLOAT),
          "convolution");
    check(cudnnSetConvolutionMathType(conv, math), "math type");
    // The first of two deterministic algorithms that takes this shape; the same at every run.
    size_t forward = 0, backward = 0;
    if (cudnnGetConvolutionForwardWorkspaceSize(handle_, x, w, conv, y, forward_, &forward) !=
        CUDNN_STATUS_SUCCESS) {
      forward_ = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;
      check(cudnnGetConvolutionForwardWorkspaceSize(handle_, x, w, conv, y, forward_, &forward),
            named("forward", s).c_str());
    }
    check(cudnnGetConvolutionBackwardDataWorkspaceSize(handle_, w, y, conv, x, kBackward, &backward),
          named("input gradient", s).c_str());
    scratch_bytes_ = std::max(forward, backward);
  }

  size_t scratch_bytes() const override { return scratch_bytes_; }
  void forward(const std::byte* x, const std::byte* w, std::byte* y, std::byte* scratch) override {
    const float one = 1, zero = 0;
    check(cudnnConvolutionForward(handle_, &one, x_.get(), x, w_.get(), w, conv_.get(), forward_, scratch,
                                  scratch_bytes_, &zero, y_.get(), y),
          "forward");
  }
  void input_gradient(const std::byte* dy, const std::byte* w, std::byte* dx, std::byte* scratch) override {
    const float one = 1, zero = 0;
    check(cudnnConvolutionBackwardData(handle_, &one, w_.get(), w, y_.get(), dy, conv_.get(), kBackward,
                                       scratch, scratch_bytes_, &zero, x_.get(), dx),
          "input gradient");
  }

 private:
  static std::string named(const char* what, const ConvShape& s) {
    return concat(what, " of ", s.height, 'x', s.width, 'x', s.channels, " to ", s.outputs, ", kernel ",
                  s.kernel, ", stride ", s.stride, ", padding ", s.pad);
  }
  static constexpr auto kBackward = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  cudnnHandle_t handle_;
  cudnnConvolutionFwdAlgo_t forward_ = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  Owned<cudnnTensorDescriptor_t, cudnnDestroyTensorDescriptor> x_, y_;
  Owned<cudnnFilterDescriptor_t, cudnnDestroyFilterDescriptor> w_;
  Owned<cudnnConvolutionDescriptor_t, cudnnDestroyConvolutionDescriptor> conv_;
  size_t scratch_bytes_ = 0;
};

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(Device device) : Gpu(device) {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    int driver = 0;  // stays 0 where there is none
    cudaDriverGetVersion(&driver);
    PG_CHECK_AS(DeviceError, driver > 0, "device: ", device.name(),
                ": no NVIDIA driver is loaded (nvidia-smi should list a GPU)");
    PG_CHECK_AS(DeviceError, status == cudaSuccess || status == cudaErrorNoDevice, "device: ", device.name(),
                ": ", cudaGetErrorString(status), advice(status));
    PG_CHECK_AS(DeviceError, count > 0, "device: ", device.name(), ": no NVIDIA GPU is found",
                advice(cudaErrorNoDevice));
    PG_CHECK_AS(DeviceError, device.index < count, "device: ", device.name(),
                " is not there: this machine has ", count, count == 1 ? " GPU (cuda:0)" : " GPUs");
    make_current();
    check(cudaGetDeviceProperties(&properties_, device.index), "properties");
    PG_CHECK_AS(DeviceError, properties_.major >= 8, "device: ", title(),
                ": wanted compute capability 8.0 (Ampere) or newer");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    check(cublasCreate(&blas_), "start");
    check(cublasSetStream(blas_, stream_), "stream");
    check(cudaMalloc(&blas_scratch_, kBlasScratch),
          "scratch of cuBLAS");  // else it would allocate in a capture
    check(cublasSetWorkspace(blas_, blas_scratch_, kBlasScratch), "scratch");
    check(cudnnCreate(&dnn_), "start");
    check(cudnnSetStream(dnn_, stream_), "stream");
  }

  std::string title() const override {
    return concat(properties_.name, ", compute capability ", properties_.major, '.', properties_.minor);
  }
  Memory memory() const override {
    make_current();
    Memory memory;
    check(cudaMemGetInfo(&memory.free, &memory.total), "memory");
    return memory;
  }

  std::byte* allocate(size_t bytes) override {
    make_current();
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
    if (status != cudaSuccess) cudaGetLastError();  // it is told here; do not tell it again
    check(status, "memory");
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory) noexcept override {
    cudaSetDevice(device().index);
    cudaFree(memory);  // waits for what still uses it
  }

  // Through pinned memory of our own, whose parts are used again only after the queue was waited for: what
  // CUDA does with pageable memory is not promised.
  void upload(void* to, const void* from, size_t bytes) override {
    make_current();
    if (bytes > kStaging / 4) {
      check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "upload");
      return check(cudaStreamSynchronize(stream_), "upload");
    }
    if (!staging_) check(cudaMallocHost(&staging_, kStaging), "staging memory");
    if (staged_ + bytes > kStaging) {
      check(cudaStreamSynchronize(stream_), "upload");
      staged_ = 0;
    }
    std::byte* here = static_cast<std::byte*>(staging_) + staged_;
    staged_ += (bytes + 255) / 256 * 256;
    std::memcpy(here, from, bytes);
    check(cudaMemcpyAsync(to, here, bytes, cudaMemcpyHostToDevice, stream_), "upload");
  }
  void download(void* to, const void* from, size_t bytes) override {
    make_current();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "download");
    check(cudaStreamSynchronize(stream_), "download");
  }
  void copy(void* to, const void* from, size_t bytes) override {
    make_current();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copy");
  }
  void zero(void* to, size_t bytes) override {
    make_current();
    check(cudaMemsetAsync(to, 0, bytes, stream_), "zero");
  }
  void wait() override {
    make_current();
    check(cudaStreamSynchronize(stream_), "kernel");
  }

  std::unique_ptr<GpuGraph> capture(const std::function<void()>& work) override {
    make_current();
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "capture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "graph");
    return std::make_unique<CudaGraph>(executable, stream_);
  }

  std::unique_ptr<LibraryConv> conv(const ConvShape& shape, int64_t images, Precision precision) override {
    make_current();
    return std::make_unique<CudnnConv>(dnn_, shape, images, precision);
  }

  // Row-major c = a^T b is column-major c^T = b^T a.
  void gemms(const TransposedGemms& g) override {
    make_current();
    const float one = 1, beta = g.accumulate ? 1.0f : 0.0f;
    const cublasComputeType_t compute =
        g.precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check(cublasGemmStridedBatchedEx(blas_, CUBLAS_OP_N, CUBLAS_OP_T, narrow(g.n), narrow(g.m), narrow(g.k),
                                     &one, g.b, blas_type(g.type), narrow(g.n), g.b_stride, g.a,
                                     blas_type(g.type), narrow(g.a_row), g.a_stride, &beta, g.c, CUDA_R_32F,
                                     narrow(g.n), g.c_stride, narrow(g.batch), compute, CUBLAS_GEMM_DEFAULT),
          "batch of products");
  }

  cudaStream_t stream() const { return stream_; }
  void make_current() const { check(cudaSetDevice(device().index), "device"); }

 private:
  static constexpr size_t kBlasScratch = size_t{32} << 20;  // what cuBLAS recommends for Hopper
  static constexpr size_t kStaging = size_t{16} << 20;
  cudaDeviceProp properties_{};
  void* staging_ = nullptr;  // pinned
  size_t staged_ = 0;        // bytes of it that copies may still read
  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  void* blas_scratch_ = nullptr;
  cudnnHandle_t dnn_ = nullptr;
};

}  // namespace

void* cuda_stream(Gpu& gpu) {
  auto& cuda = dynamic_cast<CudaGpu&>(gpu);
  cuda.make_current();
  return cuda.stream();
}

void check_cuda(int status, const char* what) { check(static_cast<cudaError_t>(status), what); }

int cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string cuda_versions() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  const size_t dnn = cudnnGetVersion();
  return concat("CUDA ", runtime / 1000, '.', runtime % 1000 / 10, ", cuDNN ", dnn / 10000, '.',
                dnn / 100 % 100, '.', dnn % 100, ", cuBLAS ", CUBLAS_VER_MAJOR, '.', CUBLAS_VER_MINOR);
}

std::unique_ptr<Gpu> make_cuda_gpu(Device device) { return std::make_unique<CudaGpu>(device); }

}  // namespace pergrad
