// The explanation, in the order of a step. Every number comes out of the classes that train; what is only
// said about them (densities, differences) is computed here.
#include "apps/explain.h"

#include "apps/atomic_file.h"
#include "apps/planning.h"
#include "apps/scratch_folder.h"
#include "apps/view_text.h"
#include "augment/view_source.h"
#include "core/error.h"
#include "dp/accountant.h"
#include "dp/clip_kernels.h"
#include "dp/ledger.h"
#include "dp/mechanism.h"
#include "dp/sampler.h"
#include "dp/step.h"
#include "layers/model_gradients.h"
#include "layers/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kExample = R"(
[data]
format = "idx"
path = "four made-up images"
mean = [0.5]
std = [0.25]
[model]
name = "linear"
[augment]
base = 2
mix = 1
crop_padding = 1
flip = true
[privacy]
noise_multiplier = 1.0
delta = 1e-3
clip_norm = 1.0
[train]
expected_batch_size = 2
steps = 10
learning_rate = 0.5
seed = 1
)";
constexpr int64_t kExamples = 4;  // and one more in the last section
constexpr int64_t kSide = 2, kLabels = 2;

// Light above, dark below, and the other way round; number 2 has little contrast, number 4 is like no other.
Dataset made_up(int64_t examples) {
  constexpr uint8_t kPixels[][kSide * kSide] = {
      {230, 200, 30, 10}, {20, 40, 220, 240}, {140, 130, 124, 118}, {10, 60, 200, 190}, {255, 0, 255, 0}};
  constexpr int32_t kLabelOf[] = {0, 1, 0, 1, 1};
  Dataset data;
  data.name = "made up";
  data.height = data.width = kSide;
  data.channels = 1;
  data.label_count = kLabels;
  data.label_names = {"light above", "light below"};
  for (int64_t id = 0; id < examples; ++id) {
    data.pixels.insert(data.pixels.end(), std::begin(kPixels[id]), std::end(kPixels[id]));
    data.labels.push_back(kLabelOf[id]);
  }
  data.fingerprint = dataset_fingerprint(data);
  return data;
}

Config asked_config(const ExplainOptions& options) {
  Config c = options.config.empty() ? parse_config(kExample, "the example", options.changes)
                                    : load_config(options.config, options.changes);
  PG_CHECK(!c.privacy.non_private, "explain: the config is non-private: there is nothing to explain");
  PG_CHECK(c.privacy.units == "example", "explain: privacy.units is \"", c.privacy.units,
           "\", wanted \"example\"");
  return c;
}

// As much of it as fits on a screen.
Config shown_config(const Config& asked) {
  Config c = asked;
  c.data = parse_config(kExample, "the example").data;
  c.data.examples = kExamples + 1;  // what the public knows: at most so many
  c.pool = {};
  c.augment.base = std::clamp<int64_t>(c.augment.base, 1, 2);
  c.augment.pool = 0;
  c.augment.mix = c.augment.base < 2 ? 0 : std::min<int64_t>(c.augment.mix, 2);
  c.augment.effects.cutout = std::min<int64_t>(c.augment.effects.cutout, 1);
  c.augment.crop_padding = std::min<int64_t>(c.augment.crop_padding, 1);
  c.model = {};
  c.model.name = "linear";
  c.train.expected_batch_size = 2;
  c.noise_source = "reproducible";  // the same numbers at every call
  return c;
}

template <class T>
std::string numbers(std::span<const T> values, const char* format = "{:8.4f}") {
  std::string text;
  for (T value : values) text += ' ' + fmt::format(fmt::runtime(format), value);
  return text;
}

template <class T>
std::vector<T> copied(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  return {values.begin(), values.end()};
}

double norm_of(std::span<const double> v) {
  double squares = 0;
  for (double x : v) squares += x * x;
  return std::sqrt(squares);
}

// What one unit contributes: everything between its views and the sum.
struct Contribution {
  int64_t id = 0;
  float loss = 0;                // mean over the views
  std::vector<float> gradient;   // [P]
  double norm = 0, scale = 0;    // L2 norm; what the clip multiplies by, clip_norm / max(clip_norm, norm)
  std::vector<int64_t> on_grid;  // [P], in units of clip_norm 2^-F
};

// A data set with all that a step needs of it.
class World {
 public:
  World(const Config& config, const dp::Plan& plan, const Key& key, int64_t examples)
      : data_(made_up(examples)),
        plan_(plan),
        sampler_(plan, key, examples),
        views_(data_, config.augment, normalisation(config), derive_key(key, "augment"), nullptr, CpuExec{1}),
        model_(config.model, {kSide, kSide, 1}, kLabels),
        gradients_(started(config.train.seed), CpuExec{1}) {}

  std::vector<int64_t> who_joins(int64_t step) const {
    std::vector<int64_t> ids;
    for (const Unit& unit : sampler_.draw(step)) ids.push_back(unit.ids.front());
    return ids;
  }
  Contribution contribution(int64_t id, int64_t step) {
    const std::vector<Unit> unit = {{{id}}};
    std::vector<float> losses;
    PerExampleGradient row = gradients_.rows(views_.views(unit, step), &losses);
    Contribution c;
    c.id = id;
    c.loss = losses.front();
    c.gradient = copied<float>(row.slab());
    const double squares = dp::squares_of_row(c.gradient.data(), row.parameters());
    c.norm = std::sqrt(squares);
    c.scale = std::ldexp(dp::grid_scale(squares, row.parameters(), plan_->clip_norm, plan_->grid_bits),
                         -plan_->grid_bits) *
              plan_->clip_norm;
    dp::ClippedSum own(plan_, row.parameters());
    dp::clip_and_sum(std::move(row), plan_, own);
    c.on_grid.assign(own.nonprivate_values().begin(), own.nonprivate_values().end());
    return c;
  }
  // All who join, clipped and summed at once, as private_step does.
  std::vector<int64_t> sum(int64_t step) {
    const dp::ClippedSum sum = dp::clipped_sum(sampler_.draw(step), views_, gradients_, plan_, step,
                                               std::max<int64_t>(1, data_.size()), CpuExec{1});
    return {sum.nonprivate_values().begin(), sum.nonprivate_values().end()};
  }

  const Dataset& data() const { return data_; }
  const dp::PoissonSampler& sampler() const { return sampler_; }
  augment::ViewSource& views() { return views_; }
  Model& model() { return model_; }
  ModelGradients& gradients() { return gradients_; }

 private:
  Model& started(uint64_t seed) {
    model_.parameters().allocate(DType::f32, key_from_text(concat("initial weights ", seed)));
    return model_;
  }
  Dataset data_;
  dp::Plan plan_;
  dp::PoissonSampler sampler_;
  augment::ViewSource views_;
  Model model_;
  ModelGradients gradients_;
};

class Explanation {
 public:
  explicit Explanation(const ExplainOptions& options)
      : asked_(asked_config(options)),
        config_(shown_config(asked_)),
        key_(key_from_text(concat("pergrad explain ", config_.train.seed))),
        plan_(plan_of(config_, kExamples, kSide * kSide * kLabels + kLabels)),
        world_(config_, plan_, key_, kExamples),
        larger_(config_, plan_, key_, kExamples + 1),
        unit_(std::ldexp(plan_->clip_norm, -plan_->grid_bits)) {}

  ExplainResult make() {
    data();
    plan();
    sampling();
    views();
    gradients();
    clipping();
    sum();
    release();
    update();
    neighbour();
    return {json_, text_};
  }

 private:
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...) + '\n';
  }
  void chapter(const std::string& title, const std::string& where) {
    say("\n{}. {}   [{}]", ++chapter_, title, where);
  }

  void data() {
    say("One step of DP-SGD with every number, on {} made-up images of 2x2 grey pixels.", kExamples);
    const std::string smaller = reductions();
    if (!smaller.empty()) say("Made small enough to read: {}.", smaller);
    chapter("The data", "core/dataset.h");
    for (int64_t id = 0; id < kExamples; ++id) {
      say("  example {}   pixels{}   label {} ({})", id, numbers(world_.data().image(id), "{:3d}"),
          world_.data().labels[id], world_.data().label_names[world_.data().labels[id]]);
      json_["examples"].push_back({{"pixels", copied_bytes(id)}, {"label", world_.data().labels[id]}});
    }
    say("  A pixel b enters as (b / 255 - {:g}) / {:g}; these two numbers are public, not computed from the "
        "data.",
        config_.data.mean[0], config_.data.deviation[0]);
  }
  // What was asked for and is shown smaller.
  std::string reductions() const {
    std::string text;
    const auto add = [&](const char* key, const auto& asked, const auto& shown) {
      if (asked != shown)
        text += fmt::format("{}{} {} instead of {}", text.empty() ? "" : ", ", key, shown, asked);
    };
    const augment::AugmentSettings &a = asked_.augment, &b = config_.augment;
    add("base", a.base, b.base);
    add("pool", a.pool, b.pool);
    add("mix", a.mix, b.mix);
    add("cutout", a.effects.cutout, b.effects.cutout);
    add("crop_padding", a.crop_padding, b.crop_padding);
    add("expected_batch_size", asked_.train.expected_batch_size, config_.train.expected_batch_size);
    add("model", asked_.model.name, config_.model.name);
    return text;
  }
  std::vector<int> copied_bytes(int64_t id) const {
    const auto image = world_.data().image(id);
    return {image.begin(), image.end()};
  }

  void plan() {
    chapter("The plan: everything that is promised, before anything happens", "dp/plan.h");
    const dp::PrivacyCost all = dp::planned_cost(plan_, parameters());
    const dp::PrivacyCost one = dp::cost_of({{plan_.effective_noise_multiplier(), plan_->sampling_rate, 1,
                                              parameters(), plan_.noise_std_on_grid()}},
                                            plan_->delta);
    say("  sampling rate q      {:g}   an example joins a step with this probability (at most {} examples, "
        "{:g} expected)",
        plan_->sampling_rate, plan_->max_examples, plan_->expected_batch);
    say("  clip norm C          {:g}", plan_->clip_norm);
    say("  noise multiplier     {:g}   the noise on the sum has standard deviation {:g} = {:g} C",
        plan_->noise_multiplier, plan_->noise_multiplier * plan_->clip_norm, plan_->noise_multiplier);
    say("  divisor              {:g}   the expected batch, a constant; never the true one", plan_.divisor());
    say("  cost at delta {:g}   epsilon {:.4f} for this step, {:.4f} for all {} steps of the plan",
        plan_->delta, one.epsilon_upper, all.epsilon_upper, plan_->steps);
    say("  plan hash            {}", plan_.hash());
    json_["plan"] = {{"sampling_rate", plan_->sampling_rate},
                     {"clip_norm", plan_->clip_norm},
                     {"noise_multiplier", plan_->noise_multiplier},
                     {"divisor", plan_.divisor()},
                     {"delta", plan_->delta},
                     {"epsilon_of_one_step", one.epsilon_upper},
                     {"epsilon_of_all_steps", all.epsilon_upper},
                     {"steps", plan_->steps},
                     {"plan_hash", plan_.hash()}};
  }

  void sampling() {
    chapter("Who joins: a coin for every example and step", "dp/sampler.h");
    say("  Each draws a 64-bit word and joins if it is below q 2^64 = {}.", plan_.threshold_text());
    const int64_t shown = std::min<int64_t>(6, plan_->steps);
    // The step that is explained: the first in which two or more join, and the newcomer of the end does, too.
    while (step_ + 1 < plan_->steps && !(world_.who_joins(step_).size() >= 2 && newcomer_joins(step_)))
      ++step_;
    for (int64_t step = 0; step < std::max(shown, step_ + 1); ++step) {
      std::string line;
      for (int64_t id : world_.who_joins(step)) line += fmt::format(" {}", id);
      say("  step {:2}  {}{}", step, line.empty() ? " nobody: noise is released all the same" : line,
          step == step_ ? "     <- explained below, from the weights at the start" : "");
    }
    say("  Nobody sees who joined, or how many.");
    json_["step"] = step_;
    json_["joined"] = world_.who_joins(step_);
  }

  void views() {
    chapter("Views: each example alone becomes its own small batch", "augment/augmenter.h");
    const std::vector<Unit> units = world_.sampler().draw(step_);
    if (units.empty()) return say("  nobody joined");
    augment::ViewPlan recipes;
    world_.views().draw(units, step_, recipes);
    const ExampleBatch batch = world_.views().views(units, step_);
    const auto images = batch.images.values<float>(), targets = batch.targets.values<float>();
    for (size_t n = 0; n < units.size(); ++n) {
      Json list = Json::array();
      for (int64_t v = 0; v < batch.views(); ++v) {
        const size_t view = n * static_cast<size_t>(batch.views()) + static_cast<size_t>(v);
        const auto image = images.subspan(view * kSide * kSide, kSide * kSide);
        const auto target = targets.subspan(view * kLabels, kLabels);
        const std::string recipe = view_text(recipes.recipes[view], config_.augment.crop_padding);
        say("  example {} view {}   pixels{}   target{}   {}", units[n].ids[0], v,
            numbers<float>(image, "{:7.3f}"), numbers<float>(target, "{:5.3f}"), recipe);
        list.push_back({{"pixels", std::vector<float>(image.begin(), image.end())},
                        {"target", std::vector<float>(target.begin(), target.end())},
                        {"recipe", recipe}});
      }
      json_["views"].push_back({{"example", units[n].ids[0]}, {"views", list}});
    }
    say("  A mix joins views of one example. No call takes two private examples.");
  }

  void gradients() {
    chapter("Per-example gradients: the mean over the views, kept apart by example", "autograd/tape.h");
    say("  Model: logits = x W + b, W [4, 2] and b [2]: {} parameters, all 0 at the start: both labels have "
        "probability 1/2.",
        parameters());
    say("  For each view, dloss/dW = x (p - target) and dloss/db = p - target; then the mean over the "
        "views.");
    for (int64_t id : world_.who_joins(step_)) parts_.push_back(world_.contribution(id, step_));
    for (const Contribution& c : parts_) {
      say("  example {}   mean loss {:.4f}   gradient{}", c.id, c.loss,
          numbers<float>(c.gradient, "{:7.3f}"));
      json_["gradients"].push_back({{"example", c.id}, {"loss", c.loss}, {"gradient", c.gradient}});
    }
  }

  void clipping() {
    chapter("The clip: nobody counts for more than C", "dp/clip_kernels.h");
    say("  g is multiplied by C / max(C, ||g||), then cut toward zero onto a grid of steps C 2^-{} = {:.3g}.",
        plan_->grid_bits, unit_);
    for (const Contribution& c : parts_) {
      say("  example {}   ||g|| {:7.4f}   factor {:6.4f}   in grid steps {}, {}, ...", c.id, c.norm, c.scale,
          c.on_grid[0], c.on_grid[1]);
      say("              norm after the clip {:.12f} C{}", norm_of(in_units(c.on_grid)) / plan_->clip_norm,
          c.norm > plan_->clip_norm ? "   (at most C, exactly: integers, cut toward zero)"
                                    : "   (not clipped)");
      json_["clipped"].push_back(
          {{"example", c.id}, {"norm", c.norm}, {"factor", c.scale}, {"on_grid", c.on_grid}});
    }
  }

  void sum() {
    chapter("The sum: the one place where examples meet", "dp/clip_and_sum.h");
    sum_ = world_.sum(step_);
    std::vector<int64_t> added(sum_.size(), 0);
    for (const Contribution& c : parts_)
      for (size_t i = 0; i < added.size(); ++i) added[i] += c.on_grid[i];
    PG_CHECK(added == sum_, "explain: the sum of the parts is not the sum");
    say("  sum        {}", numbers<double>(in_units(sum_)));
    say("  Integers: in any order, in chunks of any size, on any device the same to the last bit. Still "
        "private.");
    json_["nonprivate_sum"] = sum_;
  }

  void release() {
    chapter("The release: recorded, then noised, then divided", "dp/mechanism.h");
    const std::string file = scratch_.path() / "ledger.jsonl";
    {
      dp::Ledger ledger(file, plan_);
      dp::GaussianMechanism mechanism(plan_, key_, ledger);
      const dp::PrivateGradient gradient = dp::private_step(
          world_.sampler(), world_.views(), world_.gradients(), mechanism, step_, kExamples, CpuExec{1});
      released_ = copied<float>(gradient.values());
    }
    const std::string lines = read_file(file);
    const std::string line = lines.substr(lines.find('\n') + 1);
    say("  Ledger, on the disk before the first bit of noise is drawn:\n  {}",
        line.substr(0, line.size() - 1));
    const std::vector<double> before = in_units(sum_);
    std::vector<double> noise;
    for (size_t i = 0; i < before.size(); ++i)
      noise.push_back(static_cast<double>(released_[i]) * plan_.divisor() - before[i]);
    say("  sum        {}", numbers<double>(before));
    say("  noise      {}   discrete Gaussian, an independent one for each number", numbers<double>(noise));
    say("  / {:<8g} {}   the private gradient: the first numbers that anyone may see", plan_.divisor(),
        numbers<float>(released_));
    json_["ledger_line"] = Json::parse(line);
    json_["nonprivate_noise"] = noise;
    json_["private_gradient"] = released_;
  }

  void update() {
    chapter("The update: from here on nothing costs privacy", "layers/optimizer.h");
    const double rate = config_.train.learning_rate.at(step_);
    Parameters& parameters = world_.model().parameters();
    const std::vector<float> before = copied<float>(parameters.flat());
    Tensor gradient = Tensor::empty({static_cast<int64_t>(released_.size())}, DType::f32);
    std::ranges::copy(released_, gradient.data<float>());
    make_optimizer(optimizer_settings(config_, 0), parameters.size())->step(parameters, gradient, rate);
    const std::vector<float> after = copied<float>(parameters.flat());
    say("  weights    {}", numbers<float>(before));
    say("  - {:g} times the private gradient", rate);
    say("  weights    {}", numbers<float>(after));
    json_["weights"] = {{"before", before}, {"after", after}, {"learning_rate", rate}};
  }

  void neighbour() {
    chapter("What if there had been a fifth example?", "tests/privacy");
    say("  example 4   pixels{}   label 1", numbers(larger_.data().image(kExamples), "{:3d}"));
    const std::vector<int64_t> with = larger_.sum(step_);
    const Contribution c = larger_.contribution(kExamples, step_);
    const bool joins = newcomer_joins(step_);
    std::vector<int64_t> difference(with.size());
    for (size_t i = 0; i < with.size(); ++i) difference[i] = with[i] - sum_[i];
    PG_CHECK(!joins || difference == c.on_grid, "explain: the newcomer moved what others add");
    say("  Everybody else draws the same coins and the same views, and adds the same integers, bit for bit.");
    say("  {} in this step. The sum {}.", joins ? "It joins" : "It does not join",
        joins ? "moves by its clipped gradient and by nothing else" : "is the same");
    const std::vector<double> moved = in_units(difference);
    say("  difference {}   norm {:.4f} <= C = {:g}", numbers<double>(moved), norm_of(moved),
        plan_->clip_norm);
    // log density of what was released with the newcomer's gradient in the sum, minus that without:
    // (2 <noise, v> - ||v||^2) / (2 sigma^2 C^2); the sampler's coin makes it a mixture.
    const std::vector<double> v = in_units(c.on_grid), before = in_units(sum_);
    double dot = 0;
    for (size_t i = 0; i < v.size(); ++i)
      dot += v[i] * (static_cast<double>(released_[i]) * plan_.divisor() - before[i]);
    const double deviation = plan_->noise_multiplier * plan_->clip_norm;
    const double certain = (2 * dot - norm_of(v) * norm_of(v)) / (2 * deviation * deviation);
    const double q = plan_->sampling_rate, loss = std::log1p(q * std::expm1(certain));
    say("  Whoever sees the private gradient asks in which of the two worlds it is likelier. Its density "
        "with the\n"
        "  newcomer is exp({:+.4f}) times that without, had it joined for certain; as it tosses a coin,\n"
        "  log(1 - q + q exp({:+.4f})) = {:+.4f} is the privacy loss of this very outcome.",
        certain, certain, loss);
    say("  Epsilon bounds that loss, but for outcomes of probability delta: over all outcomes and all data "
        "sets, for\n"
        "  one step and then for {} of them together (chapter 2).",
        plan_->steps);
    json_["neighbour"] = {{"joins", joins},
                          {"difference", difference},
                          {"norm_of_difference", norm_of(moved)},
                          {"privacy_loss", loss}};
  }

  bool newcomer_joins(int64_t step) const {
    return std::ranges::count(larger_.who_joins(step), kExamples) > 0;
  }
  int64_t parameters() { return world_.model().parameters().size(); }
  std::vector<double> in_units(const std::vector<int64_t>& on_grid) const {
    std::vector<double> values;
    for (int64_t q : on_grid) values.push_back(static_cast<double>(q) * unit_);
    return values;
  }

  Config asked_;   // as the file and the flags say
  Config config_;  // as it is shown
  Key key_;
  dp::Plan plan_;
  World world_, larger_;
  double unit_;  // of the grid, in gradient units
  ScratchFolder scratch_;
  int chapter_ = 0;
  int64_t step_ = 0;
  std::vector<Contribution> parts_;  // of those who join
  std::vector<int64_t> sum_;
  std::vector<float> released_;
  Json json_;
  std::string text_;
};

}  // namespace

ExplainResult explain(const ExplainOptions& options) { return Explanation(options).make(); }

}  // namespace pergrad::apps
