// run.json and metrics.jsonl of a run that goes on. Input: a byte n, n bytes of run.json, the rest metrics.
#include "apps/run_folder.h"
#include "tests/fuzz/target.h"

#include <algorithm>

namespace pergrad::fuzz {
namespace {

apps::Config config() {
  return apps::parse_config(
      "[data]\nformat = 'idx'\npath = 'x'\nmean = [0.5]\nstd = [0.25]\n[privacy]\nepsilon = 3\n"
      "[train]\nexpected_batch_size = 10\nsteps = 20\nlearning_rate = 1.0\n[noise]\nsource = "
      "'reproducible'\n",
      "fuzz");
}

// A run that was begun, once for the whole program.
apps::RunFolder& run() {
  static apps::RunFolder one = apps::RunFolder::create(folder() / "run", config());
  return one;
}

}  // namespace

std::vector<std::string> seeds() {
  run().run_key("data");
  const std::string json = folder().text("run/run.json");
  std::string metrics;
  for (int step = 0; step < 6; ++step)
    metrics += "{\"step\":" + std::to_string(step) + ",\"learning_rate\":0.5,\"epsilon\":[1,2]}\n";
  const auto pair = [](const std::string& a, const std::string& b) {
    return static_cast<char>(a.size()) + a + b;
  };
  return {pair(json, metrics), pair("{}", metrics + "{\"step\": 3, \"le"),
          pair(std::string(200, '['), "{\"step\":18446744073709551615}\n" + std::string(5000, '[') + "\n")};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  if (size < 1) return 0;
  apps::RunFolder& run = fuzz::run();
  const std::string_view rest = fuzz::text_of(data, size).substr(1);
  const size_t length = std::min<size_t>(data[0], rest.size());
  fuzz::folder().file("run/run.json", rest.substr(0, length));
  fuzz::accepts([&] { run.run_key("data"); });
  const std::string before(rest.substr(length));
  fuzz::folder().file("run/metrics.jsonl", before);
  const bool kept = fuzz::accepts([&] { run.rewind_metrics(3); });
  const std::string after = fuzz::folder().text("run/metrics.jsonl");
  fuzz::require(kept ? after.size() <= before.size() : after == before, "refused metrics were changed");
  fuzz::require(!kept || after.empty() || after.back() == '\n', "half a line was kept");
  return 0;
}
