// train: plugs the floors together. What decides the guarantee is in dp/; here are order, files and
// progress.
#include "apps/train.h"

#include "apps/atomic_file.h"
#include "apps/budget.h"
#include "apps/checkpoint.h"
#include "apps/compute.h"
#include "apps/planning.h"
#include "apps/row_watch.h"
#include "apps/run_folder.h"
#include "apps/scoring.h"
#include "apps/shuffled_batches.h"
#include "apps/train_summary.h"
#include "apps/training_data.h"
#include "augment/view_source.h"
#include "dp/accountant.h"
#include "dp/mechanism.h"
#include "dp/nonprivate.h"
#include "dp/sampler.h"
#include "dp/step.h"
#include "layers/coordinates.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <limits>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t interrupted = 0;  // set by the first SIGINT or SIGTERM: stop after this step

// While it lives, the first interrupt ends the training after the step in flight; a second one ends the
// program.
class InterruptGuard {
 public:
  InterruptGuard() {
    interrupted = 0;
    for (int signal : {SIGINT, SIGTERM}) {
      struct sigaction action {};
      action.sa_handler = [](int) { interrupted = 1; };
      action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
      sigaction(signal, &action, nullptr);
    }
  }
  ~InterruptGuard() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  }
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Json bound_json(double epsilon) { return std::isfinite(epsilon) ? Json(epsilon) : Json("inf"); }

// "fashion-mnist" of "fashion-mnist (train)".
std::string dataset_name(const Dataset& train) { return train.name.substr(0, train.name.rfind(" (")); }

// Everything that a run consists of, in the order in which it is made.
class Training {
 public:
  Training(const TrainOptions& options, Console& console)
      : options_(options),
        console_(console),
        asked_(load_config(options.config, options.changes)),
        exec_(exec_of(asked_.speed.threads)),
        split_(load_data()),
        config_(final_config()),
        private_(!config_.privacy.non_private),
        pool_(load_public_pool(config_, split_.train, options_.data_root, progress_on(console_))),
        normalisation_(normalisation(config_)),
        compute_plan_(plan()),
        model_(config_.model, image(), split_.train.label_count, compute_plan_.device, compute_plan_.conv),
        folder_(open_folder()),
        key_(folder_.run_key(split_.train.fingerprint)),
        shuffled_(derive_key(key_, "shuffle"), split_.train.size(), config_.train.expected_batch_size),
        views_(split_.train, config_.augment, normalisation_, derive_key(key_, "augment"),
               pool_ ? &*pool_ : nullptr, exec_, microbatches()),
        compute_(compute_plan_, prepare_model(), views_, split_.train, pool_ ? &*pool_ : nullptr, exec_),
        ema_(model_.parameters().flat(), config_.train.ema_decay, config_.train.ema_warmup) {
    double noise_variance = 0;
    if (private_) {
      plan_.emplace(plan_of(config_, split_.train.size(), model_.parameters().size()));
      sampler_.emplace(*plan_, key_, split_.train.size());
      ledger_.emplace(folder_.ledger().string(), *plan_);
      mechanism_.emplace(*plan_, key_, *ledger_);
      budget_.emplace(*plan_, model_.parameters().size(), config_.privacy.epsilon, *ledger_,
                      folder_.ledger());
      mechanism_->before_release = [this](int64_t step, int64_t, const std::string& tag) {
        budget_->before_release(step, tag, mechanism_->sampler());
      };
      noise_variance =
          std::pow(plan_.value()->noise_multiplier * plan_.value()->clip_norm / plan_->divisor(), 2);
    }
    optimizer_ = make_optimizer(optimizer_settings(config_, noise_variance), model_.parameters().size(),
                                compute_plan_.device);
    if (options_.resume) resume();
  }

  TrainResult run() {
    if (options_.resume && step_ == config_.train.steps && finished_before()) return said_before();
    announce();
    folder_.keep();
    const InterruptGuard guard;
    const auto begin = Clock::now();
    const int64_t first = step_;
    const int64_t last =
        std::min(config_.train.steps,
                 options_.max_steps ? first + *options_.max_steps : std::numeric_limits<int64_t>::max());
    std::string stopped_by;
    while (step_ < last) {
      one_step(begin, first);
      ++step_;
      const bool finished = step_ == config_.train.steps;
      if (const int64_t every = config_.train.evaluate_every; every > 0 && step_ % every == 0 && !finished)
        evaluate_now();
      if (interrupted) stopped_by = "interrupted";
      if (options_.max_minutes && seconds_since(begin) >= 60 * *options_.max_minutes)
        stopped_by = "--max-minutes";
      const int64_t every = config_.train.checkpoint_every;
      if (finished || step_ == last || !stopped_by.empty() || (every > 0 && step_ % every == 0)) save();
      if (!stopped_by.empty()) break;
    }
    return finish(seconds_since(begin), step_ - first, stopped_by);
  }

 private:
  Split load_data() {
    if (!asked_.speed.where().is_cpu()) Gpu::of(asked_.speed.where());  // refuses one that is not there
    Split split = load_split(asked_, options_.data_root, progress_on(console_));
    for (const std::string& line : check_with_data(asked_, split.train.size())) console_.warning(line);
    return split;
  }
  // What is known only with the data: the config of a rehearsal.
  Config final_config() const {
    if (!options_.simulate) return asked_;
    const Dataset& train = split_.train;
    return rehearsal_of(asked_, *options_.simulate, train.size(),
                        parameter_count(asked_.model, image(), train.label_count));
  }
  RunFolder open_folder() const {
    if (!options_.resume)
      return RunFolder::create(
          options_.out.empty() ? default_run_folder(options_.config, config_.train.seed) : options_.out,
          config_);
    PG_CHECK(!options_.out.empty(), "--resume: say which run with --out DIR");
    const SpeedConfig before = read_run_config(options_.out).speed;
    if (before.device != config_.speed.device || before.computes_in() != config_.speed.computes_in())
      console_.warning(fmt::format(
          "the run was on {} in {}, now on {} in {}: steps since its last checkpoint are released anew, "
          "which is charged",
          before.device, text_of(before.computes_in()), config_.speed.device,
          text_of(config_.speed.computes_in())));
    return RunFolder::resume(options_.out, config_);
  }
  ImageShape image() const { return {split_.train.height, split_.train.width, split_.train.channels}; }
  ComputePlan plan() const {
    const augment::Microbatches units = microbatches();
    const augment::MicrobatchMixer mixer(units.mix, config_.augment.mix_alpha, config_.augment.fold_lambda);
    const int64_t views =
        std::max(config_.augment.views(), mixer.row_views(units.largest_unit, config_.augment.views()));
    const size_t images = split_.train.pixels.size() + (pool_ ? pool_->dataset().pixels.size() : 0);
    const int64_t labels = split_.train.label_count;
    return plan_compute(config_, image(), labels, parameter_count(config_.model, image(), labels), views,
                        images, exec_);
  }
  augment::Microbatches microbatches() const {
    if (!private_)
      return {ShuffledBatches::group_of(split_.train.size(), config_.train.expected_batch_size),
              augment::GroupMix::none};
    if (config_.privacy.units != "microbatch") return {};
    // The size of a bucket is about Poisson; this many is out of reach (probability below 1e-12).
    return {8 * config_.privacy.microbatch_size + 24, config_.privacy.microbatch_mix};
  }
  Model& prepare_model() {
    // Initial weights depend on the public seed alone: runs that are compared can start from the same ones.
    model_.parameters().allocate(DType::f32, key_from_text(concat("initial weights ", config_.train.seed)),
                                 compute_plan_.device);
    return model_;
  }

  void resume() {
    if (has_checkpoint(folder_.path())) {
      const CheckpointRead read =
          load_checkpoint(folder_.path(), model_.parameters(), ema_on() ? &ema_ : nullptr, optimizer_.get());
      if (!read.warning.empty()) console_.warning(read.warning);
      PG_CHECK(read.info.config_hash == config_hash(config_), shown(read.file), ": is of another config");
      PG_CHECK(read.info.dataset_tag == folder_.dataset_tag(), shown(read.file),
               ": is of other training data");
      if (private_) {
        PG_CHECK_AS(PrivacyError, read.info.plan_hash == plan_->hash(), shown(read.file),
                    ": is of another plan");
        PG_CHECK_AS(PrivacyError, read.info.ledger_head.empty() || ledger_->contains(read.info.ledger_head),
                    shown(folder_.ledger()), ": does not hold the release that ", shown(read.file),
                    " was made after: the ledger was cut or replaced");
      }
      step_ = read.info.step;
    }
    folder_.rewind_metrics(step_);
  }

  bool ema_on() const { return config_.train.ema_decay > 0; }

  void announce() {
    const Dataset& train = split_.train;
    console_.message(fmt::format("{}: {} training and {} test images of {}x{}x{}, {} classes",
                                 dataset_name(train), thousands(train.size()), thousands(split_.test.size()),
                                 train.height, train.width, train.channels, train.label_count));
    const auto& a = config_.augment;
    console_.message(fmt::format("{}: {} parameters; {} per example ({} base, {} pool, {} mixed)",
                                 model_.title(), thousands(model_.parameters().size()),
                                 a.views() == 1 ? "1 view" : fmt::format("{} views", a.views()), a.base,
                                 a.pool, a.mix));
    if (!compute_plan_.text.empty()) console_.message(compute_plan_.text);
    if (private_) {
      const dp::PrivacyCost& cost = budget_->planned();
      const auto& plan = *plan_;
      console_.message(
          fmt::format("guarantee: ({:.4f}, {:.3g})-differential privacy for adding or removing one {}, "
                      "noise multiplier {:.4f}, sampling rate {:.5f} (Poisson), {} steps, clip norm {:g}",
                      std::ceil(cost.epsilon_upper * 1e4) / 1e4, plan->delta,
                      plan.microbatches() ? "example (micro-batches: 2C)" : "example", plan->noise_multiplier,
                      plan->sampling_rate, thousands(plan->steps), plan->clip_norm));
      if (config_.data.examples == 0)
        console_.message(fmt::format("  the number of examples, {}, is taken as public (data.examples)",
                                     thousands(split_.train.size())));
      if (cost.epsilon_upper > 20)
        console_.warning(fmt::format("an epsilon of {:.3g} promises next to nothing", cost.epsilon_upper));
      if (config_.noise_source == "reproducible")
        console_.warning(
            "noise.source = \"reproducible\": whoever knows the seed and the data can subtract the noise");
      if (config_.train.simulated_batch_size > 0)
        console_.warning(fmt::format(
            "a rehearsal of a run with an expected batch of {}, at {}: same noise on the mean gradient, but "
            "this guarantee, not that run's",
            thousands(config_.train.simulated_batch_size), thousands(config_.train.expected_batch_size)));
    } else {
      console_.warning("--non-private: no clipping, no noise, no guarantee");
    }
    if (private_ && config_.data.validation > 0)
      console_.warning(
          "data.validation: scores are computed from the held-out training images without noise; nothing "
          "protects "
          "those images there");
    if (config_.log.nonprivate)
      console_.warning("log.nonprivate: metrics.jsonl will hold numbers that are not private (nonprivate_*)");
    console_.message(fmt::format("run folder: {}{}", shown(folder_.path()),
                                 step_ > 0 ? fmt::format(", going on after step {}", thousands(step_)) : ""));
  }

  void one_step(Clock::time_point begin, int64_t first) {
    const bool log =
        config_.log.every > 0 && (step_ % config_.log.every == 0 || step_ + 1 == config_.train.steps);
    const double rate = config_.train.learning_rate.at(step_);
    Json line{{"step", step_}, {"learning_rate", rate}};
    if (private_) {
      budget_->before_step();
      const bool look = config_.log.nonprivate && log;
      RowWatch watch(compute_.gradients(), look, look);
      const dp::PrivateGradient gradient = dp::private_step(
          *sampler_, compute_.examples(), watch, *mechanism_, step_, compute_plan_.chunk_rows, exec_);
      optimizer_->step(model_.parameters(), gradient.values(), rate);
      check_finite();
      if (look) {
        const dp::NonprivateClipStats stats(watch.nonprivate_squares(), plan_.value()->clip_norm);
        const auto rows = static_cast<double>(std::max<int64_t>(1, stats.nonprivate_rows));
        line["nonprivate_loss"] = watch.nonprivate_loss() / rows;
        line["nonprivate_batch_size"] = stats.nonprivate_rows;
        line["nonprivate_clip_rate"] = static_cast<double>(stats.nonprivate_clipped_rows) / rows;
        line["nonprivate_mean_norm"] = stats.nonprivate_norm_sum / rows;
        line["nonprivate_norm_counts"] = stats.nonprivate_norm_counts;
      }
    } else {
      RowWatch watch(compute_.gradients(), log, false);
      const std::vector<Unit> units = shuffled_.draw(step_);
      const dp::NonPrivateGradient gradient =
          dp::nonprivate_step(units, compute_.examples(), watch, step_, compute_plan_.chunk_rows, exec_);
      optimizer_->step(model_.parameters(), gradient.values(), rate);
      check_finite();
      if (log) line["nonprivate_loss"] = watch.nonprivate_loss() / static_cast<double>(units.size());
    }
    if (ema_on()) ema_.update(model_.parameters().flat());
    const double elapsed = seconds_since(begin);
    if (log) {
      if (private_) line["epsilon"] = bound_json(budget_->spent().epsilon_upper);
      // How long a step took tells how many examples were drawn.
      if (config_.log.nonprivate || !private_) line["nonprivate_seconds"] = std::round(elapsed * 1000) / 1000;
      folder_.append_metrics(line);
    }
    if (console_.due()) {
      const auto done = static_cast<double>(step_ + 1 - first);
      const double left = elapsed / done * static_cast<double>(config_.train.steps - step_ - 1);
      console_.progress(fmt::format(
          "step {}/{} | {} views/s | {} left{}{}", thousands(step_ + 1), thousands(config_.train.steps),
          thousands(static_cast<int64_t>(done * views_a_step() / std::max(elapsed, 1e-3))),
          duration_text(left),
          private_ ? fmt::format(" | epsilon {:.3f} of {:.3f}", budget_->spent().epsilon_upper,
                                 budget_->planned().epsilon_upper)
                   : "",
          last_score_ ? fmt::format(" | test accuracy {:.2f} %", 100 * *last_score_) : ""));
    }
  }

  double views_a_step() const {
    return static_cast<double>(config_.train.expected_batch_size * config_.augment.views());
  }

  // The weights are released: looking at them costs nothing.
  void check_finite() const {
    PG_CHECK(all_finite(model_.parameters().flat()), "training diverged in step ", step_,
             ": a weight is not finite; lower train.learning_rate");
  }

  // Whether summary.json was written at the end. A kill between the last checkpoint and the summary leaves
  // that of an earlier stop, whose epsilon is smaller.
  bool finished_before() const {
    const std::filesystem::path path = folder_.path() / "summary.json";
    if (!path_exists(path)) return false;
    const Json summary = Json::parse(read_file(path), nullptr, false);
    return summary.is_object() && summary.contains("steps_done") && summary["steps_done"] == step_;
  }
  // Nothing is left to do: say again what was said then.
  TrainResult said_before() {
    return {Json::parse(read_file(folder_.path() / "summary.json")),
            fmt::format("all {} steps were done before; see {}\n", thousands(step_), shown(folder_.path()))};
  }

  void evaluate_now() {
    const Score raw = score_of(model_, split_.test, normalisation_, exec_, progress_on(console_));
    Json line{{"step", step_ - 1},
              {"test_accuracy", raw.accuracy()},
              {"test_loss", raw.loss / static_cast<double>(std::max<int64_t>(1, raw.images))}};
    last_score_ = raw.accuracy();
    if (ema_on()) {
      last_score_ =
          score_with(model_, ema_.values(), split_.test, normalisation_, exec_, progress_on(console_))
              .accuracy();
      line["test_accuracy_ema"] = *last_score_;
    }
    folder_.append_metrics(line);
  }

  void save() {
    folder_.sync_metrics();
    CheckpointInfo info;
    info.config_hash = config_hash(config_);
    Config result_only = config_;  // what never changes the result is no part of it
    result_only.speed = {};
    result_only.log = {};
    info.config_toml = resolved_toml(result_only);
    info.plan_hash = private_ ? plan_->hash() : "";
    info.dataset_tag = folder_.dataset_tag();
    info.ledger_head = private_ ? ledger_->head() : "";
    info.model_title = model_.title();
    info.class_names = split_.train.label_names;
    info.height = model_.image().height;
    info.width = model_.image().width;
    info.channels = model_.image().channels;
    info.labels = model_.labels();
    info.step = step_;
    info.has_ema = ema_on();
    save_checkpoint(folder_.path(), info, model_.parameters(), ema_on() ? &ema_ : nullptr, optimizer_.get());
  }

  TrainResult finish(double seconds, int64_t steps, const std::string& stopped_by) {
    const Score raw = score_of(model_, split_.test, normalisation_, exec_, progress_on(console_));
    const double averaged = ema_on() ? score_with(model_, ema_.values(), split_.test, normalisation_, exec_,
                                                  progress_on(console_))
                                           .accuracy()
                                     : raw.accuracy();
    if (!std::isfinite(raw.loss))
      console_.warning(
          "the loss on the test set is not finite: training diverged; lower train.learning_rate");
    const double views_per_second = static_cast<double>(steps) * views_a_step() / std::max(seconds, 1e-3);
    Json summary{{"test_accuracy", raw.accuracy()}, {"test_accuracy_ema", averaged}};
    if (private_) {
      const dp::PrivacyCost cost = dp::spent_cost(folder_.ledger().string(), plan_.value()->delta);
      summary["epsilon"] = {{"lower", bound_json(cost.epsilon_lower)},
                            {"upper", bound_json(cost.epsilon_upper)}};
      summary["rdp_epsilon"] = bound_json(cost.rdp_epsilon);
      summary["delta"] = plan_.value()->delta;
      summary["noise_multiplier"] = plan_.value()->noise_multiplier;
      summary["sampling_rate"] = plan_.value()->sampling_rate;
    } else {
      summary["epsilon"] = "inf";
      summary["delta"] = config_.privacy.delta;
      summary["noise_multiplier"] = 0.0;
      summary["sampling_rate"] = sampling_rate(config_, split_.train.size());
    }
    summary["expected_batch_size"] = config_.train.expected_batch_size;
    if (config_.train.simulated_batch_size > 0)
      summary["simulated_batch_size"] = config_.train.simulated_batch_size;
    summary["steps"] = config_.train.steps;
    summary["steps_done"] = step_;
    summary["parameters"] = model_.parameters().size();
    // With a public N the true number stays in: it tells whether one record is there.
    summary["train_examples"] = config_.data.examples > 0 ? config_.data.examples : split_.train.size();
    summary["test_examples"] = split_.test.size();
    summary["test_set"] = config_.data.validation > 0 ? "validation" : "test";
    summary["views_per_example"] = config_.augment.views();
    summary["seconds"] = seconds;
    summary["views_per_second"] = views_per_second;
    summary["peak_memory_bytes"] = peak_memory_bytes();
    summary["device"] = compute_plan_.device.name();
    summary["precision"] = text_of(compute_plan_.precision);
    if (!compute_plan_.device.is_cpu()) summary["device_memory_bytes"] = compute_plan_.device_bytes;
    summary["dataset"] = dataset_name(split_.train);
    summary["model"] = model_.title();
    summary["adjacency"] = "add_remove";
    summary["noise_source"] = private_ ? config_.noise_source : "none";
    if (private_)
      summary["guarantee_holds_against"] =
          config_.noise_source == "secure" ? "anyone without run.key" : "anyone who does not know the seed";
    summary["nonprivate_log"] = config_.log.nonprivate;
    summary["run_folder"] = folder_.path().string();
    summary["config_hash"] = config_hash(config_);
    summary["plan_hash"] = private_ ? plan_->hash() : "";
    summary["version"] = PG_VERSION;
    if (config_.has_pool()) summary["pool_provenance"] = pool_->provenance();
    folder_.write_summary(summary);
    return {summary, text_of_summary(summary, ema_on(), stopped_by)};
  }

  const TrainOptions& options_;
  Console& console_;
  Config asked_;  // as the file and the flags say
  CpuExec exec_;
  Split split_;
  Config config_;  // as it is trained: the same, or a rehearsal of it
  bool private_;
  std::optional<augment::PublicPool> pool_;
  augment::Normalisation normalisation_;
  ComputePlan compute_plan_;
  Model model_;
  RunFolder folder_;
  Key key_;
  ShuffledBatches shuffled_;
  augment::ViewSource views_;
  Compute compute_;
  Ema ema_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<dp::Plan> plan_;
  std::optional<dp::PoissonSampler> sampler_;
  std::optional<dp::Ledger> ledger_;
  std::optional<dp::GaussianMechanism> mechanism_;
  std::optional<Budget> budget_;
  std::optional<double> last_score_;
  int64_t step_ = 0;  // updates done
};

}  // namespace

TrainResult train(const TrainOptions& options, Console& console) {
  Training training(options, console);
  TrainResult result = training.run();
  console.clear();
  return result;
}

}  // namespace pergrad::apps
