// The sections of the page, in the order in which a privacy reviewer asks.
#include "apps/report.h"

#include "apps/atomic_file.h"
#include "apps/checkpoint.h"
#include "apps/config.h"
#include "apps/ledger_cost.h"
#include "apps/report_page.h"
#include "apps/run_folder.h"
#include "apps/scoring.h"
#include "apps/training_data.h"
#include "apps/view_text.h"
#include "augment/view_source.h"
#include "core/error.h"
#include "dp/accounting/trade_off.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;

std::string paragraph(const std::string& text, const char* kind = "") {
  return fmt::format("<p{}>{}</p>\n", *kind ? fmt::format(" class=\"{}\"", kind) : "", escaped(text));
}

// The metrics of a run, line by line; a torn last line is left out.
std::vector<Json> metrics_of(const std::filesystem::path& run) {
  std::vector<Json> lines;
  if (!path_exists(run / "metrics.jsonl")) return lines;
  const std::string text = read_file(run / "metrics.jsonl");
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    Json line = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (line.is_object() && line.contains("step") && line["step"].is_number())
      lines.push_back(std::move(line));
  }
  return lines;
}

class Report {
 public:
  Report(const ReportOptions& options, Console& console)
      : options_(options),
        console_(console),
        config_(read_run_config(options.run)),
        metrics_(metrics_of(options.run)) {
    PG_CHECK(has_checkpoint(options.run), shown(options.run),
             ": has no checkpoint, there is nothing to report yet");
    const CheckpointRead read = read_checkpoint_info(options.run);
    if (!read.warning.empty()) console_.warning(read.warning);
    info_ = read.info;
    private_ = !config_.privacy.non_private;
    if (private_) {
      const LedgerCost told = cost_of_run(options.run);
      cost_ = told.cost;
      phases_ = told.phases;
    }
    averaged_ = info_.has_ema;
  }

  ReportResult make() {
    const std::string run = options_.run.filename().empty() ? options_.run.parent_path().filename().string()
                                                            : options_.run.filename().string();
    body_ += fmt::format("<h1>Training run {}</h1>\n", escaped(run));
    body_ += paragraph(fmt::format("{}, {} of {} steps, Pergrad {}", info_.model_title, thousands(info_.step),
                                   thousands(config_.train.steps), PG_VERSION),
                       "soft");
    load_test_images();
    guarantee();
    if (private_) curves();
    accuracy();
    pictures();
    nonprivate();
    how_it_was_trained();
    not_private();
    const std::filesystem::path out = options_.out.empty() ? options_.run / "report.html" : options_.out;
    write_file_atomically(out, page_html("Pergrad: " + run, body_));
    json_["report"] = out.string();
    console_.clear();
    return {json_, fmt::format("{}: {} sections\n", shown(out), json_["sections"].size())};
  }

 private:
  void section(const std::string& title) {
    body_ += "<h2>" + escaped(title) + "</h2>\n";
    json_["sections"].push_back(title);
  }

  void load_test_images() {
    try {
      test_ = config_.data.validation > 0
                  ? load_split(config_, options_.data_root, progress_on(console_)).test
                  : load_test_set(data_spec(config_), options_.data_root, progress_on(console_));
    } catch (const Error& error) {
      test_missing_ = error.what();
      console_.warning(fmt::format("without test images: {}", error.what()));
      return;
    }
    PG_CHECK(test_->height == info_.height && test_->width == info_.width &&
                 test_->channels == info_.channels && test_->label_count == info_.labels,
             shown(options_.run), ": was trained on images of another shape than the test set has");
    Model model(config_.model, {info_.height, info_.width, info_.channels}, info_.labels);
    model.parameters().allocate(DType::f32, Key{});
    load_weights(options_.run, model.parameters(), averaged_);
    confusion_ = confusion_of(model, *test_, normalisation(config_), exec_of(0), progress_on(console_));
  }
  double test_accuracy() const {
    int64_t right = 0;
    for (int64_t l = 0; l < info_.labels; ++l)
      right += confusion_[static_cast<size_t>(l * (info_.labels + 1))];
    return static_cast<double>(right) / static_cast<double>(std::max<int64_t>(1, test_->size()));
  }
  const char* scored_on() const { return config_.data.validation > 0 ? "held-out training" : "test"; }

  void guarantee() {
    section("What is promised, and to whom");
    if (test_) json_["test_accuracy"] = test_accuracy();
    if (!private_) {
      json_["epsilon"] = "inf";
      body_ +=
          "<div class=\"card warn\"><p class=\"stamp\">NO PRIVACY</p>" +
          paragraph(
              "This run was trained without clipping and without noise (--non-private). Its weights may tell "
              "anything about anybody in the training data.") +
          "</div>\n";
      return;
    }
    const double lower = std::floor(cost_.epsilon_lower * 1e4) / 1e4,
                 upper = std::ceil(cost_.epsilon_upper * 1e4) / 1e4;
    json_["epsilon"] = {{"lower", cost_.epsilon_lower}, {"upper", cost_.epsilon_upper}};
    json_["delta"] = cost_.delta;
    const std::string who =
        config_.privacy.units == "microbatch"
            ? "any one image (units are groups, whose change by one image is counted double)"
            : "any one image of the training data with all its views";
    body_ +=
        "<div class=\"card\">" +
        paragraph(
            fmt::format("The weights of this run are ({:.4f}, {:.3g})-differentially private for adding or "
                        "removing {}.",
                        upper, cost_.delta, who),
            "lead") +
        paragraph(fmt::format(
            "Whoever looks at them, at every checkpoint and at everything computed from them, "
            "and tries to tell whether that image was there: odds of one to one may become at "
            "most {} to one, but for a probability of {:.3g} in which nothing is promised.",
            upper < 12 ? fmt::format("{:.1f}", std::ceil(10 * std::exp(upper)) / 10) : "astronomical",
            cost_.delta)) +
        "</div>\n";
    std::vector<std::vector<std::string>> rows = {
        {"what", "value"},
        {"epsilon, certified interval of the exact value", fmt::format("[{:.4f}, {:.4f}]", lower, upper)},
        {"epsilon by Renyi divergences alone",
         fmt::format("{:.4f}", std::ceil(cost_.rdp_epsilon * 1e4) / 1e4)},
        {"delta", fmt::format("{:.3g}", cost_.delta)},
        {"releases on the ledger", thousands(cost_.releases)}};
    for (const dp::Phase& phase : phases_)
      rows.push_back({fmt::format("{} steps", thousands(phase.releases)),
                      fmt::format("{}noise multiplier {:.4f}, sampling rate {:.5f} (Poisson)",
                                  config_.privacy.units == "microbatch" ? "effective " : "",
                                  phase.noise_multiplier, phase.sampling_rate)});
    rows.push_back({"clip norm", fmt::format("{:g}", config_.privacy.clip_norm)});
    body_ += table_html(rows);
    body_ += paragraph(
        "The ledger of the run was verified for this page; the numbers above are what it records, not "
        "what was planned.");
    if (config_.train.simulated_batch_size > 0)
      body_ += "<div class=\"card warn\">" +
               paragraph(fmt::format(
                   "A rehearsal of a run with an expected batch of {}: this guarantee is its own, not "
                   "that run's.",
                   thousands(config_.train.simulated_batch_size))) +
               "</div>\n";
    body_ += "<h3>What this assumes</h3>\n<ul>\n";
    std::vector<std::string> assumed = {
        "The folder's run.key stays secret: with it the noise can be subtracted.",
        fmt::format(
            "The number of training images ({}), the label names and the normalisation constants are public.",
            config_.data.examples > 0 ? "at most " + thousands(config_.data.examples) : "as found"),
        "The settings were chosen without looking at these private images, or that look is accounted for "
        "elsewhere.",
        "One person is behind one image. Who is in k of them is protected by k epsilon only, and a larger "
        "delta."};
    if (config_.noise_source == "reproducible")
      assumed[0] =
          "Nobody who is to be kept out knows the seed (noise.source = \"reproducible\"): with it the noise "
          "can be "
          "subtracted.";
    if (config_.has_pool()) assumed.push_back("The pool is public: " + config_.pool.provenance);
    for (const std::string& line : assumed) body_ += "<li>" + escaped(line) + "</li>\n";
    body_ += "</ul>\n";
  }

  void curves() {
    section("The whole guarantee");
    Plot curve{.title = "Epsilon for each delta",
               .caption =
                   "The same run promises every pair on this curve at once: a smaller delta costs a larger "
                   "epsilon. Upper ends of certified intervals.",
               .x_label = "delta",
               .y_label = "epsilon",
               .series = {{"epsilon", {}}},
               .log_x = true};
    for (double exponent = -10; exponent <= -2; exponent += 0.5) {
      console_.progress("epsilon for each delta");
      const double delta = std::pow(10, exponent), epsilon = dp::cost_of(phases_, delta).epsilon_upper;
      if (std::isfinite(epsilon)) curve.series[0].points.emplace_back(delta, epsilon);
    }
    body_ += plot_html(curve);

    accounting::Phases phases;
    for (const dp::Phase& phase : phases_)
      phases.push_back({.noise_multiplier = phase.noise_multiplier,
                        .sampling_rate = phase.sampling_rate,
                        .steps = phase.releases});
    Plot trade{
        .title = "Errors of whoever guesses who was in the data",
        .caption =
            "No test for one image does better than this: at a share of false alarms (right) it misses at "
            "least that share of those who were there (up). The dashed line is guessing.",
        .x_label = "false alarms",
        .y_label = "missed, at least",
        .series = {{"this run", {}}, {"guessing", {{0, 1}, {1, 0}}, true}},
        .y_low = 0,
        .y_high = 1};
    std::vector<double> alarms;
    for (int i = 0; i <= 20; ++i) alarms.push_back(0.05 * i);
    console_.progress("trade-off");
    for (const auto& [alarm, missed] : accounting::trade_off(phases, alarms))
      trade.series[0].points.emplace_back(alarm, std::max(0.0, missed - 2 * cost_.grid_slack));
    body_ += plot_html(trade);

    if (phases_.size() != 1) return;
    Plot spent{
        .title = "Epsilon over the steps",
        .caption = fmt::format("What had been spent at delta = {:.3g} after so many steps.", cost_.delta),
        .x_label = "step",
        .y_label = "epsilon",
        .series = {{"epsilon", {{0, 0}}}}};
    const int64_t all = phases_[0].releases;
    for (int64_t i = 1, before = 0; i <= 24; ++i) {
      console_.progress("epsilon over the steps");
      dp::Phase part = phases_[0];
      part.releases = std::max<int64_t>(1, all * i / 24);
      if (std::exchange(before, part.releases) == part.releases) continue;
      spent.series[0].points.emplace_back(part.releases, dp::cost_of({part}, cost_.delta).epsilon_upper);
    }
    body_ += plot_html(spent);
  }

  void accuracy() {
    section("What it reached");
    Plot plot{.title = "Accuracy over the steps",
              .caption = fmt::format("Share of the {} images that are classified right, while it trained.",
                                     scored_on()),
              .x_label = "step",
              .y_label = "accuracy",
              .series = {{"averaged weights", {}}, {"raw weights", {}, true}},
              .y_low = 0,
              .y_high = 1};
    for (const Json& line : metrics_) {
      const double step = line["step"].get<double>() + 1;
      if (line.contains("test_accuracy_ema"))
        plot.series[0].points.emplace_back(step, line["test_accuracy_ema"]);
      if (line.contains("test_accuracy")) plot.series[1].points.emplace_back(step, line["test_accuracy"]);
    }
    std::erase_if(plot.series, [](const Series& s) { return s.points.size() < 2; });
    if (!test_) {
      body_ += paragraph("The test images could not be read for this page: " + test_missing_);
    } else {
      body_ += paragraph(fmt::format("{:.2f} % of {} {} images ({} weights).", 100 * test_accuracy(),
                                     thousands(test_->size()), scored_on(), averaged_ ? "averaged" : "raw"),
                         "lead");
    }
    if (!plot.series.empty()) body_ += plot_html(plot);
    if (!test_) return;
    std::vector<std::string> names = test_->label_names;
    for (int64_t l = static_cast<int64_t>(names.size()); l < info_.labels; ++l)
      names.push_back(fmt::format("{}", l));
    body_ += "<h3>Label by label</h3>\n";
    if (info_.labels <= 30) {
      body_ += confusion_html(confusion_, names);
      return;
    }
    std::vector<std::vector<std::string>> rows = {{"label", "images", "right"}};
    for (int64_t l = 0; l < info_.labels; ++l) {
      int64_t total = 0;
      for (int64_t k = 0; k < info_.labels; ++k)
        total += confusion_[static_cast<size_t>(l * info_.labels + k)];
      const int64_t right = confusion_[static_cast<size_t>(l * (info_.labels + 1))];
      rows.push_back({names[static_cast<size_t>(l)], thousands(total),
                      fmt::format("{:.1f} %", 100 * static_cast<double>(right) /
                                                  static_cast<double>(std::max<int64_t>(1, total)))});
    }
    body_ += table_html(rows);
  }

  // Views of images that anyone may see.
  void pictures() {
    section("What a view looks like");
    Dataset open;
    std::string whose;
    augment::AugmentSettings settings = config_.augment;
    settings.pool = 0;
    if (settings.base < 2) settings.mix = settings.base < 1 ? 0 : settings.mix;
    if (settings.base < 1) settings.base = 1;
    if (settings.base < 2 && !settings.mix_degenerate) settings.mix = 0;
    try {
      if (options_.public_data) {
        open = load_split(config_, options_.data_root, progress_on(console_)).train;
        whose = "training images, which are public (--public-data)";
      } else if (config_.has_pool()) {
        Dataset shape;
        shape.height = info_.height, shape.width = info_.width, shape.channels = info_.channels;
        Pool pool = load_pool(pool_spec(config_, shape), config_.pool.provenance, options_.data_root,
                              progress_on(console_));
        open = std::move(pool.images);
        whose = "images of the public pool (" + config_.pool.provenance + ")";
      }
    } catch (const Error& error) {
      body_ += paragraph(std::string("The images could not be read for this page: ") + error.what());
      return;
    }
    if (open.size() == 0) {
      body_ += paragraph(
          "Training images are private and no page shows them. With a public pool, or with --public-data "
          "for data that anyone may see, views and mixes would be here.");
      return;
    }
    settings.base = std::min<int64_t>(settings.base, 6), settings.mix = std::min<int64_t>(settings.mix, 6);
    body_ += paragraph(
        fmt::format("Views as they are made for training, of {}. All views of an image make one gradient, "
                    "their mean, which is clipped once.",
                    whose));
    augment::ViewSource source(open, settings, normalisation(config_), key_from_text("pictures of a report"),
                               nullptr, CpuExec{1});
    for (int64_t id = 0; id < std::min<int64_t>(2, open.size()); ++id) {
      const std::vector<Unit> unit = {{{id}}};
      augment::ViewPlan plan;
      source.draw(unit, 0, plan);
      const ExampleBatch batch = source.views(unit, 0);
      const std::span<const uint8_t> bytes = open.image(id);
      body_ += fmt::format("<h3>Image {}</h3>\n<div class=\"pictures\">\n", id);
      body_ += picture_html({open.height, open.width, open.channels, {bytes.begin(), bytes.end()}},
                            "the image itself");
      for (int64_t v = 0; v < batch.views(); ++v)
        body_ +=
            picture_html(picture_of(batch, v),
                         fmt::format("view {}: {}", v,
                                     view_text(plan.recipes[static_cast<size_t>(v)], settings.crop_padding)));
      body_ += "</div>\n";
    }
  }
  Image picture_of(const ExampleBatch& batch, int64_t v) const {
    Image image{info_.height, info_.width, info_.channels, {}};
    const auto size = static_cast<size_t>(info_.height * info_.width * info_.channels);
    const auto numbers = batch.images.values<float>().subspan(static_cast<size_t>(v) * size, size);
    for (size_t i = 0; i < size; ++i) {
      const size_t c = i % static_cast<size_t>(info_.channels);
      const double p = static_cast<double>(numbers[i]) * config_.data.deviation[c] + config_.data.mean[c];
      image.pixels.push_back(static_cast<uint8_t>(std::lround(255 * std::clamp(p, 0.0, 1.0))));
    }
    return image;
  }

  // Only there if the run was asked to log it.
  void nonprivate() {
    std::vector<const Json*> lines;
    for (const Json& line : metrics_)
      if (line.contains("nonprivate_loss")) lines.push_back(&line);
    json_["nonprivate"] = !lines.empty();
    if (lines.size() < 2) return;
    section("Not private: what was logged of the training itself");
    body_ += "<div class=\"card warn\"><p class=\"stamp\">NOT PRIVATE</p>" +
             paragraph(
                 "This section is computed from the training data without noise (log.nonprivate). No "
                 "guarantee covers "
                 "it: keep it with the data, not with the model.") +
             "</div>\n";
    const auto over_steps = [&](const std::string& key, const std::string& title, const std::string& label) {
      Plot plot{.title = title,
                .caption = title + ", one step each.",
                .x_label = "step",
                .y_label = label,
                .series = {{label, {}}}};
      for (const Json* line : lines)
        if (line->contains(key) && (*line)[key].is_number())
          plot.series[0].points.emplace_back((*line)["step"], (*line)[key]);
      if (plot.series[0].points.size() > 1) body_ += plot_html(plot);
    };
    over_steps("nonprivate_loss", "Training loss over the steps", "loss");
    over_steps("nonprivate_clip_rate", "Share of gradients that were clipped", "clip rate");
    over_steps("nonprivate_mean_norm", "Mean norm of the gradients before the clip", "norm");
    Plot norms{
        .title = "Norms of per-example gradients, in clip norms",
        .caption =
            "Share of the examples of a step with a gradient of that norm (before the clip; bins of half a "
            "power of two), early, in the middle and late.",
        .x_label = "norm / clip norm",
        .y_label = "share",
        .series = {},
        .log_x = true};
    for (size_t at : {size_t{0}, lines.size() / 2, lines.size() - 1}) {
      const Json& line = *lines[at];
      if (!line.contains("nonprivate_norm_counts")) continue;
      const std::vector<double> counts = line["nonprivate_norm_counts"];
      double total = 0;
      for (double c : counts) total += c;
      Series s{fmt::format("step {}", line["step"].get<int64_t>()), {}, at != 0 && at + 1 != lines.size()};
      for (size_t b = 0; b < counts.size() && total > 0; ++b) {  // as steps
        const double low = std::exp2((static_cast<double>(b) - 13) / 2), share = counts[b] / total;
        s.points.emplace_back(low, share);
        s.points.emplace_back(low * std::sqrt(2.0), share);
      }
      if (!s.points.empty()) norms.series.push_back(std::move(s));
    }
    if (!norms.series.empty()) body_ += plot_html(norms);
  }

  void how_it_was_trained() {
    section("How it was trained");
    const auto& a = config_.augment;
    std::vector<std::vector<std::string>> rows = {
        {"what", "value"},
        {"data", fmt::format("{} ({})", config_.data.spec.path, config_.data.spec.format)},
        {"model", info_.model_title},
        {"views an image",
         fmt::format("{} = {} base + {} from the pool + {} mixed", a.views(), a.base, a.pool, a.mix)},
        {"expected batch size", thousands(config_.train.expected_batch_size)},
        {"optimizer", fmt::format("{}, learning rate {:g}", config_.train.optimizer.name,
                                  config_.train.learning_rate.peak)},
        {"seed of the initial weights", std::to_string(config_.train.seed)},
        {"config", config_hash(config_).substr(0, 16)},
        {"plan", info_.plan_hash.substr(0, 16)}};
    const std::filesystem::path path = options_.run / "summary.json";
    const Json summary = path_exists(path) ? Json::parse(read_file(path), nullptr, false) : Json();
    if (summary.is_object() && summary.value("steps_done", int64_t{-1}) == info_.step) {
      if (summary.contains("parameters")) rows.push_back({"parameters", thousands(summary["parameters"])});
      rows.push_back({"device", summary.value("device", "") + ", " + summary.value("precision", "")});
      rows.push_back(
          {"last session", duration_text(summary.value("seconds", 0.0)) + ", " +
                               thousands(static_cast<int64_t>(summary.value("views_per_second", 0.0))) +
                               " views/s"});
      rows.push_back({"memory at most", bytes_text(summary.value("peak_memory_bytes", 0.0))});
    }
    body_ += table_html(rows);
  }

  void not_private() {
    section("What the guarantee does not cover");
    body_ += "<ul>\n";
    for (const char* line :
         {"Accuracy and the table of labels are computed on test images (or, with data.validation, on "
          "training "
          "images that were held out), without noise. Nobody in them is protected here.",
          "Time and memory of the run depend on how many images were drawn. They are not private.",
          "The guarantee is about taking part, not about what is true of everybody: a model may learn, and "
          "tell, what "
          "holds whether or not one person was there.",
          "That the program does what it says is checked by pergrad audit, and by reading dp/README.md."})
      body_ += "<li>" + escaped(line) + "</li>\n";
    body_ += "</ul>\n";
  }

  const ReportOptions& options_;
  Console& console_;
  Config config_;
  std::vector<Json> metrics_;
  CheckpointInfo info_;
  bool private_ = true, averaged_ = false;
  dp::PrivacyCost cost_;
  std::vector<dp::Phase> phases_;
  std::optional<Dataset> test_;
  std::string test_missing_;
  std::vector<int64_t> confusion_;
  std::string body_;
  Json json_;
};

}  // namespace

ReportResult report(const ReportOptions& options, Console& console) {
  return Report(options, console).make();
}

}  // namespace pergrad::apps
