// Views made on a GPU are those of the processor, bit for bit.
#include "augment/gpu_view_source.h"
#include "tests/augment/examples.h"
#include "tests/gpu/device_test.h"

#include <gtest/gtest.h>

namespace pergrad::test {
namespace {

using namespace pergrad::augment;

class GpuViewsSmall : public GpuTest {};

void expect_same(const ExampleBatch& there, const ExampleBatch& here) {
  const ExampleBatch back{there.images.to(Device{}), there.targets.to(Device{}), there.weights.to(Device{}),
                          there.units, there.is_real};
  ASSERT_EQ(back.images.shape(), here.images.shape());
  for (int64_t n = 0; n < here.rows(); ++n) EXPECT_TRUE(same_row(back, n, here, n)) << "row " << n;
}

TEST_P(GpuViewsSmall, AreThoseOfTheProcessor) {
  const augment::ImageShape shape{9, 7, 3};
  const Dataset data = noise_images(12, shape, 4), images = noise_images(5, shape, 4, 2);
  const PublicPool pool(images, "random bytes");
  for (const MixMethod method : {MixMethod::mixup, MixMethod::cutmix})
    for (const Padding padding : {Padding::reflect, Padding::symmetric}) {
      AugmentSettings settings;
      settings.base = 3;
      settings.pool = 2;
      settings.mix = 4;
      settings.crop_padding = 4;
      settings.flip = true;
      settings.method = method;
      settings.padding = padding;
      settings.effects = all_effects();
      ViewSource source(data, settings, unit_range(3), test_key(), &pool, CpuExec{2});
      GpuViewSource there(source, data, &pool, device());
      const std::vector<Unit> units = {{{3}}, {{}}, {{11}}, {{0}}};
      for (int64_t step = 0; step < 6; ++step)
        expect_same(there.views(units, step), source.views(units, step));
    }
}

TEST_P(GpuViewsSmall, GroupsWithoutAndWithMixes) {
  const Dataset data = noise_images(12, {6, 6, 1}, 4);
  AugmentSettings settings;
  settings.base = 2;
  settings.flip = true;
  for (const GroupMix mix : {GroupMix::none, GroupMix::added}) {
    ViewSource source(data, settings, unit_range(1), test_key(), nullptr, CpuExec{1}, {3, mix});
    GpuViewSource there(source, data, nullptr, device());
    const std::vector<Unit> units = {{{3, 7, 1}}, {{}}, {{11, 2}}, {{0}}};
    expect_same(there.views(units, 5), source.views(units, 5));
  }
}

PG_ON_GPUS(GpuViewsSmall);

}  // namespace
}  // namespace pergrad::test
