// evaluate: a checkpoint knows its config, so its folder or file is all that is needed; weights of another
// program come with a config.
#include "apps/evaluate.h"

#include "apps/atomic_file.h"
#include "apps/checkpoint.h"
#include "apps/config.h"
#include "apps/safetensors.h"
#include "apps/scoring.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

namespace pergrad::apps {

constexpr int64_t kImagesPerCall = 250;  // of a GPU's library; half of a batch of score_of

namespace {

Dataset test_set_of(const Config& config, const std::string& data_root, Console& console) {
  return load_test_set(data_spec(config), data_root, progress_on(console));
}

// A model without its weights yet, and what it is measured on.
class Evaluation {
 public:
  Evaluation(const Config& config, Dataset test, const EvaluateOptions& options, Console& console)
      : console_(console),
        test_(std::move(test)),
        normalisation_(normalisation(config)),
        exec_(exec_of(options.threads)),
        device_(Device::parse(options.device)),
        model_(config.model, {test_.height, test_.width, test_.channels}, test_.label_count, device_,
               conv_settings()) {
    model_.parameters().allocate(DType::f32, Key{}, device_);
  }
  Parameters& parameters() { return model_.parameters(); }

  // The accuracy of the weights that are in the model now; `suffix` of the JSON's keys.
  void measure(const std::string& suffix, const char* name) {
    const Score score = score_of(model_, test_, normalisation_, exec_, progress_on(console_));
    console_.clear();
    result_.json["test_accuracy" + suffix] = score.accuracy();
    const double loss = score.loss / static_cast<double>(score.images);
    result_.json["test_loss" + suffix] = std::isfinite(loss) ? nlohmann::ordered_json(loss) : "inf";
    result_.text += fmt::format("{:.2f} % of {} test images ({})\n", 100 * score.accuracy(),
                                thousands(score.images), name);
  }
  // `file` is named under `key`; a checkpoint tells its step.
  EvaluateResult result(const char* key, const std::filesystem::path& file, std::optional<int64_t> step) {
    result_.json["test_examples"] = test_.size();
    if (step) result_.json["step"] = *step;
    result_.json["model"] = model_.title();
    result_.json["device"] = device_.name();
    result_.json["dataset"] = test_.name;
    result_.json[key] = shown(file);
    return std::move(result_);
  }

 private:
  static GpuConvSettings conv_settings() {  // on a GPU, as exact as on the processor
    GpuConvSettings conv;
    conv.images_per_call = kImagesPerCall;
    return conv;
  }

  Console& console_;
  Dataset test_;
  augment::Normalisation normalisation_;
  CpuExec exec_;
  Device device_;
  Model model_;
  EvaluateResult result_;
};

EvaluateResult evaluate_checkpoint(const EvaluateOptions& options, Console& console) {
  const CheckpointRead read = read_checkpoint_info(options.path);
  if (!read.warning.empty()) console.warning(read.warning);
  const CheckpointInfo& info = read.info;
  PG_CHECK(options.raw || info.has_ema, shown(read.file), ": has no averaged weights");
  const Config config = parse_config(info.config_toml, shown(read.file));
  Dataset test = test_set_of(config, options.data_root, console);
  PG_CHECK(test.height == info.height && test.width == info.width && test.channels == info.channels &&
               test.label_count == info.labels,
           shown(read.file), ": was trained on images ", info.height, "x", info.width, "x", info.channels,
           " with ", info.labels, " labels, the test set has ", test.height, "x", test.width, "x",
           test.channels, " with ", test.label_count);
  Evaluation evaluation(config, std::move(test), options, console);
  if (options.averaged && info.has_ema) {
    load_weights(options.path, evaluation.parameters(), true);
    evaluation.measure("_ema", "averaged weights");
  }
  if (options.raw) {
    load_weights(options.path, evaluation.parameters(), false);
    evaluation.measure("", "raw weights");
  }
  return evaluation.result("checkpoint", read.file, info.step);
}

EvaluateResult evaluate_plain_weights(const EvaluateOptions& options, Console& console) {
  PG_CHECK(options.averaged && options.raw, "--ema, --raw: ", shown(options.path),
           " has one set of weights, leave them out");
  PG_CHECK(!is_folder(options.path), shown(options.path),
           ": is a folder, wanted a file of weights (a run has a config of its own: leave --config out)");
  const Safetensors weights(read_file(options.path), shown(options.path));
  const Config config = load_config(*options.config);
  Evaluation evaluation(config, test_set_of(config, options.data_root, console), options, console);
  load_plain_weights(weights, evaluation.parameters());
  evaluation.measure("", "weights of another program");
  return evaluation.result("weights", options.path, std::nullopt);
}

}  // namespace

EvaluateResult evaluate(const EvaluateOptions& options, Console& console) {
  return options.config ? evaluate_plain_weights(options, console) : evaluate_checkpoint(options, console);
}

}  // namespace pergrad::apps
