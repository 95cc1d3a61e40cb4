// Checkpoints, loaded into a small model: as they are and with the checksum made right, so that mutations
// reach what is behind it. A file that is refused changes nothing.
#include "apps/checkpoint.h"
#include "apps/safetensors.h"
#include "core/hash.h"
#include "tests/fuzz/target.h"

#include <algorithm>

namespace pergrad::fuzz {
namespace {

// A classifier with its average and its optimizer's state.
struct Training {
  Parameters parameters;
  std::unique_ptr<Ema> ema;
  std::unique_ptr<Optimizer> optimizer;
  Training() {
    parameters.declare("conv.weight", {2, 2, 1, 3}, Init::normal(1), Kind::conv);
    parameters.declare("fc.weight", {3, 2}, Init::normal(1), Kind::linear);
    parameters.allocate(DType::f32, key_from_text("fuzz"));
    ema = std::make_unique<Ema>(parameters.flat(), 0.9, true);
    optimizer = make_optimizer({.name = "adam"}, parameters.size());
  }
  std::vector<float> values() const {
    return {parameters.flat().values<float>().begin(), parameters.flat().values<float>().end()};
  }
};

std::string with_right_checksum(std::string bytes) {
  const std::string key = "\"checksum\":\"";
  const size_t at = bytes.find(key);
  if (at == std::string::npos || bytes.size() - at < key.size() + 64) return bytes;
  bytes.replace(at + key.size(), 64, std::string(64, '0'));
  return bytes.replace(at + key.size(), 64, sha256_hex(bytes));
}

void load(const std::string& bytes) {
  const auto path = folder().file("checkpoint", bytes);
  Training training;
  const std::vector<float> before = training.values();
  apps::CheckpointRead read;
  if (accepts([&] { read = apps::read_checkpoint_info(path); }))
    require(read.info.step >= 0 && read.info.height >= 0 && read.info.labels >= 0, "numbers below zero");
  if (!accepts([&] {
        apps::load_checkpoint(path, training.parameters, training.ema.get(), training.optimizer.get());
      }))
    require(training.values() == before, "a refused file changed the weights");
  accepts([&] { apps::load_weights(path, training.parameters, true); });
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> files;
  Training training;
  apps::CheckpointInfo info;
  info.config_hash = info.plan_hash = info.dataset_tag = info.ledger_head = std::string(64, 'a');
  info.config_toml = "[data]\npath = \"x\"\n";
  info.model_title = "sequential";
  info.height = 2, info.width = 2, info.channels = 1, info.labels = 2, info.step = 3;
  for (const bool all : {true, false}) {
    info.class_names = all ? std::vector<std::string>{"cat", "d\"o\"g"} : std::vector<std::string>();
    apps::save_checkpoint(folder() / "", info, training.parameters, all ? training.ema.get() : nullptr,
                          all ? training.optimizer.get() : nullptr);
    files.push_back(folder().text(apps::kCheckpointFile));
  }
  return files;
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(pergrad::fuzz::text_of(data, size));
  pergrad::fuzz::load(bytes);
  const std::string sealed = pergrad::fuzz::with_right_checksum(bytes);
  if (sealed != bytes) pergrad::fuzz::load(sealed);
  return 0;
}
