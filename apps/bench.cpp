// bench_step, export_step and bench_accountant.
#include "apps/bench.h"

#include "apps/atomic_file.h"
#include "apps/bench_parts.h"
#include "apps/scratch_folder.h"
#include "apps/compute.h"
#include "apps/scoring.h"
#include "apps/torch_layout.h"
#include "augment/view_source.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"
#include "dp/accounting/rdp.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"
#include "dp/nonprivate.h"
#include "dp/step.h"
#include "core/cpu.h"
#include "core/philox.h"
#include "layers/coordinates.h"
#include "layers/model_gradients.h"
#include "layers/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace pergrad::apps {

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

namespace {

// A model with its sources on the device of a config, for rows of `group` examples.
struct BenchSide {
  ComputePlan plan;
  Model model;
  augment::ViewSource views;
  std::unique_ptr<Compute> compute;
  std::unique_ptr<Optimizer> optimizer;

  BenchSide(const Config& config, const augment::AugmentSettings& settings, const Dataset& data,
            int64_t group, const CpuExec& exec)
      : plan(plan_of_side(config, settings, data, group, exec)),
        model(config.model, shape_of(data), data.label_count, plan.device, plan.conv),
        views(data, settings, normalisation(config), key_from_text("bench"), nullptr, exec,
              {group, augment::GroupMix::none}) {
    Parameters& parameters = model.parameters();
    parameters.allocate(DType::f32, key_from_text("bench"));
    // A classifier that starts at zero would make zeros of all other gradients: start from noise instead.
    const Tensor start = parameters.flat().clone();
    PhiloxStream random(11, 0);
    for (float& w : start.values<float>()) w += 0.01f * static_cast<float>(random.normal());
    parameters.allocate(DType::f32, Key{}, plan.device);
    parameters.assign(start);
    compute = std::make_unique<Compute>(plan, model, views, data, nullptr, exec);
    optimizer = make_optimizer(optimizer_settings(config, 0), parameters.size(), plan.device);
  }
  static ImageShape shape_of(const Dataset& data) { return {data.height, data.width, data.channels}; }
  static ComputePlan plan_of_side(const Config& config, const augment::AugmentSettings& settings,
                                  const Dataset& data, int64_t group, const CpuExec& exec) {
    Config side = config;
    const int64_t examples = data.size();
    // As many at a time as training would take; on a GPU the whole batch.
    side.speed.max_examples = config.speed.where().is_cpu() ? 0 : std::max<int64_t>(1, examples / group);
    return plan_compute(side, shape_of(data), data.label_count,
                        parameter_count(config.model, shape_of(data), data.label_count),
                        group * settings.views(), data.pixels.size(), exec);
  }
  void wait() const {
    if (!plan.device.is_cpu()) Gpu::of(plan.device).wait();
  }
};

// What a step is taken over: synthetic images of the config's shape, each a unit.
struct BenchBatch {
  ImageShape image;
  int64_t examples;
  CpuExec exec;
  Dataset data;
  augment::AugmentSettings settings;
  std::vector<Unit> units;

  explicit BenchBatch(const Config& config)
      : examples(or_else(config.speed.max_examples, 32)),
        exec(exec_of(config.speed.threads)),
        settings(config.augment) {
    const DataSpec& spec = config.data.spec;
    const bool idx = spec.format == "idx";
    image = {or_else(spec.height, idx ? 28 : 32), or_else(spec.width, idx ? 28 : 32),
             or_else(spec.channels, idx ? 1 : 3)};
    data = synthetic_images(examples, image, or_else(spec.label_count, spec.format == "cifar100" ? 100 : 10));
    settings.pool = 0;
    for (int64_t i = 0; i < examples; ++i) units.push_back({{i}});
  }
  static int64_t or_else(int64_t given, int64_t otherwise) { return given > 0 ? given : otherwise; }
};

// Keeps a copy of all views that pass through it, in the order in which they are asked for.
struct Recorder : ExampleSource {
  explicit Recorder(ExampleSource& views) : source(views) {}
  ExampleBatch views(std::span<const Unit> units, int64_t step) override {
    ExampleBatch batch = source.views(units, step);
    append(images, batch.images);
    append(targets, batch.targets);
    return batch;
  }
  static void append(std::vector<float>& all, const Tensor& some) {
    const Tensor here = on_device(some, {});
    all.insert(all.end(), here.data<float>(), here.data<float>() + here.size());
  }
  ExampleSource& source;
  std::vector<float> images, targets;
};

}  // namespace

BenchResult export_step(const Config& config, const std::filesystem::path& file, Console& console) {
  console.progress("one step for " + shown(file));
  const BenchBatch batch(config);
  const dp::Plan plan = bench_plan(batch.examples, config.privacy.clip_norm);
  BenchSide side(config, batch.settings, batch.data, 1, batch.exec);
  Recorder views(side.compute->examples());
  // Chunk after chunk, so that views come in the order of the examples; within one all threads work.
  const dp::ClippedSum sum = dp::clipped_sum(batch.units, views, side.compute->gradients(), plan, 0,
                                             side.plan.chunk_rows, CpuExec{1});
  const double unit = std::ldexp(plan->clip_norm, -plan->grid_bits);
  std::vector<double> clipped;
  for (const int64_t v : sum.nonprivate_values()) clipped.push_back(static_cast<double>(v) * unit);

  const Parameters& parameters = side.model.parameters();
  const int64_t n = batch.examples, v = batch.settings.views(), labels = batch.data.label_count;
  std::vector<NamedArray> arrays = {
      {"images",
       ArrayType::f32,
       {n, v, batch.image.height, batch.image.width, batch.image.channels},
       bytes_of(views.images.data(), std::ssize(views.images))},
      {"targets", ArrayType::f32, {n, v, labels}, bytes_of(views.targets.data(), std::ssize(views.targets))}};
  std::vector<float> weights;
  std::vector<double> sums;
  add_in_torch_layout("parameters.", parameters, parameters.host_values().data<float>(), weights, arrays);
  add_in_torch_layout("clipped_sum.", parameters, clipped.data(), sums, arrays);
  const std::string clip_norm = fmt::format("{}", plan->clip_norm);  // the shortest text of this double
  write_file_atomically(file, safetensors_bytes(std::move(arrays), {{"format_version", "pergrad step 1"},
                                                                    {"clip_norm", clip_norm},
                                                                    {"dtype", text_of(side.plan.precision)},
                                                                    {"model", side.model.title()}}));
  console.clear();
  BenchResult result;
  result.json = {{"file", shown(file)},
                 {"device", side.plan.device.name()},
                 {"model", side.model.title()},
                 {"parameters", parameters.size()},
                 {"examples", n},
                 {"views", v},
                 {"dtype", text_of(side.plan.precision)},
                 {"clip_norm", plan->clip_norm}};
  result.text = fmt::format("{}: parameters, {} examples of {} views and their clipped sum, {}\n",
                            shown(file), n, v, side.model.title());
  return result;
}

BenchResult bench_step(const Config& config, double least_seconds, bool private_only, Console& console) {
  const BenchBatch batch(config);
  const ImageShape image = batch.image;
  const int64_t examples = batch.examples;
  const CpuExec exec = batch.exec;
  const Dataset& data = batch.data;
  const augment::AugmentSettings& settings = batch.settings;
  // Without privacy examples are summed in one row, as an ordinary batch gradient is: on the processor one
  // row a thread, on a GPU rows of some hundred images.
  const bool on_gpu = !config.speed.where().is_cpu();
  const int64_t most = on_gpu ? std::max<int64_t>(1, 256 / settings.views()) : examples / exec.threads;
  int64_t group = 1;
  for (int64_t g = 2; g <= std::max<int64_t>(1, most); ++g)
    if (examples % g == 0) group = g;
  std::vector<Unit> groups;
  for (int64_t i = 0; i < examples; ++i) {
    if (i % group == 0) groups.push_back({});
    groups.back().ids.push_back(i);
  }

  const ScratchFolder scratch(ScratchFolder::Where::disk);
  const dp::Plan plan = bench_plan(examples, config.privacy.clip_norm);
  dp::Ledger ledger((scratch.path() / "ledger.jsonl").string(), plan);
  dp::GaussianMechanism mechanism(plan, key_from_text("bench"), ledger);
  const int64_t views_a_step = examples * settings.views();
  int64_t step = 0, peak = 0;
  double private_seconds = 0, release_seconds = 0, nonprivate_seconds = 0;
  std::string title;
  int64_t parameters = 0;
  ComputePlan planned;
  {
    BenchSide side(config, settings, data, 1, exec);
    title = side.model.title();
    parameters = side.model.parameters().size();
    planned = side.plan;
    std::vector<double> releases;
    private_seconds = median_seconds(least_seconds, [&] {
      console.progress(fmt::format("private step {}", step));
      dp::ClippedSum sum = dp::clipped_sum(batch.units, side.compute->examples(), side.compute->gradients(),
                                           plan, step, side.plan.chunk_rows, exec);
      side.wait();
      releases.push_back(seconds_of([&] {
        const dp::PrivateGradient gradient = mechanism.release(std::move(sum), step, exec);
        side.optimizer->step(side.model.parameters(), gradient.values(), 1e-6);
        side.wait();
      }));
      ++step;
    });
    release_seconds = median(std::move(releases));
    peak = peak_memory_bytes();
  }
  if (!private_only) {
    BenchSide side(config, settings, data, group, exec);
    nonprivate_seconds = median_seconds(least_seconds, [&] {
      console.progress(fmt::format("non-private step {}", step));
      const dp::NonPrivateGradient gradient =
          dp::nonprivate_step(groups, side.compute->examples(), side.compute->gradients(), step,
                              on_gpu ? side.plan.chunk_rows : exec.threads, exec);
      side.optimizer->step(side.model.parameters(), gradient.values(), 1e-6);
      side.wait();
      ++step;
    });
  }
  const auto rate = [&](double seconds) { return static_cast<double>(views_a_step) / seconds; };
  const double private_rate = rate(private_seconds), nonprivate_rate = rate(nonprivate_seconds);
  // Release and update are paid once a step, however many examples it has.
  constexpr double kBatch = 4096;
  const double large_batch =
      kBatch * static_cast<double>(settings.views()) /
      ((private_seconds - release_seconds) * kBatch / static_cast<double>(examples) + release_seconds);
  console.clear();
  BenchResult result;
  result.json = {{"device", planned.device.name()},
                 {"model", title},
                 {"parameters", parameters},
                 {"image", {image.height, image.width, image.channels}},
                 {"examples", examples},
                 {"views", settings.views()},
                 {"dtype", text_of(planned.precision)},
                 {"threads", exec.threads},
                 {"instruction_set", instruction_set_name()},
                 {"private_views_per_second", private_rate}};
  if (!private_only) {
    result.json["nonprivate_views_per_second"] = nonprivate_rate;
    result.json["private_to_nonprivate"] = private_rate / nonprivate_rate;
  }
  result.json["release_and_update_seconds"] = release_seconds;
  result.json["private_views_per_second_at_batch_4096"] = large_batch;
  result.json["peak_memory_bytes"] = peak;
  if (on_gpu) {
    result.json["gpu"] = Gpu::of(planned.device).title();
    result.json["examples_at_a_time"] = planned.chunk_rows;
    result.json["device_memory_bytes"] = planned.device_bytes;
  }
  const std::string other_side =
      private_only ? ""
                   : fmt::format("  non-private  {:>10} views/s\n  ratio        {:>10.2f}\n",
                                 fmt::format("{:.1f}", nonprivate_rate), private_rate / nonprivate_rate);
  result.text = fmt::format(
      "{} ({} parameters), {} examples of {} views, {} threads, {}, {}\n"
      "  private      {:>10} views/s ({} at a batch of 4096; release and update {:.1f} ms a step)\n"
      "{}  peak memory  {:>10}\n{}",
      title, thousands(parameters), examples, settings.views(), exec.threads,
      on_gpu ? Gpu::of(planned.device).title() : instruction_set_name(), text_of(planned.precision),
      fmt::format("{:.1f}", private_rate), fmt::format("{:.1f}", large_batch), 1e3 * release_seconds,
      other_side, bytes_text(static_cast<double>(peak)), on_gpu ? "  " + planned.text + "\n" : "");
  return result;
}

BenchResult bench_accountant(Console& console) {
  using namespace accounting;
  BenchResult result;
  result.json["rows"] = nlohmann::ordered_json::array();
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
    console.progress(fmt::format("accountant: row {}", result.json["rows"].size() + 1));
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
  console.progress("accountant: a noise multiplier");
  const double calibration =
      median_seconds(0.2, [&] { sigma = noise_multiplier_for(8, 1e-5, 0.08192, 2500); });
  add_row("noise multiplier for epsilon 8, q 0.08192, 2,500 steps",
          epsilon_interval({{sigma, 0.08192, 2500}}, 1e-5), calibration);
  const double renyi = median_seconds(0.2, [&] { rdp = rdp_epsilon({usual}, 1e-5).value; });
  add_row("Renyi divergences: sigma 3, q 0.08192, 2,500 steps", {0, rdp}, renyi);
  console.clear();
  return result;
}

}  // namespace pergrad::apps
