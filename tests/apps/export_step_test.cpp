// `bench step --export`: the file holds all that its sum was computed from.
#include "program.h"

#include "apps/safetensors.h"
#include "apps/torch_layout.h"
#include "layers/model_gradients.h"

#include <cmath>
#include <cstring>

namespace pergrad::test {
namespace {

constexpr double kClipNorm = 0.3;

std::filesystem::path export_to(const TempFolder& folder, const std::string& name,
                                std::vector<std::string> more = {}) {
  std::vector<std::string> all = {
      "bench",         "step",  write_toy_config(folder), "--set", "data.height=12",        "--set",
      "data.width=12", "--set", "speed.max_examples=5",   "--set", "privacy.clip_norm=0.3", "--export",
      folder / name,   "--json"};
  all.insert(all.end(), more.begin(), more.end());
  const Outcome done = run(folder, all);
  EXPECT_EQ(done.status, 0) << done.err;
  return folder / name;
}

apps::Safetensors opened(const std::filesystem::path& path) { return {slurp(path), path.string()}; }

template <class T>
std::vector<T> numbers(const apps::Safetensors& file, const std::string& name) {
  const auto* entry = file.find(name);
  if (!entry || apps::size_of(entry->type) != sizeof(T)) throw std::runtime_error("no " + name);
  const std::string_view bytes = file.bytes_of(*entry);
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

// Every parameter's numbers under a prefix, back in our layout.
template <class T>
std::vector<T> flat(const apps::Safetensors& file, const std::string& prefix, const Parameters& parameters) {
  std::vector<T> out(static_cast<size_t>(parameters.size()));
  const auto& entries = parameters.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::vector<T> torch = numbers<T>(file, prefix + entries[i].name);
    EXPECT_EQ(file.find(prefix + entries[i].name)->shape,
              apps::torch_shape(entries[i].shape, parameters.kind(i)));
    apps::each_element(entries[i].shape, parameters.kind(i), [&](int64_t ours, int64_t theirs) {
      out[static_cast<size_t>(entries[i].begin + ours)] = torch[static_cast<size_t>(theirs)];
    });
  }
  return out;
}

// The sum again, from the file alone: rows by the model, clipped and added in double precision.
TEST(ExportStep, TheSumFollowsFromTheFile) {
  const TempFolder folder;
  const apps::Safetensors file = opened(export_to(folder, "step"));
  EXPECT_EQ(file.metadata().at("clip_norm"), "0.3");
  EXPECT_EQ(file.find("images")->shape, (Shape{5, 4, 12, 12, 1}));
  EXPECT_EQ(file.find("targets")->shape, (Shape{5, 4, 4}));

  ModelSettings settings;
  settings.name = "sequential";
  settings.layers = {"conv 16 k3 p1", "group_norm 4", "relu", "average_pool 3", "classifier"};
  Model model(settings, {12, 12, 1}, 4);
  Parameters& parameters = model.parameters();
  parameters.allocate(DType::f32, Key{});
  parameters.assign(Tensor::of<float>({parameters.size()}, flat<float>(file, "parameters.", parameters)));
  ExampleBatch batch;
  batch.images = Tensor::of<float>({5, 4, 12, 12, 1}, numbers<float>(file, "images"));
  batch.targets = Tensor::of<float>({5, 4, 4}, numbers<float>(file, "targets"));
  batch.weights = Tensor::of<float>({5, 4}, std::vector<float>(20, 0.25f));
  for (int64_t i = 0; i < 5; ++i) batch.units.push_back({{i}});
  batch.is_real.assign(5, 1);
  const PerExampleGradient rows = ModelGradients(model, CpuExec{1}).rows(std::move(batch));

  const std::vector<double> sum = flat<double>(file, "clipped_sum.", parameters);
  std::vector<double> wanted(sum.size());
  int clipped = 0;
  for (int64_t n = 0; n < 5; ++n) {
    const std::span<const float> row = rows.slab().rows(n, n + 1).values<float>();
    double squares = 0;
    for (const float g : row) squares += static_cast<double>(g) * g;
    const double factor = std::min(1.0, kClipNorm / std::sqrt(squares));
    clipped += factor < 1;
    for (size_t p = 0; p < row.size(); ++p) wanted[p] += factor * row[p];
  }
  EXPECT_EQ(clipped, 5);  // else it would not show
  // Five rows truncated to a grid of 2^-40 of the clip norm, and norms rounded up in the 13th digit.
  for (size_t p = 0; p < sum.size(); ++p) ASSERT_NEAR(sum[p], wanted[p], 1e-11 * kClipNorm) << p;
}

TEST(ExportStep, ThreadsChangeNoByteAndDevicesOnlyRoundings) {
  const TempFolder folder;
  const auto one = export_to(folder, "one");
  EXPECT_TRUE(slurp(export_to(folder, "two", {"--set", "speed.threads=2"})) == slurp(one));
  const auto there = export_to(folder, "there", {"--device", "emulated", "--set", "speed.precision=fp32"});
  const apps::Safetensors a = opened(one), b = opened(there);
  ASSERT_EQ(a.entries().size(), b.entries().size());
  for (const auto& entry : a.entries()) {
    if (!entry.name.starts_with("clipped_sum.")) {
      EXPECT_TRUE(a.bytes_of(entry) == b.bytes_of(*b.find(entry.name))) << entry.name;
      continue;
    }
    const std::vector<double> x = numbers<double>(a, entry.name), y = numbers<double>(b, entry.name);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-5 * kClipNorm) << entry.name;
  }
}

}  // namespace
}  // namespace pergrad::test
