// bench_gpu_kernels.
#include "apps/bench.h"
#include "autograd/ops.h"
#include "core/philox.h"
#include "dp/clip_and_sum.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

class KernelBench {
 public:
  KernelBench(Device device, Console& console)
      : device_(device),
        gpu_(Gpu::of(device)),
        console_(console),
        workspace_(device),
        // The emulator is here to show that this runs; its times say nothing.
        examples_(device.kind == Device::Kind::cuda ? 16 : 1),
        views_(device.kind == Device::Kind::cuda ? 16 : 1) {}

  BenchResult run() {
    ceilings();
    struct Layer {
      const char* name;
      ConvShape shape;
    };
    const Layer layers[] = {
        {"stem", {32, 32, 3, 16, 3, 1, 1}},           {"s1 first", {32, 32, 16, 64, 3, 1, 1}},
        {"s1 shortcut", {32, 32, 16, 64, 1, 1, 0}},   {"s1", {32, 32, 64, 64, 3, 1, 1}},
        {"s2 first", {32, 32, 64, 128, 3, 2, 1}},     {"s2 shortcut", {32, 32, 64, 128, 1, 2, 0}},
        {"s2", {16, 16, 128, 128, 3, 1, 1}},          {"s3 first", {16, 16, 128, 256, 3, 2, 1}},
        {"s3 shortcut", {16, 16, 128, 256, 1, 2, 0}}, {"s3", {8, 8, 256, 256, 3, 1, 1}}};
    const bool emulated = device_.kind != Device::Kind::cuda;
    for (const Layer& layer : layers)
      if (!emulated || layer.shape.outputs <= 64) convolution(layer.name, layer.shape);
    for (const auto& [side, channels] : {std::pair<int64_t, int64_t>{32, 64}, {16, 128}, {8, 256}})
      if (!emulated || side == 8) norm(side, channels);
    clip_and_noise();
    result_.json = {
        {"device", device_.name()},     {"gpu", gpu_.title()}, {"versions", cuda_versions()},
        {"examples", examples_},        {"views", views_},     {"copy_gb_per_second", copy_ / 1e9},
        {"bf16_tflops", flops_ / 1e12}, {"rows", rows_}};
    return std::move(result_);
  }

 private:
  // Seconds of one call, over enough of them.
  template <class F>
  double seconds(const F& f) {
    f();
    gpu_.wait();
    int64_t calls = 1;
    for (;;) {
      const auto begin = Clock::now();
      for (int64_t i = 0; i < calls; ++i) f();
      gpu_.wait();
      const double all = std::chrono::duration<double>(Clock::now() - begin).count();
      if (all > 0.02 || calls >= 4096) return all / static_cast<double>(calls);
      calls *= 4;
    }
  }
  Tensor random(Shape shape, DType type, uint64_t seed) const {
    const Tensor host = Tensor::empty(std::move(shape), type);
    PhiloxStream numbers(seed, 0);
    for (int64_t i = 0; i < host.size(); ++i) {
      const auto v = static_cast<float>(2 * numbers.uniform() - 1);
      if (type == DType::bf16)
        host.data<bf16>()[i] = to_bf16(v);
      else
        host.data<float>()[i] = v;
    }
    return host.to(device_);
  }
  // flops and bytes that the work cannot do without.
  void row(const std::string& name, double time, double flops, double bytes) {
    const double by_flops = flops / flops_, by_bytes = bytes / copy_, floor = std::max(by_flops, by_bytes);
    rows_.push_back({{"kernel", name},
                     {"microseconds", time * 1e6},
                     {"tflops", flops / time / 1e12},
                     {"gb_per_second", bytes / time / 1e9},
                     {"floor_microseconds", floor * 1e6},
                     {"times_floor", time / floor}});
    result_.text += fmt::format("  {:<38} {:9.1f} us {:8.1f} TFLOP/s {:8.0f} GB/s   {:5.2f} x floor ({})\n",
                                name, time * 1e6, flops / time / 1e12, bytes / time / 1e9, time / floor,
                                by_flops > by_bytes ? "products" : "memory");
    console_.progress(name);
  }

  void ceilings() {
    const bool emulated = device_.kind != Device::Kind::cuda;
    const int64_t bytes = int64_t{1} << (emulated ? 20 : 30), side = emulated ? 64 : 8192;
    const Tensor from = Tensor::zeros({bytes / 4}, DType::f32, device_),
                 to = Tensor::zeros({bytes / 4}, DType::f32, device_);
    copy_ = 2 * static_cast<double>(bytes) / seconds([&] { to.assign(from); });
    const Tensor a = random({side, side}, DType::bf16, 1),
                 c = Tensor::zeros({side, side}, DType::f32, device_);
    TransposedGemms g;
    g.type = DType::bf16;
    g.precision = Precision::bf16;
    g.batch = 1;
    g.m = g.n = g.k = g.a_row = side;
    g.a = g.b = a.device_bytes();
    g.c = c.device_data<float>();
    flops_ = 2.0 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side) /
             seconds([&] { gpu_.gemms(g); });
    result_.text = fmt::format(
        "{} ({}), {} examples of {} views, bf16\n  ceilings: copy {:.0f} GB/s, products {:.1f} TFLOP/s\n",
        gpu_.title(), cuda_versions(), examples_, views_, copy_ / 1e9, flops_ / 1e12);
  }

  void convolution(const std::string& name, const ConvShape& s) {
    const Tensor w = random({s.kernel, s.kernel, s.channels, s.outputs}, DType::f32, 1);
    const Tensor bias = random({s.outputs}, DType::f32, 2);
    const Tensor x32 = random({examples_, views_, s.height, s.width, s.channels}, DType::bf16, 3);
    const Tensor dy = random({examples_, views_, s.out_h(), s.out_w(), s.outputs}, DType::bf16, 4);
    GpuConvSettings settings;
    settings.precision = Precision::bf16;
    settings.images_per_call = examples_ * views_;
    const double images = static_cast<double>(examples_ * views_);
    const double flops = 2 * images * static_cast<double>(s.multiply_adds());
    const double in = images * static_cast<double>(s.input_size()) * 2,
                 out = images * static_cast<double>(s.output_size()) * 2;
    const double rows = static_cast<double>(examples_ * s.weight_size()) * 4;
    using Way = GpuConvSettings::WeightGradient;
    for (const auto& [way, label] :
         {std::pair{Way::automatic, "weight gradient"}, {Way::products, "weight gradient (products)"}}) {
      settings.weight_gradient = way;
      const GpuConv conv(s, w, settings);
      const Tensor x = conv.input(x32, workspace_);
      const Tensor slab = Tensor::zeros({examples_, s.weight_size()}, DType::f32, device_);
      if (way == Way::automatic) {
        row(name + ": forward", seconds([&] { conv.forward(x, bias, workspace_); }), flops, in + out);
        if (s.channels > 3)
          row(name + ": input gradient", seconds([&] { conv.input_gradient(dy, DType::bf16, workspace_); }),
              flops, in + out);
        const Tensor db = Tensor::zeros({examples_, s.outputs}, DType::f32, device_);
        row(name + ": bias gradient", seconds([&] {
              conv.bias_gradient(dy, {db.device_data<float>(), s.outputs, false});
            }),
            0, out);
      }
      row(name + ": " + label, seconds([&] {
            conv.weight_gradient(x, dy, {slab.device_data<float>(), s.weight_size(), false}, workspace_);
          }),
          flops, in + out + rows);
    }
  }

  // ReLU and group norm as the tape runs them, forward, and forward with backward.
  void norm(int64_t side, int64_t channels) {
    const Tensor x = random({examples_, views_, side, side, channels}, DType::bf16, 5);
    const double bytes = static_cast<double>(x.byte_size());
    GpuConvSettings settings;
    settings.precision = Precision::bf16;
    WeightTape weights(device_, settings);
    const WeightVar gamma = weights.leaf(random({channels}, DType::f32, 6), 0);
    const WeightVar beta = weights.leaf(random({channels}, DType::f32, 7), channels);
    const Tensor slab = Tensor::zeros({examples_, 2 * channels}, DType::f32, device_);
    const std::string name = fmt::format("group norm {}x{}x{}", side, side, channels);
    const double forward = seconds([&] {
      Tape tape(weights, nullptr, workspace_);
      relu_group_norm(tape, tape.input(x), gamma, beta, 16);
    });
    row(name + ": forward", forward, 0, 2 * bytes);
    const double both = seconds([&] {
      WeightSlots slots(weights, slab, workspace_);
      Tape tape(weights, &slots, workspace_);
      const Var y = relu_group_norm(tape, tape.input(x, true), gamma, beta, 16);
      auto node = std::make_unique<Give>();
      node->y = y;
      node->gradient = x;
      tape.backward(tape.record(tape.empty({examples_}, DType::f32), std::move(node)));
      slots.finish();
    });
    row(name + ": backward", both - forward, 0, 3 * bytes);
  }
  // A loss whose gradient by y is given.
  struct Give : Node {
    Var y;
    Tensor gradient;
    const char* name() const override { return "give"; }
    void backward(Tape& tape, const Tensor&) override { tape.accumulate(y, gradient); }
  };

  void clip_and_noise() {
    const int64_t parameters = device_.kind == Device::Kind::cuda ? 2753818 : 10000;
    dp::PlanSettings s;
    s.sampling_rate = 0.5;
    s.noise_multiplier = 1;
    s.steps = int64_t{1} << 30;
    s.expected_batch = 64;
    s.delta = 1e-5;
    s.max_examples = 1 << 20;
    s.noise_source = "reproducible";
    const dp::Plan plan(s);
    const Tensor rows = random({examples_, parameters}, DType::f32, 8);
    dp::ClippedSum sum(plan, parameters, device_);
    const double bytes = static_cast<double>(rows.byte_size());
    row("clip and sum", seconds([&] {
          if (count_ += examples_; count_ > s.max_examples / 2)
            sum = dp::ClippedSum(plan, parameters, device_), count_ = 0;
          dp::clip_and_sum(PerExampleGradient(rows, std::vector<uint8_t>(static_cast<size_t>(examples_), 1)),
                           plan, sum);
        }),
        0, 2 * bytes + static_cast<double>(parameters) * 16);
    const auto folder =
        std::filesystem::temp_directory_path() / fmt::format("pergrad-bench-gpu-{}", getpid());
    std::filesystem::create_directories(folder);
    {
      dp::Ledger ledger((folder / "ledger.jsonl").string(), plan);
      dp::GaussianMechanism mechanism(plan, Key{}, ledger);
      int64_t step = 0;
      row("release: tag, ledger, noise",
          seconds([&] { mechanism.release(dp::ClippedSum(plan, parameters, device_), step++); }), 0,
          static_cast<double>(parameters) * 12);
    }
    std::filesystem::remove_all(folder);
  }

  Device device_;
  Gpu& gpu_;
  Console& console_;
  Workspace workspace_;
  int64_t examples_, views_;
  int64_t count_ = 0;
  double copy_ = 1, flops_ = 1;
  Json rows_ = Json::array();
  BenchResult result_;
};

}  // namespace

BenchResult bench_gpu_kernels(Device device, Console& console) { return KernelBench(device, console).run(); }

}  // namespace pergrad::apps
