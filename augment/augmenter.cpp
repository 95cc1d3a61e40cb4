// The views of one private example, image by image, as their recipes say.
#include "augment/augmenter.h"

#include "core/error.h"
#include "core/philox.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace pergrad::augment {

namespace {

// Keeps V * H * W * C and the indices of a mix far inside of their types.
constexpr int64_t kMostViews = 65536;
constexpr int64_t kMostNumbers = INT32_MAX;  // of an image, so that recipes count pixels in 32 bits
// Beyond it lambda is 1/2 to three digits, and nobody means it.
constexpr double kMostAlpha = 1e6;

void check(const AugmentSettings& s, const ImageShape& shape, int64_t label_count, int64_t constants) {
  PG_CHECK(shape.height > 0 && shape.width > 0 && shape.channels > 0, "augment: image is [", shape.height,
           ",", shape.width, ",", shape.channels, "], wanted positive numbers");
  PG_CHECK(shape.height <= kMostNumbers && shape.width <= kMostNumbers / shape.height &&
               shape.channels <= kMostNumbers / (shape.height * shape.width),
           "augment: image is [", shape.height, ",", shape.width, ",", shape.channels, "], wanted at most ",
           kMostNumbers, " numbers");
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
  s.effects.check(shape);
  const int64_t draws = s.base + s.pool;
  PG_CHECK(draws > 0, "augment: base + pool is 0, wanted at least one view");
  PG_CHECK(s.mix == 0 || s.method != MixMethod::none, "augment: mix is ", s.mix,
           " with method \"none\", wanted \"mixup\" or \"cutmix\"");
  PG_CHECK(s.mix == 0 || draws >= 2 || s.mix_degenerate, "augment: mix is ", s.mix,
           " but base + pool is 1: no two different draws to mix, wanted base + pool >= 2 or mix_degenerate");
}

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

  void cut(const ViewRecipe& r, float* view) {
    const int64_t p = settings_.crop_padding;
    if (!r.flipped) return crop(plain_.get(), shape_, p, r.top, r.left, view);
    if (!has_mirrored_) flip(plain_.get(), padded_, mirrored());
    has_mirrored_ = true;
    crop(mirrored(), shape_, p, r.top, 2 * p - r.left, view);
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
  const auto mix_targets = [&](const ViewRecipe& r, int64_t v) {
    mix(target_of(r.first).data(), target_of(r.second).data(), r.first_share, r.second_share, label_count_,
        target_of(v).data());
  };

  std::vector<ViewRecipe> recipes(static_cast<size_t>(views()));
  draw(random, pool, recipes);

  Canvas canvas(s, shape_, normalisation_);
  std::vector<float> before;  // a view without its effect
  if (s.base > 0) canvas.load(example.image);
  for (int64_t v = 0; v < views(); ++v) {
    const ViewRecipe& r = recipes[static_cast<size_t>(v)];
    switch (r.kind) {
      case ViewKind::base:
        canvas.cut(r, image_of(v));
        apply_effect(r.effect, shape_, normalisation_.table(), image_of(v), before);
        one_hot(example.label, target_of(v));
        break;
      case ViewKind::pool:
        canvas.load(pool->image(r.pool_image));
        canvas.cut(r, image_of(v));
        apply_effect(r.effect, shape_, normalisation_.table(), image_of(v), before);
        one_hot(pool->label(r.pool_image), target_of(v));
        break;
      case ViewKind::copy:
        std::copy_n(image_of(r.first), size, image_of(v));
        std::ranges::copy(target_of(r.first), target_of(v).begin());
        break;
      case ViewKind::mixup:
        mix(image_of(r.first), image_of(r.second), r.first_share, r.second_share, size, image_of(v));
        mix_targets(r, v);
        break;
      case ViewKind::cutmix:
        cutmix(image_of(r.first), image_of(r.second), {r.box_top, r.box_left, r.box_bottom, r.box_right},
               shape_, image_of(v));
        mix_targets(r, v);
        break;
    }
  }
}

}  // namespace pergrad::augment
