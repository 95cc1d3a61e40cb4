// The views of one private example: T, draws from the pool, mixes.
#include "augment/augmenter.h"

#include "augment/beta.h"
#include "core/error.h"
#include "core/philox.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

namespace pergrad::augment {

namespace {

// Keeps V * H * W * C and the indices of a mix far inside of their types.
constexpr int64_t kMostViews = 65536;
// Beyond it lambda is 1/2 to three digits, and nobody means it.
constexpr double kMostAlpha = 1e6;

void check(const AugmentSettings& s, const ImageShape& shape, int64_t label_count, int64_t constants) {
  PG_CHECK(shape.height > 0 && shape.width > 0 && shape.channels > 0, "augment: image is [", shape.height,
           ",", shape.width, ",", shape.channels, "], wanted positive numbers");
  PG_CHECK(label_count > 0, "augment: label_count is ", label_count, ", wanted at least 1");
  PG_CHECK(constants == shape.channels, "augment: normalisation for ", constants,
           " channels, the images have ", shape.channels);
  for (const auto& [name, value] : {std::pair{"base", s.base}, {"mix", s.mix}, {"pool", s.pool}}) {
    PG_CHECK(0 <= value && value <= kMostViews, "augment: ", name, " is ", value, ", wanted 0 to ",
             kMostViews);
  }
  const int64_t side = std::min(shape.height, shape.width);
  const int64_t most = s.padding == Padding::reflect ? side - 1 : side;
  PG_CHECK(0 <= s.crop_padding && s.crop_padding <= most, "augment: crop_padding is ", s.crop_padding,
           ", wanted 0 to ", most, " for images [", shape.height, ",", shape.width, "]");
  PG_CHECK(s.mix_alpha > 0 && s.mix_alpha <= kMostAlpha, "augment: mix_alpha is ", s.mix_alpha,
           ", wanted above 0, at most ", kMostAlpha);
  const int64_t draws = s.base + s.pool;
  PG_CHECK(draws > 0, "augment: base + pool is 0, wanted at least one view");
  PG_CHECK(s.mix == 0 || s.method != MixMethod::none, "augment: mix is ", s.mix,
           " with method \"none\", wanted \"mixup\" or \"cutmix\"");
  PG_CHECK(s.mix == 0 || draws >= 2 || s.mix_degenerate, "augment: mix is ", s.mix,
           " but base + pool is 1: no two different draws to mix, wanted base + pool >= 2 or mix_degenerate");
}

// The random numbers of one T. Three are drawn whatever is switched on, so that switching one transformation
// on or off leaves the others as they were.
struct Transform {
  int64_t top, left;
  bool flip;
  static Transform draw(const AugmentSettings& s, PhiloxStream& random) {
    const auto offsets = static_cast<uint32_t>(2 * s.crop_padding + 1);
    const int64_t top = random.below(offsets);
    const int64_t left = random.below(offsets);
    const bool flip = random.below(2) == 1;
    return {top, left, flip && s.flip};
  }
  static Transform identity(const AugmentSettings& s) { return {s.crop_padding, s.crop_padding, false}; }
};

// One image, padded once, from which any number of views is cut. A flipped view is cut from the mirrored
// canvas, which is made when the first one is asked for: flip(crop at left) = crop at 2p - left of the
// flipped canvas.
class Canvas {
 public:
  Canvas(const AugmentSettings& s, const ImageShape& shape, const Normalisation& normalisation)
      : settings_(s),
        shape_(shape),
        padded_(shape.padded(s.crop_padding)),
        table_(normalisation.table()),
        plain_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(2 * padded_.size()))) {}

  void load(std::span<const uint8_t> image) {
    normalise(image.data(), table_, shape_, settings_.crop_padding, plain_.get());
    pad(plain_.get(), shape_, settings_.crop_padding, settings_.padding);
    has_mirrored_ = false;
  }

  void cut(const Transform& t, float* view) {
    const int64_t p = settings_.crop_padding;
    if (!t.flip) return crop(plain_.get(), shape_, p, t.top, t.left, view);
    if (!has_mirrored_) flip(plain_.get(), padded_, mirrored());
    has_mirrored_ = true;
    crop(mirrored(), shape_, p, t.top, 2 * p - t.left, view);
  }

 private:
  float* mirrored() const { return plain_.get() + padded_.size(); }

  const AugmentSettings& settings_;
  const ImageShape& shape_;
  ImageShape padded_;
  const float* table_;
  std::unique_ptr<float[]> plain_;
  bool has_mirrored_ = false;
};

// The two draws of S that a mix joins.
struct Pair {
  int64_t first, second;
};

class PairDrawer {
 public:
  PairDrawer(Pairing pairing, int64_t draws) : pairing_(pairing), draws_(static_cast<uint32_t>(draws)) {
    if (pairing_ != Pairing::without_replacement) return;
    order_.resize(draws_);
    std::iota(order_.begin(), order_.end(), 0u);
    dealt_ = draws_;
  }

  Pair draw(PhiloxStream& random) {
    if (pairing_ == Pairing::without_replacement) return deal(random);
    const uint32_t first = random.below(draws_);
    if (pairing_ == Pairing::independent) return {first, random.below(draws_)};
    const uint32_t other = random.below(draws_ - 1);  // among the others: those after `first` move up by one
    return {first, other < first ? other : other + 1};
  }

 private:
  Pair deal(PhiloxStream& random) {
    if (dealt_ + 2 > draws_) {
      for (uint32_t i = draws_ - 1; i > 0; --i) std::swap(order_[i], order_[random.below(i + 1)]);
      dealt_ = 0;
    }
    dealt_ += 2;
    return {order_[dealt_ - 2], order_[dealt_ - 1]};
  }

  Pairing pairing_;
  uint32_t draws_;
  std::vector<uint32_t> order_;
  uint32_t dealt_ = 0;
};

double draw_lambda(const AugmentSettings& s, PhiloxStream& random) {
  const double lambda = symmetric_beta(s.mix_alpha, random);
  return s.fold_lambda ? std::max(lambda, 1.0 - lambda) : lambda;
}

void one_hot(int32_t label, std::span<float> target) {
  std::ranges::fill(target, 0.0f);
  target[static_cast<size_t>(label)] = 1.0f;
}

}  // namespace

Augmenter::Augmenter(const AugmentSettings& settings, const ImageShape& shape, int64_t label_count,
                     Normalisation normalisation)
    : settings_(settings),
      shape_(shape),
      label_count_(label_count),
      normalisation_(std::move(normalisation)) {
  check(settings_, shape_, label_count_, normalisation_.channels());
}

void Augmenter::write_views(const PrivateExample& example, PhiloxStream random, const PublicPool* pool,
                            std::span<float> images, std::span<float> targets) const {
  const AugmentSettings& s = settings_;
  const int64_t size = shape_.size();
  PG_CHECK(std::ssize(example.image) == size, "augment: image has ", example.image.size(), " bytes, wanted ",
           size);
  PG_CHECK(0 <= example.label && example.label < label_count_, "augment: label is ", example.label,
           ", wanted 0 to ", label_count_ - 1);
  PG_CHECK(std::ssize(images) == views() * size && std::ssize(targets) == views() * label_count_,
           "augment: room for ", images.size(), " numbers and ", targets.size(), " targets, wanted ",
           views() * size, " and ", views() * label_count_);
  const auto image_of = [&](int64_t v) { return images.data() + v * size; };
  const auto target_of = [&](int64_t v) {
    return targets.subspan(static_cast<size_t>(v * label_count_), static_cast<size_t>(label_count_));
  };

  // S, first part: T(x), `base` times.
  Canvas canvas(s, shape_, normalisation_);
  if (s.base > 0) canvas.load(example.image);
  for (int64_t v = 0; v < s.base; ++v) {
    canvas.cut(Transform::draw(s, random), image_of(v));
    one_hot(example.label, target_of(v));
  }

  // S, second part: draws from the public pool.
  const int64_t draws = s.base + s.pool;
  if (s.pool > 0) {
    PG_CHECK(pool != nullptr, "augment: pool is ", s.pool, " but there is no public pool");
    const Dataset& d = pool->dataset();
    PG_CHECK(shape_ == (ImageShape{d.height, d.width, d.channels}) && label_count_ == d.label_count,
             "augment: the public pool has another shape than the private data");
  }
  for (int64_t v = s.base; v < draws; ++v) {
    const int64_t i = random.below(static_cast<uint32_t>(pool->size()));
    canvas.load(pool->image(i));
    canvas.cut(s.pool_augmented ? Transform::draw(s, random) : Transform::identity(s), image_of(v));
    one_hot(pool->label(i), target_of(v));
  }

  // S': mixes of pairs of S, labels mixed as the pixels are.
  PairDrawer pairs(s.pairing, draws);
  double lambda = s.mix > 0 && s.share_lambda && !s.mix_degenerate ? draw_lambda(s, random) : 0.0;
  for (int64_t v = draws; v < draws + s.mix; ++v) {
    if (s.mix_degenerate) {
      const int64_t i = random.below(static_cast<uint32_t>(draws));
      std::copy_n(image_of(i), size, image_of(v));
      std::ranges::copy(target_of(i), target_of(v).begin());
      continue;
    }
    const Pair pair = pairs.draw(random);
    if (!s.share_lambda) lambda = draw_lambda(s, random);
    double weight = lambda;  // of the first label
    if (s.method == MixMethod::mixup) {
      mix(image_of(pair.first), image_of(pair.second), lambda, size, image_of(v));
    } else {
      const int64_t row = random.below(static_cast<uint32_t>(shape_.height));
      const int64_t column = random.below(static_cast<uint32_t>(shape_.width));
      const Box box = cutmix_box(lambda, row, column, shape_);
      weight = cutmix(image_of(pair.first), image_of(pair.second), box, shape_, image_of(v));
    }
    mix(target_of(pair.first).data(), target_of(pair.second).data(), weight, label_count_,
        target_of(v).data());
  }
}

}  // namespace pergrad::augment
