// Words for recipes.
#include "apps/view_text.h"

#include <fmt/format.h>

namespace pergrad::apps {
namespace {

constexpr const char* kEffects[] = {
    "",          ", colours jittered", ", turned and sheared", ", a square cut out", ", noise added",
    ", blurred", ", its edges"};

}  // namespace

std::string view_text(const augment::ViewRecipe& r, int64_t padding) {
  switch (r.kind) {
    case augment::ViewKind::base:
    case augment::ViewKind::pool:
      return fmt::format("crop moved by ({:+d}, {:+d}){}{}", r.top - padding, r.left - padding,
                         r.flipped ? ", flipped" : "", kEffects[static_cast<size_t>(r.effect.effect)]);
    case augment::ViewKind::copy:
      return fmt::format("view {} again", r.first);
    case augment::ViewKind::mixup:
      return fmt::format("{:.3f} of view {} + {:.3f} of view {}", r.first_share, r.first, r.second_share,
                         r.second);
    case augment::ViewKind::cutmix:
      return fmt::format("view {} with rows {} to {}, columns {} to {} of view {}", r.first, r.box_top,
                         r.box_bottom, r.box_left, r.box_right, r.second);
  }
  return "";
}

}  // namespace pergrad::apps
