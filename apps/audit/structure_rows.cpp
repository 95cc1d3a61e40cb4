// real_rows: views and gradients of the real model with one record more or less.
#include "apps/audit/structure_rows.h"

#include "apps/audit/parts.h"
#include "augment/view_source.h"
#include "core/hash.h"
#include "dp/step.h"
#include "layers/model_gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace pergrad::audit {
namespace {

using dp::ClippedSum;
using dp::Plan;
using dp::PlanSettings;

// One augmentation path: its views and what it takes.
struct Path {
  std::string name;
  augment::AugmentSettings augment;
  augment::Microbatches units = {};
};

std::vector<Path> paths_of(const augment::AugmentSettings& own) {
  augment::AugmentSettings one, views, mixup, cutmix, pool;
  views.base = 4, views.crop_padding = 2, views.flip = true;
  mixup = views, mixup.base = 2, mixup.mix = 3;
  cutmix = mixup, cutmix.method = augment::MixMethod::cutmix, cutmix.fold_lambda = true;
  pool = mixup, pool.pool = 2;
  return {{"the config's views", own},
          {"the image itself", one},
          {"4 views", views},
          {"mixup", mixup},
          {"cutmix", cutmix},
          {"mixup with a public pool", pool},
          {"microbatches", views, {4, augment::GroupMix::none}},
          {"mixed microbatches", one, {4, augment::GroupMix::replacing}}};
}

// Rows of the real model on the real views. D has 6 units; then one more at every place, in every chunk.
class Replay {
 public:
  Replay(const Subject& subject, const Dataset& data, const augment::PublicPool* pool,
         const ModelSettings& settings, const Path& path, const CpuExec& exec)
      : model_(settings, {data.height, data.width, data.channels}, data.label_count),
        source_(data, path.augment, apps::normalisation(subject.config),
                derive_key(subject.random, "augment"), pool, exec, path.units),
        gradients_(allocated(model_), exec),
        plan_(plan_like(
            subject.plan,
            [](PlanSettings& s) { s.grid_bits = 40, s.max_examples = 1000, s.noise_multiplier = 1; })),
        exec_(exec) {}

  struct Result {
    std::vector<std::string> rows;  // a hash of each unit's row
    std::vector<int64_t> sum;
  };
  // `poison`, if any, is written over all views of unit `victim` before the model sees them.
  Result of(const std::vector<Unit>& units, size_t chunk, const float* poison = nullptr, size_t victim = 0) {
    Poisoned views(source_, poison, units.at(victim).ids.front());
    Hashed rows(gradients_);
    const ClippedSum sum = clipped_sum(units, views, rows, plan_, 3, static_cast<int64_t>(chunk), exec_);
    Result result;
    for (const Unit& unit : units) {
      const std::set<std::string>& all = rows.hashes.at(unit.ids.front());
      result.rows.push_back(all.size() == 1 ? *all.begin() : "rows that differ");
    }
    result.sum.assign(sum.nonprivate_values().begin(), sum.nonprivate_values().end());
    return result;
  }
  const Plan& plan() const { return plan_; }

 private:
  // Units are known by their first id.
  struct Poisoned : ExampleSource {
    Poisoned(ExampleSource& views, const float* what, int64_t whom) : source(views), poison(what), id(whom) {}
    ExampleBatch views(std::span<const Unit> units, int64_t step) override {
      ExampleBatch batch = source.views(units, step);
      for (size_t n = 0; poison && n < units.size(); ++n)
        if (units[n].ids.front() == id)
          batch.images.rows(static_cast<int64_t>(n), static_cast<int64_t>(n) + 1).fill(double{*poison});
      return batch;
    }
    bool takes_threads() const override { return source.takes_threads(); }
    ExampleSource& source;
    const float* poison;
    int64_t id;
  };
  struct Hashed : GradientSource {
    explicit Hashed(GradientSource& gradients) : source(gradients) {}
    int64_t parameter_count() const override { return source.parameter_count(); }
    bool prepare_for_threads() override { return source.prepare_for_threads(); }
    PerExampleGradient rows(ExampleBatch&& batch) override {
      const std::vector<Unit> units = batch.units;
      PerExampleGradient rows = source.rows(std::move(batch));
      const std::span bytes(reinterpret_cast<const uint8_t*>(rows.slab().data<float>()),
                            rows.slab().byte_size());
      const size_t size = bytes.size() / units.size();
      const std::lock_guard alone(one_at_a_time);
      for (size_t n = 0; n < units.size(); ++n)
        hashes[units[n].ids.front()].insert(to_hex(sha256(bytes.subspan(n * size, size))));
      return rows;
    }
    GradientSource& source;
    std::mutex one_at_a_time;
    std::map<int64_t, std::set<std::string>> hashes;  // a record that is there twice has one row
  };

  static Model& allocated(Model& model) {
    model.parameters().allocate(DType::f32, key_from_text("audit weights"));
    return model;
  }
  Model model_;
  augment::ViewSource source_;
  ModelGradients gradients_;
  Plan plan_;
  CpuExec exec_;
};

int64_t replay(const Subject& subject, const Dataset& data, const augment::PublicPool* pool,
               const ModelSettings& settings, const Path& path, bool all_places, Checks& checks) {
  Replay all(subject, data, pool, settings, path, subject.exec),
      one(subject, data, pool, settings, path, CpuExec{1});
  const bool groups = path.units.largest_unit > 1;
  const auto unit = [&](int64_t i) { return groups ? Unit{{3 * i, 3 * i + 1, 3 * i + 2}} : Unit{{i}}; };
  std::vector<Unit> units;
  for (int64_t i = 0; i < 6; ++i) units.push_back(unit(i));
  const Unit extra = unit(6);
  const std::string where = concat(settings.name, ", ", path.name);
  const Replay::Result base = all.of(units, 6), own = all.of({extra}, 1);
  checks.require(squared_norm(own.sum) <= uint128_t{1} << 80, where,
                 ": a record moved the sum by more than the clip norm");
  int64_t pairs = 0;
  const auto compare = [&](const Replay::Result& with, const Replay::Result& alone, size_t place,
                           std::string_view what) {
    std::vector<std::string> others = with.rows;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(place));
    checks.require(others == base.rows, where, ": ", what, " at place ", place, " changed another row");
    checks.require(with.rows[place] == alone.rows[0], where, ": the row of ", what, " depends on the others");
    bool same = true;
    for (size_t i = 0; i < base.sum.size(); ++i) same = same && with.sum[i] - base.sum[i] == alone.sum[i];
    checks.require(same, where, ": ", what, " at place ", place, " changed what the others add");
    ++pairs;
  };
  for (size_t place = 0; place <= 6; place += all_places ? 1 : 3) {
    std::vector<Unit> more = units;
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(place), extra);
    for (size_t chunk : all_places ? std::vector<size_t>{1, 2, 7} : std::vector<size_t>{7})
      compare((place % 2 ? one : all).of(more, chunk), own, place, "a record");
    if (place != 3) continue;
    for (float poison : {NAN, kInf, 1e38f, -1e38f, kTiny, 0.0f}) {
      const Replay::Result alone = all.of({extra}, 1, &poison, 0);
      checks.require(squared_norm(alone.sum) <= uint128_t{1} << 80, where, ": a record of ", poison,
                     " moved the sum by more than the clip norm");
      compare(all.of(more, 7, &poison, place), alone, place, concat("a record of ", poison));
    }
  }
  // The same record twice is two records, no more.
  std::vector<Unit> twice = units;
  twice.push_back(units[2]);
  if (!groups) {
    const Replay::Result copy = all.of({units[2]}, 1);
    compare(all.of(twice, 4), copy, 6, "a record that is there already");
  }
  return pairs;
}

}  // namespace

void real_rows(const Subject& subject, Checks& checks) {
  int64_t pairs = 0;
  // A small data set of the audit's own, with a public pool, under each kind of model.
  Dataset small, pool_images;
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "images"), 0, 0);
  for (Dataset* data : {&small, &pool_images}) {
    data->name = "audit", data->height = data->width = 12, data->channels = 3, data->label_count = 4;
    for (int64_t i = 0; i < 24; ++i) data->labels.push_back(static_cast<int32_t>(random.below(4)));
    for (int64_t i = 0; i < 24 * data->image_size(); ++i)
      data->pixels.push_back(static_cast<uint8_t>(random.below(256)));
    data->fingerprint = dataset_fingerprint(*data);
  }
  const augment::PublicPool pool(std::move(pool_images), "drawn by the audit");
  apps::Config plain = subject.config;
  plain.data.mean = {0.5, 0.5, 0.5}, plain.data.deviation = {0.25, 0.25, 0.25};
  Subject own{.config = plain,
              .data = {},
              .pool = {},
              .plan = subject.plan,
              .run = {},
              .random = subject.random,
              .exec = subject.exec,
              .scratch = subject.scratch,
              .program = {}};
  ModelSettings wide, cnn, linear, sequential;
  wide.depth = 10, wide.width = 1, wide.groups = 4;
  cnn.name = "small_cnn", linear.name = "linear", sequential.name = "sequential";
  sequential.layers = {"conv 8 k3 p1",    "group_norm 4", "relu",           "max_pool 2",
                       "conv 8 k3 s2 p1", "relu",         "average_pool 3", "classifier"};
  augment::AugmentSettings own_views = subject.config.augment;
  own_views.base = std::min<int64_t>(own_views.base, 4), own_views.mix = std::min<int64_t>(own_views.mix, 4);
  for (const ModelSettings& model : {wide, cnn, linear, sequential})
    for (const Path& path : paths_of(own_views))
      pairs += replay(own, small, &pool, model, path, true, checks);
  // The subject's own model on its own images.
  if (subject.data.size() >= 24)
    pairs += replay(subject, subject.data, subject.pool ? &*subject.pool : nullptr, subject.config.model,
                    {"the config's views", subject.config.augment}, subject.full, checks);
  checks.found(fmt::format(
      "{} records put among others on the real views and models, not finite ones among them: every "
      "other row kept all of its bits",
      pairs));
}

}  // namespace pergrad::audit
