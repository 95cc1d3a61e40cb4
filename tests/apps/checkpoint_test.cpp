// Checkpoints: PyTorch's layouts, every bit back, two generations, and nothing taken that does not fit.
#include "apps/checkpoint.h"
#include "core/philox.h"
#include "apps/safetensors.h"
#include "layers/coordinates.h"
#include "tests/apps/run_files.h"
#include "tests/gpu/device_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace pergrad::apps {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<float> values_of(const Tensor& t) {
  const Tensor host = on_device(t, {});
  return {host.values<float>().begin(), host.values<float>().end()};
}

// A convolution, a norm and a classifier.
struct Net {
  Parameters parameters;
  explicit Net(int seed, int64_t outputs = 4, const std::string& last = "fc.weight", Device device = {}) {
    parameters.declare("conv.weight", {2, 3, 5, outputs}, Init::normal(1), Kind::conv);
    parameters.declare("norm.weight", {outputs}, Init::normal(1));
    parameters.declare(last, {outputs, 7}, Init::normal(1), Kind::linear);
    parameters.declare("fc.bias", {7}, Init::normal(1));
    parameters.allocate(DType::f32, key_from_text(concat(seed)), device);
  }
  std::vector<float> values() const { return values_of(parameters.flat()); }
};

CheckpointInfo info_at(int64_t step) {
  CheckpointInfo info;
  info.config_hash = "c0ffee";
  info.config_toml = "[data]\npath = \"x\"\n";
  info.plan_hash = "abc";
  info.dataset_tag = "def";
  info.ledger_head = "012";
  info.model_title = "net-4";
  info.class_names = {"cat", "d\"o\"g"};
  info.height = 8, info.width = 9, info.channels = 1, info.labels = 7;
  info.step = step;
  return info;
}

// A net after a few steps with an average and an optimizer that have seen something.
struct Training {
  Net net;
  Ema ema;
  std::unique_ptr<Optimizer> optimizer;
  explicit Training(int seed, const std::string& kind = "adam", Device device = {})
      : net(seed, 4, "fc.weight", device),
        ema(net.parameters.flat(), 0.99, true),
        optimizer(make_optimizer({.name = kind, .momentum = kind == "sgd" ? 0.9 : 0}, net.parameters.size(),
                                 device)) {}
  void step(int t) {
    Tensor gradient = Tensor::empty({net.parameters.size()}, DType::f32);
    PhiloxStream random(7, static_cast<uint64_t>(t));
    for (float& g : gradient.values<float>()) g = static_cast<float>(random.normal());
    optimizer->step(net.parameters, gradient, 0.1);
    ema.update(net.parameters.flat());
  }
  void save(const fs::path& folder, int64_t step) const {
    save_checkpoint(folder, info_at(step), net.parameters, &ema, optimizer.get());
  }
  CheckpointRead load(const fs::path& path) {
    return load_checkpoint(path, net.parameters, &ema, optimizer.get());
  }
};

TEST(Checkpoint, EveryBitComesBackAndTrainingGoesOnTheSame) {
  for (const std::string kind : {"sgd", "adam"}) {
    const TempFolder folder;
    Training first(1, kind), second(2, kind);
    for (int t = 0; t < 3; ++t) first.step(t);
    // Bits that arithmetic would not keep.
    first.net.parameters.flat().data<float>()[0] = -0.0f;
    first.net.parameters.flat().data<float>()[1] = 1e-45f;
    first.save(folder.path(), 3);
    const CheckpointRead read = second.load(folder.path());
    EXPECT_EQ(
        std::memcmp(first.net.values().data(), second.net.values().data(), 4 * first.net.values().size()), 0);
    EXPECT_EQ(values_of(first.ema.values()), values_of(second.ema.values()));
    EXPECT_EQ(second.ema.updates(), 3);
    EXPECT_EQ(second.optimizer->steps(), 3);
    for (int t = 3; t < 6; ++t) first.step(t), second.step(t);
    EXPECT_EQ(first.net.values(), second.net.values());
    EXPECT_EQ(values_of(first.ema.values()), values_of(second.ema.values()));

    EXPECT_THAT(read.warning, IsEmpty());
    EXPECT_EQ(read.file, folder / "checkpoint.safetensors");
    EXPECT_EQ(read.info.step, 3);
    EXPECT_EQ(read.info.config_hash, "c0ffee");
    EXPECT_EQ(read.info.config_toml, "[data]\npath = \"x\"\n");
    EXPECT_EQ(read.info.plan_hash, "abc");
    EXPECT_EQ(read.info.dataset_tag, "def");
    EXPECT_EQ(read.info.ledger_head, "012");
    EXPECT_EQ(read.info.model_title, "net-4");
    EXPECT_EQ(read.info.class_names, (std::vector<std::string>{"cat", "d\"o\"g"}));
    EXPECT_EQ(read.info.width, 9);
    EXPECT_EQ(read.info.labels, 7);
    EXPECT_TRUE(read.info.has_ema);
  }
}

TEST(Checkpoint, SavedTwiceTheSameBytes) {
  const TempFolder a, b;
  Training training(1);
  training.save(a.path(), 1);
  training.save(b.path(), 1);
  EXPECT_EQ(slurp(a / "checkpoint.safetensors"), slurp(b / "checkpoint.safetensors"));
}

class CheckpointOn : public test::GpuTest {};

// What a GPU wrote is byte for byte what the processor would have written, and either goes on with it.
TEST_P(CheckpointOn, GoesOnAcrossDevices) {
  for (const std::string kind : {"sgd", "adam"}) {
    const TempFolder from_cpu, from_gpu;
    Training on_cpu(1, kind), on_gpu(1, kind, device());
    for (int t = 0; t < 3; ++t) on_cpu.step(t), on_gpu.step(t);
    on_cpu.save(from_cpu.path(), 3);
    on_gpu.save(from_gpu.path(), 3);
    EXPECT_EQ(slurp(from_cpu / kCheckpointFile), slurp(from_gpu / kCheckpointFile));

    Training cpu_then_gpu(2, kind, device()), gpu_then_cpu(3, kind);
    EXPECT_EQ(cpu_then_gpu.load(from_cpu.path()).info.step, 3);
    EXPECT_EQ(gpu_then_cpu.load(from_gpu.path()).info.step, 3);
    for (int t = 3; t < 6; ++t)
      for (Training* each : {&on_cpu, &on_gpu, &cpu_then_gpu, &gpu_then_cpu}) each->step(t);
    for (const Training* other : {&on_gpu, &cpu_then_gpu, &gpu_then_cpu}) {
      EXPECT_EQ(other->net.values(), on_cpu.net.values());
      EXPECT_EQ(values_of(other->ema.values()), values_of(on_cpu.ema.values()));
      const TempFolder folder;
      other->save(folder.path(), 6);
      on_cpu.save(from_cpu.path(), 6);
      EXPECT_EQ(slurp(folder / kCheckpointFile), slurp(from_cpu / kCheckpointFile));
    }
  }
}

TEST_P(CheckpointOn, WeightsForEvaluation) {
  const TempFolder folder;
  Training training(1);
  for (int t = 0; t < 4; ++t) training.step(t);
  training.save(folder.path(), 4);
  Net net(9, 4, "fc.weight", device());
  load_weights(folder.path(), net.parameters, false);
  EXPECT_EQ(net.values(), training.net.values());
  load_weights(folder.path(), net.parameters, true);
  EXPECT_EQ(net.values(), values_of(training.ema.values()));
}

PG_ON_GPUS(CheckpointOn);

// conv [K,K,C,O] -> [O,C,K,K] and linear [C,L] -> [L,C], element by element.
TEST(Checkpoint, LayoutsArePyTorchs) {
  const TempFolder folder;
  const Training training(1);
  training.save(folder.path(), 0);
  const Safetensors file(slurp(folder / "checkpoint.safetensors"), "x");
  const auto floats = [&](const std::string& name) {
    const std::string_view bytes = file.bytes_of(*file.find(name));
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  const std::vector<float> ours = training.net.values();
  EXPECT_EQ(file.find("conv.weight")->shape, (Shape{4, 5, 2, 3}));
  const std::vector<float> conv = floats("conv.weight"), fc = floats("fc.weight");
  for (size_t y = 0; y < 2; ++y)
    for (size_t x = 0; x < 3; ++x)
      for (size_t c = 0; c < 5; ++c)
        for (size_t o = 0; o < 4; ++o)
          EXPECT_EQ(conv[((o * 5 + c) * 2 + y) * 3 + x], ours[((y * 3 + x) * 5 + c) * 4 + o]);
  EXPECT_EQ(file.find("fc.weight")->shape, (Shape{7, 4}));
  for (size_t c = 0; c < 4; ++c)
    for (size_t l = 0; l < 7; ++l) EXPECT_EQ(fc[l * 4 + c], ours[120 + 4 + c * 7 + l]);
  EXPECT_EQ(file.find("norm.weight")->shape, (Shape{4}));
  EXPECT_EQ(file.find("ema.conv.weight")->shape, (Shape{4, 5, 2, 3}));
  EXPECT_EQ(file.find("optimizer.first_moment")->shape, (Shape{training.net.parameters.size()}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST(Checkpoint, WeightsForEvaluation) {
  const TempFolder folder;
  Training training(1);
  for (int t = 0; t < 4; ++t) training.step(t);
  training.save(folder.path(), 4);
  Net net(9);
  load_weights(folder / "checkpoint.safetensors", net.parameters, false);
  EXPECT_EQ(net.values(), training.net.values());
  const uint64_t version = net.parameters.version();
  load_weights(folder.path(), net.parameters, true);
  EXPECT_EQ(net.values(), values_of(training.ema.values()));
  EXPECT_GT(net.parameters.version(), version);
}

TEST(Checkpoint, WithoutAverageAndOptimizer) {
  const TempFolder folder;
  Net net(1), other(2);
  save_checkpoint(folder.path(), info_at(0), net.parameters, nullptr, nullptr);
  EXPECT_FALSE(read_checkpoint_info(folder.path()).info.has_ema);
  load_checkpoint(folder.path(), other.parameters, nullptr, nullptr);
  EXPECT_EQ(net.values(), other.values());
  EXPECT_THAT(message_of([&] { load_weights(folder.path(), other.parameters, true); }),
              HasSubstr("has no averaged weights"));
}

TEST(Checkpoint, TwoGenerations) {
  const TempFolder folder;
  Training training(1), other(2);
  EXPECT_FALSE(has_checkpoint(folder.path()));
  EXPECT_THAT(message_of([&] { other.load(folder.path()); }), HasSubstr("no checkpoint.safetensors in it"));
  training.save(folder.path(), 1);
  EXPECT_TRUE(has_checkpoint(folder.path()));
  EXPECT_FALSE(fs::exists(folder / kPreviousCheckpointFile));
  for (int64_t step = 2; step <= 4; ++step) {
    training.step(static_cast<int>(step));
    training.save(folder.path(), step);
    EXPECT_EQ(read_checkpoint_info(folder.path()).info.step, step);
    EXPECT_EQ(read_checkpoint_info(folder / kPreviousCheckpointFile).info.step, step - 1);
  }
  // Nothing is left over.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

TEST(Checkpoint, FallsBackOnlyFromAnUnreadableOne) {
  const TempFolder folder;
  Training training(1), other(2);
  training.save(folder.path(), 1);
  training.step(0);
  training.save(folder.path(), 2);
  const std::string newest = slurp(folder / kCheckpointFile);
  const auto expect_fallback = [&](const std::string& why) {
    const CheckpointRead read = other.load(folder.path());
    EXPECT_EQ(read.info.step, 1);
    EXPECT_EQ(read.file, folder / kPreviousCheckpointFile);
    EXPECT_THAT(read.warning, AllOf(HasSubstr(why), HasSubstr("going on with the one before")));
  };
  for (size_t at : {size_t{0}, size_t{20}, newest.size() / 2, newest.size() - 1}) {
    std::string damaged = newest;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    spill(folder / kCheckpointFile, damaged);
    expect_fallback("checkpoint.safetensors: ");
  }
  spill(folder / kCheckpointFile, newest.substr(0, newest.size() / 2));
  expect_fallback("not a safetensors file");
  spill(folder / kCheckpointFile, "");
  expect_fallback("0 bytes");
  fs::remove(folder / kCheckpointFile);
  expect_fallback("No such file");
  // The damaged one never becomes the previous one.
  spill(folder / kCheckpointFile, newest.substr(0, newest.size() / 2));
  training.save(folder.path(), 3);
  EXPECT_EQ(read_checkpoint_info(folder / kCheckpointFile).info.step, 3);
  EXPECT_EQ(read_checkpoint_info(folder / kPreviousCheckpointFile).info.step, 1);
  // A single file that was named is not replaced by another one.
  spill(folder / kCheckpointFile, "");
  EXPECT_THAT(message_of([&] { other.load(folder / kCheckpointFile); }), HasSubstr("0 bytes"));
  spill(folder / kPreviousCheckpointFile, "");
  EXPECT_THAT(message_of([&] { other.load(folder.path()); }), HasSubstr("nor can"));
  // Saving heals it.
  training.save(folder.path(), 4);
  EXPECT_EQ(other.load(folder.path()).info.step, 4);
}

// Every byte counts: no change anywhere goes unnoticed.
TEST(Checkpoint, ChecksumCoversEveryByte) {
  const TempFolder folder;
  Training training(1);
  training.save(folder.path(), 1);
  const std::string good = slurp(folder / kCheckpointFile);
  for (size_t at = 0; at < good.size(); at += 13) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    spill(folder / "x", damaged);
    EXPECT_THROW(read_checkpoint_info(folder / "x"), FormatError) << "byte " << at;
  }
}

TEST(Checkpoint, RefusesAnotherModelAndChangesNothing) {
  const TempFolder folder;
  Training training(1);
  training.save(folder.path(), 1);
  training.save(folder.path(), 2);  // a previous generation must not hide the mistake
  Net wide(3, 6), renamed(3, 4, "head.weight");
  const std::vector<float> before = wide.values();
  EXPECT_THAT(message_of([&] { load_weights(folder.path(), wide.parameters, false); }),
              HasSubstr("\"conv.weight\" is [4,5,2,3], the model has [6,5,2,3]"));
  EXPECT_EQ(wide.values(), before);
  EXPECT_THAT(message_of([&] { load_weights(folder.path(), renamed.parameters, false); }),
              HasSubstr("\"fc.weight\" is not in the model"));

  Training other(4, "sgd");
  const std::vector<float> untouched = other.net.values();
  EXPECT_THAT(message_of([&] { other.load(folder.path()); }), HasSubstr("\"optimizer.momentum\" is missing"));
  EXPECT_EQ(other.net.values(), untouched);
  const auto plain = make_optimizer({}, other.net.parameters.size());
  EXPECT_THAT(message_of([&] { load_checkpoint(folder.path(), other.net.parameters, nullptr, plain.get()); }),
              HasSubstr("\"optimizer.first_moment\" is not a state of this optimizer"));

  save_checkpoint(folder.path(), info_at(3), training.net.parameters, nullptr, nullptr);
  EXPECT_THAT(message_of([&] { training.load(folder.path()); }), HasSubstr("\"ema.conv.weight\" is missing"));
}

TEST(Checkpoint, RefusesFilesOfOthers) {
  const TempFolder folder;
  spill(folder / "other.safetensors", safetensors_bytes({}, {{"format", "pt"}}));
  EXPECT_THAT(message_of([&] { read_checkpoint_info(folder / "other.safetensors"); }),
              HasSubstr("not a checkpoint of this program"));
  EXPECT_THAT(message_of([&] { read_checkpoint_info(folder / "absent"); }),
              AllOf(StartsWith("cannot open"), HasSubstr("No such file")));
}

TEST(Checkpoint, AFullDiskLeavesTheOldOnes) {
  const TempFolder folder;
  Training training(1);
  training.save(folder.path(), 1);
  training.save(folder.path(), 2);
  const std::string newest = slurp(folder / kCheckpointFile),
                    previous = slurp(folder / kPreviousCheckpointFile);
  training.step(0);
  {
    const SmallDisk disk(1000);
    EXPECT_THAT(message_of([&] { training.save(folder.path(), 3); }),
                AllOf(HasSubstr("cannot write"), HasSubstr("File too large")));
  }
  EXPECT_EQ(slurp(folder / kCheckpointFile), newest);
  EXPECT_EQ(slurp(folder / kPreviousCheckpointFile), previous);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2);
}

}  // namespace
}  // namespace pergrad::apps
