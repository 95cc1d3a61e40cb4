// `pergrad bench`: how fast the kernels and a whole step are on this machine.
#pragma once

#include "apps/config.h"
#include "apps/console.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace pergrad::apps {

struct BenchResult {
  nlohmann::ordered_json json;
  std::string text;
};

// Every hot kernel, fast against simple: GFLOP/s of convolutions by shape, ns a number of the rest. One
// thread.
BenchResult bench_kernels(Console& console);

// Kernels of a GPU (or the emulated one) on the layers of WRN-16-4, 16 views, 16 examples: convolutions, the
// weight gradient in each of its ways, group norm, clip and sum, noise. Each with its rate and its share of
// the ceiling measured in the same run: products of the library, or a copy within the memory.
BenchResult bench_gpu_kernels(Device device, Console& console);

// One DP-SGD step on synthetic images: views/s private and non-private (the same model, views and optimizer;
// batches are summed as they are walked, without clip and noise), their ratio, and peak memory.
//   Examples a step: speed.max_examples (32 if that is 0). Medians of at least three steps and
//   `least_seconds` a side, after a warm-up. `private_only`: the results of the other side are left out.
BenchResult bench_step(const Config& config, double least_seconds, bool private_only, Console& console);

// One private sum over that batch, for others to recompute: a safetensors file. Nothing in it is private.
//   Arrays: "parameters." + name f32 and "clipped_sum." + name f64, in PyTorch's layouts; "images"
//   [N,V,H,W,C] and "targets" [N,V,L] f32, as the model gets them.   Metadata: clip_norm (decimal, the very
//   double), model, dtype. Units: the sum in gradient units: the integer sum times clip_norm * 2^-grid_bits.
//   A row's gradient is that of the mean cross-entropy over its views. THROWS: Error if the file cannot be
//   written.
BenchResult export_step(const Config& config, const std::filesystem::path& file, Console& console);

// The accountant on its own: certified intervals at several widths, an inverse problem. One thread.
BenchResult bench_accountant(Console& console);

// What bench_step measures without a config: WRN-16-4 on 32x32x3, 16 views.
std::string bench_step_default_config();

}  // namespace pergrad::apps
