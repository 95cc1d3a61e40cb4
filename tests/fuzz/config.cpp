// A config file: what is accepted is written out and read back to the same.
#include "apps/config.h"
#include "tests/fuzz/target.h"

namespace pergrad::fuzz {

std::vector<std::string> seeds() {
  const std::string smallest =
      "[data]\nformat = 'idx'\npath = 'x'\nmean = [0.5]\nstd = [0.25]\n[privacy]\nepsilon = 3\n"
      "[train]\nexpected_batch_size = 10\nsteps = 20\nlearning_rate = 1.0\n";
  const std::string pool =
      "[augment]\nbase = 2\nmix = 2\npool = 2\n[pool]\nformat = 'idx'\npath = 'y'\nprovenance = 'made "
      "here'\n";
  const std::string net =
      "[model]\nname = 'sequential'\nlayers = [\"conv 16 k3 p1\", \"group_norm 4\", \"classifier\"]\n"
      "[speed]\ndevice = 'emulated'\nprecision = 'bf16'\n[noise]\nsource = 'reproducible'\n";
  return {smallest,
          smallest + pool,
          smallest + net,
          apps::resolved_toml(apps::parse_config(smallest + pool, "seed")),
          apps::resolved_toml(apps::parse_config(smallest + net, "seed", {.set = {}, .non_private = true})),
          "\xEF\xBB\xBF" + smallest,
          smallest + "optimizer = 'adam'\nadam_noise_correction = true\nschedule = 'cosine'\n",
          "[data]\nx = " + std::string(300, '[') + "\n",
          "a = 1979-05-27T07:32:00Z\nb = 0xFFFFFFFFFFFFFFFF\nc = 1_000.5e-400\nd = \"\"\"\n\\u0000\"\"\"\n"};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  apps::Config config;
  if (!fuzz::accepts([&] { config = apps::parse_config(fuzz::text_of(data, size), "c.toml"); })) return 0;
  const std::string text = apps::resolved_toml(config);
  fuzz::require(apps::parse_config(text, "again") == config, "what was read is written as something else");
  fuzz::accepts([&] { (void)config.speed.where(); });
  fuzz::accepts([&] { (void)apps::check_with_data(config, 60000); });
  return 0;
}
