// What a view costs: printed, never asserted.
#include "augment/view_source.h"
#include "tests/augment/examples.h"

#include <chrono>
#include <cstdio>

namespace pergrad::augment {
namespace {

// Of views(), or of the recipes alone.
double microseconds_a_view(ImageShape shape, const AugmentSettings& settings, bool recipes_only = false) {
  const int64_t rows = 64;
  const Dataset data = noise_images(rows, shape, 10);
  const PublicPool pool(noise_images(100, shape, 10, 2), "random bytes");
  ViewSource source(data, settings, unit_range(shape.channels), test_key(), &pool, CpuExec{1});
  std::vector<Unit> units;
  for (int64_t id = 0; id < rows; ++id) units.push_back({{id}});
  double best = 1e9;
  ViewPlan plan;
  for (int64_t step = 0; step < 10; ++step) {
    const auto start = std::chrono::steady_clock::now();
    if (recipes_only) {
      source.draw(units, step, plan);
    } else {
      source.views(units, step);
    }
    const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count() / static_cast<double>(rows * source.row_views()));
  }
  return best;
}

TEST(Speed, OfAView) {
  for (const ImageShape shape : {ImageShape{28, 28, 1}, ImageShape{32, 32, 3}, ImageShape{64, 64, 3}}) {
    const auto print = [&](const char* name, const AugmentSettings& s) {
      std::printf("%2ld x %2ld x %ld  %-28s %6.2f us a view, its recipe %6.3f us\n",
                  static_cast<long>(shape.height), static_cast<long>(shape.width),
                  static_cast<long>(shape.channels), name, microseconds_a_view(shape, s),
                  microseconds_a_view(shape, s, true));
    };
    AugmentSettings s;
    print("plain", s);
    s.crop_padding = 4, s.flip = true;
    print("base 1", s);
    s.base = 16;
    print("base 16", s);
    s.mix = 18;
    print("base 16, mixup 18", s);
    s.method = MixMethod::cutmix;
    print("base 16, cutmix 18", s);
    s.mix = 0, s.pool = 16;
    print("base 16, pool 16", s);
    s.pool = 0;
    for (const auto& [name, on] : std::initializer_list<std::pair<const char*, EffectSettings>>{
             {"base 16, colour jitter", {.color_jitter = true}},
             {"base 16, affine", {.affine = true}},
             {"base 16, cutout", {.cutout = 8}},
             {"base 16, noise", {.gaussian_noise = 0.1}},
             {"base 16, blur", {.blur = true}},
             {"base 16, sobel", {.sobel = true}}}) {
      s.effects = on;
      print(name, s);
    }
  }
}

}  // namespace
}  // namespace pergrad::augment
