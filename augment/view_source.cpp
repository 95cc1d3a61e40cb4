// From units to rows of views.
#include "augment/view_source.h"

#include "core/error.h"
#include "core/exec_rows.h"
#include "core/philox.h"

#include <algorithm>
#include <span>
#include <vector>

namespace pergrad::augment {

namespace {

// Equal weights that sum to 1 for the views that are used; the others count nothing.
void write_weights(size_t used, std::span<float> weights) {
  if (used > 0) std::ranges::fill(weights.first(used), 1.0f / static_cast<float>(used));
  std::ranges::fill(weights.subspan(used), 0.0f);
}

}  // namespace

// The numbers of one row of a batch.
struct ViewSource::Row {
  std::span<float> images;   // [V,H,W,C]
  std::span<float> targets;  // [V,L]
  std::span<float> weights;  // [V]
};

ViewSource::ViewSource(const Dataset& data, const AugmentSettings& settings,
                       const Normalisation& normalisation, const Key& augment_key, const PublicPool* pool,
                       CpuExec exec, Microbatches microbatches)
    : data_(data),
      augmenter_(settings, {data.height, data.width, data.channels}, data.label_count, normalisation),
      augment_key_(augment_key),
      microbatch_key_(derive_key(augment_key, "microbatch mix")),
      pool_(pool),
      exec_(exec),
      largest_unit_(microbatches.largest_unit),
      mixer_(microbatches.mix, settings.mix_alpha, settings.fold_lambda) {
  PG_CHECK(std::ssize(data.pixels) == data.size() * data.image_size(), "views: data has ", data.pixels.size(),
           " bytes, wanted ", data.size(), " images of ", data.image_size());
  PG_CHECK(settings.pool == 0 || pool, "views: augment.pool is ", settings.pool,
           " but there is no public pool");
  if (settings.pool > 0) pool->require_match(data);
  PG_CHECK(largest_unit_ >= 1 && largest_unit_ <= 65536, "views: largest unit is ", largest_unit_,
           " ids, wanted 1 to 65536");
  PG_CHECK(largest_unit_ > 1 || mixer_.mode() == GroupMix::none,
           "views: mixing within micro-batches of one example, wanted a largest unit of 2 or more");
}

int64_t ViewSource::row_views() const {
  return std::max(augmenter_.views(), mixer_.row_views(largest_unit_, augmenter_.views()));
}

ExampleBatch ViewSource::views(std::span<const Unit> units, int64_t step) {
  const auto rows = static_cast<int64_t>(units.size());
  const int64_t views = row_views();
  const ImageShape& shape = augmenter_.shape();
  const int64_t labels = augmenter_.label_count();
  ExampleBatch batch;
  batch.images = memory_.take(rows, {views, shape.height, shape.width, shape.channels}, DType::f32);
  batch.targets = memory_.take(rows, {views, labels}, DType::f32);
  batch.weights = memory_.take(rows, {views}, DType::f32);
  batch.units.assign(units.begin(), units.end());
  for (const Unit& unit : units) batch.is_real.push_back(unit.ids.empty() ? 0 : 1);

  const auto row_of = [](const Tensor& t, int64_t n, int64_t size) {
    return t.values<float>().subspan(static_cast<size_t>(n * size), static_cast<size_t>(size));
  };
  for_each_row(exec_, rows, [&](int64_t n) {
    write_row(units[static_cast<size_t>(n)], step,
              {row_of(batch.images, n, views * shape.size()), row_of(batch.targets, n, views * labels),
               row_of(batch.weights, n, views)});
  });
  return batch;
}

void ViewSource::draw(std::span<const Unit> units, int64_t step, ViewPlan& plan) const {
  PG_CHECK(mixer_.mode() == GroupMix::none,
           "views: micro-batches are mixed on the CPU only, wanted microbatch mix none");
  plan.rows = static_cast<int64_t>(units.size());
  plan.lists = largest_unit_;
  plan.views = augmenter_.views();
  const auto lists = static_cast<size_t>(plan.lists), views = static_cast<size_t>(plan.views);
  plan.ids.resize(units.size() * lists);
  plan.recipes.resize(units.size() * lists * views);
  plan.weights.resize(units.size() * lists * views);
  for_each_row(exec_, plan.rows, [&](int64_t n) {
    const size_t first = static_cast<size_t>(n) * lists;
    const std::vector<int64_t> ids = members_of(units[static_cast<size_t>(n)]);
    const auto recipes = std::span(plan.recipes).subspan(first * views, lists * views);
    for (size_t m = 0; m < ids.size(); ++m) {
      const int32_t label = data_.labels[static_cast<size_t>(ids[m])];
      PG_CHECK(0 <= label && label < data_.label_count, "views: label of example ", ids[m], " is ", label,
               ", wanted 0 to ", data_.label_count - 1);
      plan.ids[first + m] = ids[m];
      augmenter_.draw(PhiloxStream::of(augment_key_, step, ids[m]), pool_, recipes.subspan(m * views, views));
    }
    std::ranges::fill(std::span(plan.ids).subspan(first + ids.size(), lists - ids.size()), -1);
    std::ranges::fill(recipes.subspan(ids.size() * views), ViewRecipe{});
    write_weights(ids.size() * views, std::span(plan.weights).subspan(first * views, lists * views));
  });
}

PublicInputs ViewSource::public_inputs() const {
  const ImageShape& shape = augmenter_.shape();
  const AugmentSettings& s = augmenter_.settings();
  return {shape.height,
          shape.width,
          shape.channels,
          augmenter_.label_count(),
          s.crop_padding,
          s.padding,
          augmenter_.normalisation().table(),
          pool_ ? pool_->dataset().pixels.data() : nullptr,
          pool_ ? pool_->dataset().labels.data() : nullptr};
}

// By rising id: a row depends on who is in a unit, not on the order in which they are named.
std::vector<int64_t> ViewSource::members_of(const Unit& unit) const {
  std::vector<int64_t> ids = unit.ids;
  std::ranges::sort(ids);
  const auto members = static_cast<int64_t>(ids.size());
  PG_CHECK(members <= largest_unit_, "views: a unit has ", members, " ids, wanted at most ", largest_unit_);
  PG_CHECK(ids.empty() || (ids.front() >= 0 && ids.back() < data_.size()), "views: example id ",
           ids.empty() ? 0 : (ids.front() < 0 ? ids.front() : ids.back()), ", wanted 0 to ",
           data_.size() - 1);
  PG_CHECK(std::ranges::adjacent_find(ids) == ids.end(), "views: an example is twice in one unit");
  return ids;
}

void ViewSource::write_row(const Unit& unit, int64_t step, const Row& row) const {
  const std::vector<int64_t> ids = members_of(unit);
  const auto members = static_cast<int64_t>(ids.size());
  const int64_t views = augmenter_.views();
  const auto size = static_cast<size_t>(views * augmenter_.shape().size());
  const auto labels = static_cast<size_t>(views * augmenter_.label_count());
  const bool mixed = members > 1 && mixer_.mode() != GroupMix::none;
  const bool replaced = members > 1 && mixer_.mode() == GroupMix::replacing;

  // The members' own views go into the row, or beside it where mixes take their place.
  std::vector<float> aside_images(replaced ? ids.size() * size : 0);
  std::vector<float> aside_targets(replaced ? ids.size() * labels : 0);
  const std::span<float> images = replaced ? std::span(aside_images) : row.images;
  const std::span<float> targets = replaced ? std::span(aside_targets) : row.targets;
  for (size_t m = 0; m < ids.size(); ++m) {
    const PrivateExample example{data_.image(ids[m]), data_.labels[static_cast<size_t>(ids[m])]};
    augmenter_.write_views(example, PhiloxStream::of(augment_key_, step, ids[m]), pool_,
                           images.subspan(m * size, size), targets.subspan(m * labels, labels));
  }
  if (mixed) {
    const size_t place = replaced ? 0 : ids.size();
    mixer_.mix_members(members, views, images.first(ids.size() * size), targets.first(ids.size() * labels),
                       PhiloxStream::of(microbatch_key_, step, ids.front()),
                       row.images.subspan(place * size, size), row.targets.subspan(place * labels, labels));
  }

  // What is left of the row is zero and counts nothing.
  const auto used = static_cast<size_t>(members == 0 ? 0 : mixer_.row_views(members, views));
  write_weights(used, row.weights);
  std::ranges::fill(row.images.subspan(used * (size / static_cast<size_t>(views))), 0.0f);
  std::ranges::fill(row.targets.subspan(used * (labels / static_cast<size_t>(views))), 0.0f);
}

}  // namespace pergrad::augment
