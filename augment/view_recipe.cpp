// What is random about the views of an example: transformations, draws from the pool, pairs, lambda, boxes.
#include "augment/view_recipe.h"

#include "augment/augmenter.h"
#include "augment/beta.h"
#include "core/error.h"
#include "core/philox.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace pergrad::augment {

namespace {

// The random numbers of one T. Three are drawn whatever is switched on, so that switching one transformation
// on or off leaves the others as they were.
void draw_transform(const AugmentSettings& s, PhiloxStream& random, ViewRecipe& recipe) {
  const auto offsets = static_cast<uint32_t>(2 * s.crop_padding + 1);
  recipe.top = static_cast<int32_t>(random.below(offsets));
  recipe.left = static_cast<int32_t>(random.below(offsets));
  const bool flip = random.below(2) == 1;
  recipe.flipped = flip && s.flip ? 1 : 0;
}

// The two draws of S that a mix joins.
struct Pair {
  uint32_t first, second;
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

// The box of a cutmix, and what the first draw keeps beside it.
double draw_box(double lambda, const ImageShape& shape, PhiloxStream& random, ViewRecipe& recipe) {
  const int64_t row = random.below(static_cast<uint32_t>(shape.height));
  const int64_t column = random.below(static_cast<uint32_t>(shape.width));
  const Box box = cutmix_box(lambda, row, column, shape);
  recipe.box_top = static_cast<int32_t>(box.top), recipe.box_left = static_cast<int32_t>(box.left);
  recipe.box_bottom = static_cast<int32_t>(box.bottom), recipe.box_right = static_cast<int32_t>(box.right);
  return cutmix_share(box, shape);
}

}  // namespace

void Augmenter::draw(PhiloxStream random, const PublicPool* pool, std::span<ViewRecipe> recipes) const {
  const AugmentSettings& s = settings_;
  PG_CHECK(std::ssize(recipes) == views(), "augment: room for ", recipes.size(), " recipes, wanted ",
           views());
  if (s.pool > 0) {
    PG_CHECK(pool != nullptr, "augment: pool is ", s.pool, " but there is no public pool");
    const Dataset& d = pool->dataset();
    PG_CHECK(shape_ == (ImageShape{d.height, d.width, d.channels}) && label_count_ == d.label_count,
             "augment: the public pool has another shape than the private data");
  }
  const int64_t draws = s.base + s.pool;
  std::ranges::fill(recipes, ViewRecipe{});

  // S: T(x), `base` times, then draws from the public pool.
  ViewRecipe* recipe = recipes.data();
  for (int64_t v = 0; v < s.base; ++v) draw_transform(s, random, *recipe++);
  for (int64_t v = s.base; v < draws; ++v, ++recipe) {
    recipe->kind = ViewKind::pool;
    recipe->pool_image = random.below(static_cast<uint32_t>(pool->size()));
    recipe->top = recipe->left = static_cast<int32_t>(s.crop_padding);
    if (s.pool_augmented) draw_transform(s, random, *recipe);
  }

  // S': mixes of pairs of S, labels mixed as the pixels are.
  PairDrawer pairs(s.pairing, draws);
  double lambda = s.mix > 0 && s.share_lambda && !s.mix_degenerate ? draw_lambda(s, random) : 0.0;
  for (int64_t v = draws; v < draws + s.mix; ++v, ++recipe) {
    if (s.mix_degenerate) {
      recipe->kind = ViewKind::copy;
      recipe->first = static_cast<int32_t>(random.below(static_cast<uint32_t>(draws)));
      continue;
    }
    const Pair pair = pairs.draw(random);
    recipe->first = static_cast<int32_t>(pair.first), recipe->second = static_cast<int32_t>(pair.second);
    if (!s.share_lambda) lambda = draw_lambda(s, random);
    const bool is_mixup = s.method == MixMethod::mixup;
    recipe->kind = is_mixup ? ViewKind::mixup : ViewKind::cutmix;
    const double share = is_mixup ? lambda : draw_box(lambda, shape_, random, *recipe);
    recipe->first_share = static_cast<float>(share), recipe->second_share = static_cast<float>(1.0 - share);
  }

  // Effects have a part of the stream for each draw: all else is the same with them and without, and they are
  // the same with mixes and without.
  if (s.effects.on().empty()) return;
  for (int64_t v = 0; v < (s.pool_augmented ? draws : s.base); ++v) {
    PhiloxStream own = random.part(static_cast<uint32_t>(v));
    recipes[static_cast<size_t>(v)].effect = draw_effect(s.effects, shape_, normalisation_.table(), own);
  }
}

}  // namespace pergrad::augment
