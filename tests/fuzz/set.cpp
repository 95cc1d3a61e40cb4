// The text of --set, and of --device.
#include "apps/config.h"
#include "core/device.h"
#include "tests/fuzz/target.h"

namespace pergrad::fuzz {

std::vector<std::string> seeds() {
  return {"train.steps=5",
          "privacy.noise_multiplier = 1.5e0",
          "data.mean=[0.1, 0.2, 0.3]",
          "model.layers=[\"conv 16 k5 s2 p2\", \"classifier\"]",
          "data.path=\"a path\"",
          "data.path=/bare/path",
          "augment.flip=true",
          "augment.method=cutmix",
          "train.seed=0xFFFF_FFFF",
          "train.steps=1\nx=2",
          "data.path='''",
          "speed.device=cuda:3",
          "cuda:17",
          "train.steps=" + std::string(300, '[')};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  const std::string text(fuzz::text_of(data, size));
  const std::string base =
      "[data]\nformat = 'idx'\npath = 'x'\nmean = [0.5]\nstd = [0.25]\n[privacy]\nepsilon = 3\n"
      "[train]\nexpected_batch_size = 10\nsteps = 20\nlearning_rate = 1.0\n";
  apps::Config config;
  if (fuzz::accepts([&] { config = apps::parse_config(base, "c.toml", {.set = {text}}); }))
    fuzz::require(apps::parse_config(apps::resolved_toml(config), "again") == config,
                  "what was set is written as something else");
  Device device;
  // A name may hold anything when it comes here alone; the program reads it as a value of --set.
  if (apps::printable(text) == text && fuzz::accepts([&] { device = Device::parse(text); }))
    fuzz::require(Device::parse(device.name()) == device, "a device that has another name");
  return 0;
}
