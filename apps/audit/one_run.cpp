// Rung e: one real training run with canaries that joined by a coin, and how well its releases tell which.
//
// Canary i is a record of its own whose gradient is 20 C at one coordinate of its own: what the clip leaves
// of it is C there. It is in the data or not, by a fair coin. All else is the program's: model, images,
// views, sampler, clip, mechanism, ledger, optimizer. Who sees the releases adds up each canary's coordinate
// over the steps, calls the largest "in" and the smallest "out", and says nothing about the rest.
#include "apps/audit/one_run_bounds.h"
#include "apps/audit/parts.h"
#include "apps/audit/rungs.h"
#include "apps/planning.h"
#include "augment/view_source.h"
#include "core/row_memory.h"
#include "core/exec_rows.h"
#include "core/philox.h"
#include "dp/accountant.h"
#include "dp/accounting/accountant.h"
#include "dp/mechanism.h"
#include "dp/sampler.h"
#include "dp/step.h"
#include "layers/model_gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

namespace pergrad::audit {
namespace {

constexpr float kBeforeClip = 20;  // norm of a canary's gradient, in clip norms
// q sqrt(T) / sigma that is aimed at. The bounds below prove at most an epsilon of about 4.5 from two
// thousand guesses at the audit's level: a run that promises less than that can be caught breaking its
// promise.
constexpr double kLook = 0.32;
constexpr double kDraws = 8;          // of each canary, on average: one that was never drawn cannot be told
constexpr double kTinyDelta = 1e-12;  // Steinke's bound needs 2 m delta far below the level

// The sizes of the run.
struct Sizes {
  int64_t images = 0, canaries = 0, steps = 0;
  double q = 0, sigma = 0;
  bool one_view = false;
};

// Multiplications of one view forward and backward, roughly: each weight meets a sixth of the pixels.
double work_of_view(const Subject& s) {
  return static_cast<double>(s.parameters) * static_cast<double>(s.data.height * s.data.width) / 2;
}

Sizes sizes_of(const Subject& subject) {
  Sizes sizes;
  const double work = subject.full ? 3e11 : 2e10, row_numbers = subject.full ? 2e10 : 2e9;
  const auto P = static_cast<double>(subject.parameters);
  sizes.steps = std::clamp<int64_t>(static_cast<int64_t>((subject.full ? 1e9 : 2e7) / P), 16, 200);
  const double root = std::sqrt(static_cast<double>(sizes.steps));
  sizes.sigma = std::clamp(subject.plan->noise_multiplier, kDraws / (root * kLook), 0.5 * root / kLook);
  sizes.q = kLook * sizes.sigma / root;
  const double draws = sizes.q * static_cast<double>(sizes.steps);
  sizes.canaries = std::clamp<int64_t>(static_cast<int64_t>(2 * row_numbers / (draws * P)), 16, 2000);
  sizes.canaries = std::min(sizes.canaries, subject.parameters);
  const double view = work_of_view(subject);
  const auto views = static_cast<double>(subject.config.augment.views());
  sizes.one_view = work / (draws * views * view) < 32;
  const double fitting = work / (draws * (sizes.one_view ? 1 : views) * view);
  sizes.images = std::clamp<int64_t>(static_cast<int64_t>(fitting), 4, 300);
  sizes.images = std::min(sizes.images, subject.data.size());
  return sizes;
}

// Where the canaries' coordinates are, and who is in.
struct Canaries {
  std::vector<int64_t> columns;  // [m], all different
  std::vector<uint8_t> in;       // [m]
  std::vector<int64_t> members;  // the canaries that are in: id images + j is members[j]

  Canaries(const Key& key, int64_t m, int64_t parameters) {
    PhiloxStream random = PhiloxStream::of(key, 0, 0);
    std::vector<int64_t> all(static_cast<size_t>(parameters));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < m; ++i) {
      const auto here = static_cast<size_t>(i);
      std::swap(all[here], all[here + random.below(static_cast<uint32_t>(parameters - i))]);
      columns.push_back(all[here]);
      in.push_back(static_cast<uint8_t>(random.below(2)));
      if (in.back()) members.push_back(i);
    }
  }
};

// The images' views and gradients, and the canaries' gradients behind them.
class WithCanaries : public ExampleSource, public GradientSource {
 public:
  WithCanaries(ExampleSource& views, GradientSource& gradients, const Canaries& canaries, int64_t images,
               double clip_norm)
      : views_(views),
        gradients_(gradients),
        canaries_(canaries),
        images_(images),
        norm_(kBeforeClip * static_cast<float>(clip_norm)) {}

  ExampleBatch views(std::span<const Unit> units, int64_t step) override {
    // Ids rise: images first.
    const auto split = std::ranges::find_if(units, [&](const Unit& u) { return u.ids[0] >= images_; });
    const auto real = static_cast<size_t>(split - units.begin());
    ExampleBatch batch;
    if (real > 0) batch = views_.views(units.first(real), step);
    batch.units.assign(units.begin(), units.end());
    return batch;
  }
  bool takes_threads() const override { return views_.takes_threads(); }
  int64_t parameter_count() const override { return gradients_.parameter_count(); }
  bool prepare_for_threads() override { return gradients_.prepare_for_threads(); }
  PerExampleGradient rows(ExampleBatch&& batch) override {
    const std::vector<Unit> units = std::move(batch.units);
    const auto n = static_cast<int64_t>(units.size());
    const auto real = static_cast<int64_t>(batch.is_real.size());
    const int64_t P = parameter_count();
    Tensor slab = slabs_.take(n, {P}, DType::f32);
    if (real > 0) slab.rows(0, real).assign(gradients_.rows(std::move(batch)).slab());
    for (int64_t row = real; row < n; ++row) {
      const int64_t member = units[static_cast<size_t>(row)].ids[0] - images_;
      const int64_t canary = canaries_.members.at(static_cast<size_t>(member));
      const Tensor gradient = slab.rows(row, row + 1);
      gradient.fill(0);
      gradient.data<float>()[canaries_.columns[static_cast<size_t>(canary)]] = norm_;
    }
    return {std::move(slab), std::vector<uint8_t>(static_cast<size_t>(n), 1)};
  }

 private:
  ExampleSource& views_;
  GradientSource& gradients_;
  const Canaries& canaries_;
  int64_t images_;
  float norm_;
  RowMemory slabs_;
};

dp::Plan plan_of(const Subject& subject, const Sizes& sizes) {
  const double members = static_cast<double>(sizes.images) + static_cast<double>(sizes.canaries) / 2;
  return plan_like(subject.plan, [&](dp::PlanSettings& s) {
    s.units = "example", s.microbatch_size = 0, s.steps = sizes.steps;
    s.sampling_rate = sizes.q, s.noise_multiplier = sizes.sigma;
    s.max_examples = sizes.images + sizes.canaries, s.expected_batch = std::max(1.0, sizes.q * members);
  });
}

// The training run; [m], what each canary's coordinate added up to.
std::vector<double> train(const Subject& subject, const Sizes& sizes, const dp::Plan& plan,
                          const Canaries& canaries, const std::string& ledger_path) {
  const apps::Config& config = subject.config;
  const Key key = derive_key(subject.random, "one run");
  const ImageShape image{subject.data.height, subject.data.width, subject.data.channels};
  Model model(config.model, image, subject.data.label_count);
  model.parameters().allocate(DType::f32, key_from_text(concat("initial weights ", config.train.seed)));
  augment::AugmentSettings augment = config.augment;
  if (sizes.one_view) {
    augment.base = 1;
    augment.pool = augment.mix = 0;
  }
  augment::ViewSource views(subject.data, augment, apps::normalisation(config), derive_key(key, "augment"),
                            augment.pool > 0 && subject.pool ? &*subject.pool : nullptr, subject.exec);
  ModelGradients gradients(model, subject.exec);
  WithCanaries both(views, gradients, canaries, sizes.images, plan->clip_norm);
  dp::Ledger ledger(ledger_path, plan);
  dp::GaussianMechanism mechanism(plan, key, ledger);
  const dp::PoissonSampler sampler(plan, key, sizes.images + std::ssize(canaries.members));
  const double deviation = plan->noise_multiplier * plan->clip_norm / plan.divisor();
  const auto optimizer =
      make_optimizer(apps::optimizer_settings(config, deviation * deviation), model.parameters().size());
  const int64_t chunk =
      apps::chunk_rows({}, subject.parameters, augment.views() * image.size(), subject.exec.threads);

  std::vector<double> scores(canaries.columns.size());
  for (int64_t step = 0; step < plan->steps; ++step) {
    const dp::PrivateGradient gradient =
        dp::private_step(sampler, both, both, mechanism, step, chunk, subject.exec);
    const float* values = gradient.values().data<float>();
    for (size_t i = 0; i < scores.size(); ++i) scores[i] += static_cast<double>(values[canaries.columns[i]]);
    optimizer->step(model.parameters(), gradient.values(),
                    config.train.learning_rate.at(std::min(step, config.train.steps - 1)));
  }
  return scores;
}

// The `most` largest are called in, as many of the smallest out.
Guesses guess(const std::vector<double>& scores, const Canaries& canaries, int64_t each) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  Guesses guesses{std::ssize(scores), 2 * each, 0};
  for (size_t i = 0; i < static_cast<size_t>(each); ++i)
    guesses.right += canaries.in[order[i]] + !canaries.in[order[order.size() - 1 - i]];
  return guesses;
}

}  // namespace

void audit_one_run(const Subject& subject, Checks& checks) {
  const Sizes sizes = sizes_of(subject);
  const dp::Plan plan = plan_of(subject, sizes);
  const Canaries canaries(derive_key(subject.random, "one run canaries"), sizes.canaries, subject.parameters);
  const std::string ledger = (subject.scratch / "one-run.jsonl").string();
  const std::vector<double> scores = train(subject, sizes, plan, canaries, ledger);

  const double stated = dp::spent_cost(ledger, plan->delta).epsilon_upper;
  const double stated_tiny = dp::spent_cost(ledger, kTinyDelta).epsilon_upper;
  checks.require(dp::spent_cost(ledger, plan->delta).releases == plan->steps, "the ledger holds ",
                 dp::spent_cost(ledger, plan->delta).releases, " releases after ", plan->steps, " steps");
  checks.found(fmt::format(
      "A run of {} steps on {} images{} and {} canaries, {} of them in, with the subject's clip norm, "
      "noise multiplier {:.4g} (the subject: {:.4g}) and sampling rate {:.4g} (the subject: {:.4g}), is "
      "accounted for as epsilon {:.3f} at delta {:g}",
      plan->steps, sizes.images, sizes.one_view ? ", one view each," : "", sizes.canaries,
      canaries.members.size(), plan->noise_multiplier, subject.plan->noise_multiplier, plan->sampling_rate,
      subject.plan->sampling_rate, stated, plan->delta));

  // How many are guessed is settled before the run: each number has its share of the level.
  const int64_t m = sizes.canaries;
  const std::vector<int64_t> each = {std::max<int64_t>(1, m / 20), std::max<int64_t>(1, m / 5), m / 2};
  const auto share = static_cast<double>(each.size());
  const auto phase = [&](double scale) {  // the run with `scale` times the noise
    return accounting::Phases{{plan->noise_multiplier * scale, plan->sampling_rate, plan->steps}};
  };
  std::vector<Guesses> made, perfect;
  for (const int64_t k : each) {
    made.push_back(guess(scores, canaries, k));
    perfect.push_back({m, 2 * k, 2 * k});
  }
  const auto best_epsilon = [&](const std::vector<Guesses>& all, double delta, double level) {
    double best = 0;
    for (const Guesses& g : all) best = std::max(best, one_run_epsilon(g, delta, level / share));
    return best;
  };
  const auto refuted = [&](const std::vector<Guesses>& all, const Profile& profile, double level) {
    return std::ranges::any_of(all,
                               [&](const Guesses& g) { return one_run_refutes(g, profile, level / share); });
  };

  const double tiny = best_epsilon(made, kTinyDelta, kLevel);
  checks.likely(tiny <= stated_tiny ? 1.0 : 0.0, 1, "canaries prove epsilon >= ", tiny, " at delta ",
                kTinyDelta, ", stated is ", stated_tiny, ": ", made.back().right, " of ", made.back().made,
                " guesses are right");
  checks.found(fmt::format(
      "Counting guesses (Steinke et al. 2023) proves epsilon >= {:.2f} at 95 % (ceiling with perfect guesses "
      "{:.2f}), and at delta {:g} with confidence 1 - {:g} {:.2f} (ceiling {:.2f}, stated {:.2f}); {} of {} "
      "right",
      best_epsilon(made, plan->delta, 0.05), best_epsilon(perfect, plan->delta, 0.05), kTinyDelta, kLevel,
      tiny, best_epsilon(perfect, kTinyDelta, kLevel), stated_tiny, made.back().right, made.back().made));

  // The whole curve of the mechanism, not one point of it. What is refuted of the same run with more noise
  // gives an epsilon, that of the most noise that is refuted.
  struct Rung {
    double scale;  // of the noise
    Profile profile;
    double epsilon;
  };
  const std::vector<double> scales = subject.full
                                         ? std::vector{4., 3., 2.3, 1.7, 1.35, 1.15, 1., 0.85, 0.7, 0.55, 0.4}
                                         : std::vector{3., 2., 1.4, 1., 0.75, 0.5};
  std::vector<std::optional<Rung>> ladder(scales.size());  // from much noise to little
  for_each_row(subject.exec, std::ssize(scales), [&](int64_t i) {
    const double scale = scales[static_cast<size_t>(i)];
    const double epsilon = accounting::epsilon_interval(phase(scale), plan->delta, 0.01).lower;
    ladder[static_cast<size_t>(i)] = Rung{scale, Profile(phase(scale)), epsilon};
  });
  const Profile& stated_profile =
      std::ranges::find(ladder, 1.0, [](const auto& r) { return r->scale; })->value().profile;
  const auto epsilon_of = [&](const std::vector<Guesses>& all, double level) {
    double best = 0;
    for (const auto& rung : ladder) {
      if (!refuted(all, rung->profile, level)) break;
      best = rung->epsilon;
    }
    return best;
  };
  checks.likely(refuted(made, stated_profile, kLevel) ? 0.0 : 1.0, 1,
                "the accountant's trade-off curve is refuted: ", made.back().right, " of ", made.back().made,
                " guesses of who is in are right");
  checks.found(
      fmt::format("Against the accountant's whole trade-off curve (Mahloujifar et al. 2024, certified) they "
                  "prove epsilon >= "
                  "{:.2f} at 95 % (ceiling {:.2f}) and {:.2f} with confidence 1 - {:g} (ceiling {:.2f}), of "
                  "{:.3f} stated",
                  epsilon_of(made, 0.05), epsilon_of(perfect, 0.05), epsilon_of(made, kLevel), kLevel,
                  epsilon_of(perfect, kLevel), stated));
}

}  // namespace pergrad::audit
