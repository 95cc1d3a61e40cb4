// evaluate: a checkpoint knows its config, so its folder or file is all that is needed.
#include "apps/evaluate.h"

#include "apps/atomic_file.h"
#include "apps/checkpoint.h"
#include "apps/config.h"
#include "apps/scoring.h"

#include <fmt/format.h>

#include <cmath>

namespace pergrad::apps {

constexpr int64_t kImagesPerCall = 250;  // of a GPU's library; half of a batch of score_of

EvaluateResult evaluate(const EvaluateOptions& options, Console& console) {
  const CheckpointRead read = read_checkpoint_info(options.path);
  if (!read.warning.empty()) console.warning(read.warning);
  const Config config = parse_config(read.info.config_toml, shown(read.file));
  const Dataset test = load_test_set(data_spec(config), options.data_root,
                                     [&](std::string_view what, int64_t done, int64_t total) {
                                       console.progress(fmt::format("{}: {} of {}", what, done, total));
                                     });
  console.clear();
  const CheckpointInfo& info = read.info;
  PG_CHECK(test.height == info.height && test.width == info.width && test.channels == info.channels &&
               test.label_count == info.labels,
           shown(read.file), ": was trained on images ", info.height, "x", info.width, "x", info.channels,
           " with ", info.labels, " labels, the test set has ", test.height, "x", test.width, "x",
           test.channels, " with ", test.label_count);
  PG_CHECK(options.raw || info.has_ema, shown(read.file), ": has no averaged weights");

  const Device device = Device::parse(options.device);
  GpuConvSettings conv;  // on a GPU, as exact as on the processor
  conv.images_per_call = kImagesPerCall;
  Model model(config.model, {info.height, info.width, info.channels}, info.labels, device, conv);
  model.parameters().allocate(DType::f32, Key{}, device);
  EvaluateResult result;
  const auto add = [&](bool averaged, const std::string& suffix, const char* name) {
    load_weights(options.path, model.parameters(), averaged);
    const Score score = score_of(model, test, normalisation(config), exec_of(options.threads));
    result.json["test_accuracy" + suffix] = score.accuracy();
    const double loss = score.loss / static_cast<double>(score.images);
    result.json["test_loss" + suffix] = std::isfinite(loss) ? nlohmann::ordered_json(loss) : "inf";
    result.text += fmt::format("{:.2f} % of {} test images ({} weights)\n", 100 * score.accuracy(),
                               thousands(score.images), name);
  };
  if (options.averaged && info.has_ema) add(true, "_ema", "averaged");
  if (options.raw) add(false, "", "raw");
  result.json["test_examples"] = test.size();
  result.json["step"] = info.step;
  result.json["model"] = model.title();
  result.json["device"] = device.name();
  result.json["dataset"] = test.name;
  result.json["checkpoint"] = shown(read.file);
  return result;
}

}  // namespace pergrad::apps
