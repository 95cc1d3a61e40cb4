// bench_kernels: every hot kernel of the processor beside the ceiling that is measured in the same run.
#include "apps/bench.h"

#include "apps/bench_parts.h"
#include "apps/peak.h"
#include "apps/scratch_folder.h"
#include "augment/view_source.h"
#include "autograd/op_cases.h"
#include "core/conv.h"
#include "core/cpu.h"
#include "core/gemm.h"
#include "dp/clip_and_sum.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"

#include <fmt/format.h>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kLeast = 0.05;  // seconds a figure

double gemm_gflops() {
  constexpr int64_t kSide = 1536;
  const Tensor a = random_tensor({kSide, kSide}, 1), b = random_tensor({kSide, kSide}, 2),
               c = Tensor::zeros({kSide, kSide}, DType::f32);
  return 2.0 * kSide * kSide * kSide / 1e9 / median_seconds(4 * kLeast, [&] {
           gemm<float>(Transpose::no, Transpose::no, kSide, kSide, kSide, 1, a.data<float>(), b.data<float>(),
                       0, c.data<float>());
         });
}

// Seconds to read half of so many bytes and to write the other half.
double copy_seconds(int64_t bytes) {
  const int64_t n = std::max<int64_t>(1, bytes / 8);
  const Tensor from = random_tensor({n}, 1), to = Tensor::zeros({n}, DType::f32);
  return median_seconds(kLeast / 2, [&] { to.assign(from); });
}

// GFLOP/s of forward (with the border, where there is one), input gradient and weight gradient.
std::array<double, 3> conv_rates(const ConvShape& s, const ConvWeights& weights) {
  Workspace workspace;
  const Tensor x = random_tensor({s.height, s.width, s.channels}, 1),
               dy = random_tensor({s.output_size()}, 3), y = Tensor::empty({s.output_size()}, DType::f32),
               dx = Tensor::empty({s.input_size()}, DType::f32),
               dw = Tensor::zeros({s.weight_size()}, DType::f32), in = weights.input(x, workspace);
  const float *px = in.data<float>(), *pdy = dy.data<float>();
  const double gflop = 2e-9 * static_cast<double>(s.multiply_adds());
  const auto forward = [&] {
    weights.forward(weights.input(x, workspace).data<float>(), nullptr, y.data<float>(), workspace);
  };
  return {gflop / median_seconds(kLeast, forward),
          gflop / median_seconds(kLeast, [&] { weights.input_gradient(pdy, dx.data<float>(), workspace); }),
          gflop / median_seconds(
                      kLeast, [&] { weights.weight_gradient(px, pdy, dw.data<float>(), true, workspace); })};
}

std::array<double, 3> plain_conv_rates(const ConvShape& s, const Tensor& w) {
  const Tensor x = random_tensor({s.input_size()}, 1), dy = random_tensor({s.output_size()}, 3),
               y = Tensor::empty({s.output_size()}, DType::f32),
               dx = Tensor::empty({s.input_size()}, DType::f32),
               dw = Tensor::zeros({s.weight_size()}, DType::f32);
  const float *px = x.data<float>(), *pdy = dy.data<float>(), *pw = w.data<float>();
  const double gflop = 2e-9 * static_cast<double>(s.multiply_adds());
  return {
      gflop / median_seconds(kLeast, [&] { conv_reference::forward(s, px, pw, y.data<float>()); }),
      gflop / median_seconds(kLeast, [&] { conv_reference::input_gradient(s, pdy, pw, dx.data<float>()); }),
      gflop / median_seconds(kLeast, [&] { conv_reference::weight_gradient(s, px, pdy, dw.data<float>()); })};
}

Json of_three(const std::array<double, 3>& rates) {
  return {{"forward", rates[0]}, {"input_gradient", rates[1]}, {"weight_gradient", rates[2]}};
}

void bench_conv(const OpCase& c, double ceiling, Json& rows, std::string& text) {
  const ConvShape& s = *c.conv;
  const Tensor w = random_tensor({s.weight_size()}, 2);
  const std::array<double, 3> fast = conv_rates(s, ConvWeights(s, w, true)),
                              direct = conv_rates(s, ConvWeights(s, w, true, ConvAlgorithm::direct)),
                              plain = plain_conv_rates(s, w);
  rows.push_back({{"op", c.op},
                  {"case", c.name},
                  {"gflops", of_three(fast)},
                  {"direct_gflops", of_three(direct)},
                  {"plain_gflops", of_three(plain)}});
  text += fmt::format("  {:28}", c.name);
  for (double rate : fast) text += fmt::format(" {:5.0f} ({:3.0f} %)", rate, 100 * rate / ceiling);
  text += fmt::format("    {:3.0f} {:3.0f} {:3.0f}    {:3.0f} {:3.0f} {:3.0f}\n", direct[0], direct[1],
                      direct[2], plain[0], plain[1], plain[2]);
}

// One way of an op that moves so many bytes: its time, and that of a copy of as many.
struct Pass {
  double seconds;
  int64_t bytes;
  double copy = copy_seconds(bytes);
  double share() const { return copy / seconds; }
  std::string text() const {
    if (share() > 4) return fmt::format("{:>9} {:18}", "nothing", "to move");  // handed on as it is
    return fmt::format("{:9.1f} us {:6.1f} GB/s ({:3.0f} %)", 1e6 * seconds,
                       1e-9 * static_cast<double>(bytes) / seconds, 100 * share());
  }
};

void add_op(const OpCase& c, const Pass& forward, const Pass& back, Json& rows, std::string& text) {
  rows.push_back({{"op", c.op},
                  {"case", c.name},
                  {"forward_microseconds", 1e6 * forward.seconds},
                  {"back_microseconds", 1e6 * back.seconds},
                  {"forward_share_of_a_copy", forward.share()},
                  {"back_share_of_a_copy", back.share()}});
  text += fmt::format("  {:45}{}{}\n", c.op + " " + c.name, forward.text(), back.text());
}

void bench_op(const OpCase& c, Json& rows, std::string& text) {
  const CaseData data = make_data(c, 1, DType::f32);
  const Recording recording(c, data);
  const Tensor slab = Tensor::zeros({1, std::max<int64_t>(1, recording.weights.columns())}, DType::f32);
  Workspace workspace;
  std::vector<double> finishes;
  const auto walk = [&](bool back) {
    WeightSlots slots(recording.weights, slab, workspace);
    Tape tape(recording.weights, &slots, workspace);
    const Var y = recording.record(tape, recording.inputs(tape, c, data));
    if (!back) return;
    tape.backward(seed(tape, y, data.coefficients));
    finishes.push_back(seconds_of([&] { slots.finish(); }));
  };
  const double forward = median_seconds(kLeast, [&] { walk(false); }),
               both = median_seconds(kLeast, [&] { walk(true); });
  if (c.op == "weight_standardize") {  // once a step, the layout for the kernels with it; once an example
    const int64_t weights = data.weights[0].size();
    const double refresh = median_seconds(kLeast, [&] { recording.weights.refresh(CpuExec{1}); });
    return add_op(c, {refresh, 4 * 2 * weights}, {median(finishes), 4 * 3 * weights}, rows, text);
  }
  int64_t inputs = 0;
  for (const Tensor& x : data.inputs) inputs += x.size();
  const int64_t output = data.coefficients.size();
  add_op(c, {forward, 4 * (inputs + output)},
         {std::max(both - forward, 1e-9), 4 * (2 * inputs + output)},  // x and dy; dx
         rows, text);
}

}  // namespace

BenchResult bench_kernels(Console& console) {
  BenchResult result;
  console.progress("ceilings");
  const double registers = peak_gflops(), products = gemm_gflops(), bf16 = peak_bf16_gflops();
  constexpr int64_t kLarge = int64_t{256} << 20;
  const double memory = 1e-9 * kLarge / copy_seconds(kLarge);
  result.text = fmt::format(
      "One thread, {}. Ceilings in this run: {:.0f} GFLOP/s of multiply-adds in registers, {:.0f} of "
      "SGEMM{}; a "
      "copy in memory {:.0f} GB/s.\n",
      instruction_set_name(), registers, products,
      bf16 > 0 ? fmt::format(", {:.0f} of bf16 dot products in registers", bf16) : std::string(), memory);
  Json convs = Json::array(), others = Json::array();
  std::string conv_text, other_text;
  for (const OpCase& c : op_cases_at_size()) {
    console.progress(c.op + " " + c.name);
    if (c.conv)
      bench_conv(c, products, convs, conv_text);
    else
      bench_op(c, others, other_text);
  }
  result.text += fmt::format(
      "Convolutions, GFLOP/s counted as the plain loops take them (share of SGEMM; above 100 % by Winograd's "
      "way):\n  {:28} {:>13} {:>13} {:>13}    {:11}    {:11}\n",
      "", "forward", "input grad.", "weight grad.", "direct way", "plain loops");
  result.text += conv_text;
  result.text += fmt::format("Other ops (share: of a copy of as many bytes)\n  {:45}{:>28}{:>28}\n", "",
                             "forward", "back");
  result.text += other_text;
  console.progress("clip, noise, views");
  const CpuExec one{1};
  constexpr int64_t kParameters = 1 << 20;
  const dp::Plan plan = bench_plan(1 << 20, 1);
  const Tensor rows = random_tensor({4, kParameters}, 4);
  const double clip = median_seconds(4 * kLeast, [&] {
    dp::ClippedSum sum(plan, kParameters);
    dp::clip_and_sum(PerExampleGradient(rows, {1, 1, 1, 1}), plan, sum);
  });
  const ScratchFolder scratch(ScratchFolder::Where::disk);
  dp::Ledger ledger((scratch.path() / "ledger.jsonl").string(), plan);
  dp::GaussianMechanism mechanism(plan, Key{}, ledger);
  int64_t step = 0;
  const double noise =
      median_seconds(4 * kLeast, [&] { mechanism.release(dp::ClippedSum(plan, kParameters), step++, one); });
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
  const double view = median_seconds(4 * kLeast, [&] { views.views(units, 0); }) / (64.0 * 32);
  const double clip_ns = clip * 1e9 / (4 * kParameters), noise_ns = noise * 1e9 / kParameters,
               view_us = view * 1e6;
  result.json = {{"device", "cpu"},
                 {"instruction_set", instruction_set_name()},
                 {"register_gflops", registers},
                 {"sgemm_gflops", products},
                 {"bf16_register_gflops", bf16},
                 {"copy_gb_per_second", memory},
                 {"convolutions", convs},
                 {"ops", others},
                 {"clip_and_sum_ns_per_number", clip_ns},
                 {"noise_and_release_ns_per_number", noise_ns},
                 {"augment_us_per_view_32x32x3", view_us}};
  result.text += fmt::format(
      "Clip and sum {:.2f} ns a number, noise and release {:.1f} ns a number, one view of 32x32x3 {:.2f} "
      "us\n",
      clip_ns, noise_ns, view_us);
  return result;
}

}  // namespace pergrad::apps
