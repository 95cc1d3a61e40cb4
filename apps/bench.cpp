// bench_kernels and bench_step.
#include "apps/bench.h"

#include "apps/scoring.h"
#include "augment/view_source.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"
#include "dp/accounting/rdp.h"
#include "dp/clip_and_sum.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"
#include "dp/nonprivate.h"
#include "core/philox.h"
#include "layers/model_gradients.h"
#include "layers/optimizer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <numeric>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_of(const auto& f) {
  const auto begin = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Median of at least three calls and at least `least` seconds, after one for warming up.
double median_seconds(double least, const auto& f) {
  f();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 3 || (total < least && times.size() < 200)) {
    times.push_back(seconds_of(f));
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

Tensor random_tensor(Shape shape, uint64_t seed) {
  Tensor t = Tensor::empty(std::move(shape), DType::f32);
  PhiloxStream random(seed, 0);
  for (float& v : t.values<float>()) v = static_cast<float>(2 * random.uniform() - 1);
  return t;
}

void bench_conv(const ConvShape& s, Json& rows, std::string& text) {
  Workspace workspace;
  const Tensor x = random_tensor({s.input_size()}, 1), w = random_tensor({s.weight_size()}, 2),
               dy = random_tensor({s.output_size()}, 3);
  const Tensor y = Tensor::empty({s.output_size()}, DType::f32),
               dx = Tensor::empty({s.input_size()}, DType::f32),
               dw = Tensor::zeros({s.weight_size()}, DType::f32);
  const ConvWeights weights(s, w, true);
  const float *px = x.data<float>(), *pw = w.data<float>(), *pdy = dy.data<float>();
  float *py = y.data<float>(), *pdx = dx.data<float>(), *pdw = dw.data<float>();
  const double flop = 2.0 * static_cast<double>(s.multiply_adds());
  const auto rate = [&](const auto& f) { return flop / median_seconds(0.05, f) / 1e9; };
  const double fast[] = {rate([&] { weights.forward(px, py, workspace); }),
                         rate([&] { weights.input_gradient(pdy, pdx, workspace); }),
                         rate([&] { weights.weight_gradient(px, pdy, pdw, workspace); })};
  const double simple[] = {rate([&] { conv_reference::forward(s, px, pw, py); }),
                           rate([&] { conv_reference::input_gradient(s, pdy, pw, pdx); }),
                           rate([&] { conv_reference::weight_gradient(s, px, pdy, pdw); })};
  const std::string name =
      fmt::format("{}->{} {}x{} k{} s{}", s.channels, s.outputs, s.height, s.width, s.kernel, s.stride);
  rows.push_back({{"conv", name},
                  {"forward_gflops", fast[0]},
                  {"input_gradient_gflops", fast[1]},
                  {"weight_gradient_gflops", fast[2]},
                  {"reference_forward_gflops", simple[0]},
                  {"reference_input_gradient_gflops", simple[1]},
                  {"reference_weight_gradient_gflops", simple[2]}});
  text += fmt::format("  {:22} {:7.1f} {:7.1f} {:7.1f}   ({:.1f} {:.1f} {:.1f})\n", name, fast[0], fast[1],
                      fast[2], simple[0], simple[1], simple[2]);
}

// A folder that is gone with this object.
struct ScratchFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("pergrad-bench-{}", getpid());
  ScratchFolder() { std::filesystem::create_directories(path); }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
};

dp::Plan bench_plan(int64_t examples, double clip_norm) {
  dp::PlanSettings settings;
  settings.sampling_rate = 0.5;
  settings.noise_multiplier = 1;
  settings.clip_norm = clip_norm;
  settings.steps = int64_t{1} << 30;
  settings.expected_batch = static_cast<double>(examples);
  settings.delta = 1e-5;
  settings.max_examples = 2 * examples;
  settings.noise_source = "reproducible";
  return dp::Plan(settings);
}

Dataset synthetic_images(int64_t n, ImageShape shape, int64_t labels) {
  Dataset data;
  data.name = "synthetic";
  data.height = shape.height;
  data.width = shape.width;
  data.channels = shape.channels;
  data.label_count = labels;
  data.pixels.resize(static_cast<size_t>(n * shape.size()));
  PhiloxStream random(7, 0);
  for (uint8_t& pixel : data.pixels) pixel = static_cast<uint8_t>(random.next_u32() >> 24);
  for (int64_t i = 0; i < n; ++i) data.labels.push_back(static_cast<int32_t>(i % labels));
  data.fingerprint = dataset_fingerprint(data);
  return data;
}

}  // namespace

BenchResult bench_kernels(Console& console) {
  BenchResult result;
  Json convs = Json::array();
  result.text = fmt::format(
      "convolutions, GFLOP/s on one thread: forward, input gradient, weight gradient ({} kernels; in "
      "brackets plain loops)\n",
      conv_instruction_set());
  const ConvShape shapes[] = {{28, 28, 1, 16, 8, 2, 3},    {32, 32, 3, 16, 3, 1, 1},
                              {32, 32, 16, 64, 3, 1, 1},   {32, 32, 64, 64, 3, 1, 1},
                              {32, 32, 64, 128, 3, 2, 1},  {32, 32, 64, 128, 1, 2, 0},
                              {16, 16, 128, 128, 3, 1, 1}, {8, 8, 256, 256, 3, 1, 1}};
  for (const ConvShape& shape : shapes) {
    console.progress(fmt::format("convolution {}->{}", shape.channels, shape.outputs));
    bench_conv(shape, convs, result.text);
  }
  const CpuExec one{1};
  constexpr int64_t kParameters = 1 << 20;
  const dp::Plan plan = bench_plan(1 << 20, 1);
  const Tensor rows = random_tensor({4, kParameters}, 4);
  const double clip = median_seconds(0.3, [&] {
    dp::ClippedSum sum(plan, kParameters);
    dp::clip_and_sum(PerExampleGradient(rows, {1, 1, 1, 1}), plan, sum, one);
  });
  const ScratchFolder scratch;
  dp::Ledger ledger((scratch.path / "ledger.jsonl").string(), plan);
  dp::GaussianMechanism mechanism(plan, Key{}, ledger);
  int64_t step = 0;
  const double noise =
      median_seconds(0.3, [&] { mechanism.release(dp::ClippedSum(plan, kParameters), step++, one); });
  const Dataset images = synthetic_images(256, {32, 32, 3}, 10);
  augment::AugmentSettings augment;
  augment.base = 16;
  augment.mix = 16;
  augment.crop_padding = 4;
  augment.flip = true;
  augment::ViewSource views(images, augment, augment::Normalisation({0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}),
                            Key{}, nullptr, one);
  std::vector<Unit> units;
  for (int64_t i = 0; i < 64; ++i) units.push_back({{i}});
  const double view = median_seconds(0.3, [&] { views.views(units, 0); }) / (64.0 * 32);
  const double clip_ns = clip * 1e9 / (4 * kParameters), noise_ns = noise * 1e9 / kParameters,
               view_us = view * 1e6;
  result.json = {{"device", "cpu"},
                 {"instruction_set", conv_instruction_set()},
                 {"convolutions", convs},
                 {"clip_and_sum_ns_per_number", clip_ns},
                 {"noise_and_release_ns_per_number", noise_ns},
                 {"augment_us_per_view_32x32x3", view_us}};
  result.text += fmt::format(
      "clip and sum {:.2f} ns a number, noise and release {:.0f} ns a number, one view of 32x32x3 {:.2f} "
      "us\n",
      clip_ns, noise_ns, view_us);
  return result;
}

std::string bench_step_default_config() {
  return R"(
[data]
format = "cifar10"
path = "unused"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[model]
name = "wide_resnet"
depth = 16
width = 4
[augment]
base = 16
crop_padding = 4
flip = true
[privacy]
noise_multiplier = 1.0
[train]
expected_batch_size = 32
steps = 1
learning_rate = 0.1
[speed]
max_examples = 8
)";
}

BenchResult bench_step(const Config& config, Console& console) {
  const bool idx = config.data.spec.format == "idx";
  const auto or_else = [](int64_t given, int64_t otherwise) { return given > 0 ? given : otherwise; };
  const ImageShape image{or_else(config.data.spec.height, idx ? 28 : 32),
                         or_else(config.data.spec.width, idx ? 28 : 32),
                         or_else(config.data.spec.channels, idx ? 1 : 3)};
  const int64_t labels =
      or_else(config.data.spec.label_count, config.data.spec.format == "cifar100" ? 100 : 10);
  const int64_t examples = or_else(config.speed.max_examples, 32);
  const CpuExec exec = exec_of(config.speed.threads);
  const Dataset data = synthetic_images(examples, image, labels);
  const Key key = key_from_text("bench");

  Model model(config.model, image, labels);
  model.parameters().allocate(DType::f32, key);
  // A classifier that starts at zero would make zeros of all other gradients: start from noise instead.
  PhiloxStream random(11, 0);
  for (float& w : model.parameters().flat().values<float>()) w += 0.01f * static_cast<float>(random.normal());
  model.parameters().touch();
  ModelGradients gradients(model, exec);
  const auto optimizer = make_optimizer(optimizer_settings(config, 0), model.parameters().size());
  int64_t group = 1;  // without privacy: examples summed in one row, as an ordinary batch gradient is
  for (int64_t g = 2; g <= std::max<int64_t>(1, examples / exec.threads); ++g)
    if (examples % g == 0) group = g;
  augment::AugmentSettings settings = config.augment;
  settings.pool = 0;
  augment::ViewSource views(data, settings, normalisation(config), key, nullptr, exec,
                            {group, augment::GroupMix::none});
  augment::ViewSource single(data, settings, normalisation(config), key, nullptr, exec);
  std::vector<Unit> units, groups;
  for (int64_t i = 0; i < examples; ++i) {
    units.push_back({{i}});
    if (i % group == 0) groups.push_back({});
    groups.back().ids.push_back(i);
  }

  const ScratchFolder scratch;
  const dp::Plan plan = bench_plan(examples, config.privacy.clip_norm);
  dp::Ledger ledger((scratch.path / "ledger.jsonl").string(), plan);
  dp::GaussianMechanism mechanism(plan, key, ledger);
  int64_t step = 0;
  const int64_t chunk = std::min<int64_t>(examples, 4 * exec.threads);
  const auto private_step = [&] {
    console.progress(fmt::format("private step {}", step));
    dp::ClippedSum sum(plan, model.parameters().size());
    for (int64_t i = 0; i < examples; i += chunk) {
      const auto some = std::span(units).subspan(static_cast<size_t>(i),
                                                 static_cast<size_t>(std::min(chunk, examples - i)));
      dp::clip_and_sum(gradients.rows(single.views(some, step)), plan, sum, exec);
    }
    optimizer->step(model.parameters(), mechanism.release(std::move(sum), step, exec).values(), 1e-6);
    ++step;
  };
  const auto nonprivate_step = [&] {
    console.progress(fmt::format("non-private step {}", step));
    const dp::NonPrivateGradient gradient =
        dp::nonprivate_step(groups, views, gradients, step, std::max<int64_t>(1, exec.threads), exec);
    optimizer->step(model.parameters(), gradient.values(), 1e-6);
    ++step;
  };
  const int64_t views_a_step = examples * settings.views();
  const double private_seconds = median_seconds(2.0, private_step);
  const int64_t peak = peak_memory_bytes();
  const double nonprivate_seconds = median_seconds(2.0, nonprivate_step);
  const double private_rate = static_cast<double>(views_a_step) / private_seconds;
  const double nonprivate_rate = static_cast<double>(views_a_step) / nonprivate_seconds;
  console.clear();
  BenchResult result;
  result.json = {{"device", "cpu"},
                 {"model", model.title()},
                 {"parameters", model.parameters().size()},
                 {"image", {image.height, image.width, image.channels}},
                 {"examples", examples},
                 {"views", settings.views()},
                 {"dtype", config.speed.precision},
                 {"threads", exec.threads},
                 {"instruction_set", conv_instruction_set()},
                 {"private_views_per_second", private_rate},
                 {"nonprivate_views_per_second", nonprivate_rate},
                 {"private_to_nonprivate", private_rate / nonprivate_rate},
                 {"peak_memory_bytes", peak}};
  result.text = fmt::format(
      "{} ({} parameters), {} examples of {} views, {} threads, {}\n"
      "  private      {:>10} views/s\n  non-private  {:>10} views/s\n  ratio        {:>10.2f}\n  peak memory "
      " {:>10}\n",
      model.title(), thousands(model.parameters().size()), examples, settings.views(), exec.threads,
      conv_instruction_set(), fmt::format("{:.1f}", private_rate), fmt::format("{:.1f}", nonprivate_rate),
      private_rate / nonprivate_rate, bytes_text(static_cast<double>(peak)));
  return result;
}

BenchResult bench_accountant() {
  using namespace accounting;
  BenchResult result;
  result.json["rows"] = Json::array();
  const auto add_row = [&](const std::string& what, const Range& epsilon, double seconds) {
    const double width = epsilon.upper > 0 ? 1 - epsilon.lower / epsilon.upper : 0;
    result.json["rows"].push_back({{"what", what},
                                   {"epsilon", {{"lower", epsilon.lower}, {"upper", epsilon.upper}}},
                                   {"seconds", seconds}});
    result.text += fmt::format("{:<58} {:9.2f} ms  epsilon {:.8g}, relative width {:.1e}\n", what,
                               1e3 * seconds, epsilon.upper, width);
  };
  const auto add_interval = [&](const std::string& what, const Phase& phase, double delta, double precision) {
    Interval epsilon;
    const double seconds =
        median_seconds(0.2, [&] { epsilon = epsilon_interval({phase}, delta, precision); });
    add_row(what, epsilon, seconds);
  };
  const Phase usual{3.0, 0.08192, 2500}, rare{1.0, 1e-4, 100000};
  add_interval("sigma 3, q 0.08192, 2,500 steps, delta 1e-5", usual, 1e-5, 1e-4);
  add_interval("the same, 1,000,000 steps", {3.0, 0.08192, 1000000}, 1e-5, 1e-4);
  add_interval("the same, 2,500 steps, precision 1e-6", usual, 1e-5, 1e-6);
  add_interval("sigma 1, q 1e-4, 100,000 steps, delta 1e-6", rare, 1e-6, 1e-4);
  add_interval("the same, precision 1e-6", rare, 1e-6, 1e-6);
  double sigma = 0, rdp = 0;
  const double calibration =
      median_seconds(0.2, [&] { sigma = noise_multiplier_for(8, 1e-5, 0.08192, 2500); });
  add_row("noise multiplier for epsilon 8, q 0.08192, 2,500 steps",
          epsilon_interval({{sigma, 0.08192, 2500}}, 1e-5), calibration);
  const double renyi = median_seconds(0.2, [&] { rdp = rdp_epsilon({usual}, 1e-5).value; });
  add_row("Renyi divergences: sigma 3, q 0.08192, 2,500 steps", {0, rdp}, renyi);
  return result;
}

}  // namespace pergrad::apps
