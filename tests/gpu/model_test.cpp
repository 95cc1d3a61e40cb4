// Whole networks on a GPU: rows against the processor in double, chunks, padding, captured work, prediction,
// and what the planner says.
#include "layers/gpu_model_gradients.h"
#include "layers/model_gradients.h"
#include "tests/gpu/device_test.h"
#include "tests/support/models.h"
#include "tests/support/tolerance.h"

#include <cmath>

namespace pergrad::test {
namespace {

class GpuModel : public GpuTest {
 protected:
  struct Net {
    ModelSettings settings;
    ImageShape image;
    int64_t labels;
  };
  static Net small_resnet() { return {wide_resnet_settings(10, 1, 8), {8, 8, 3}, 5}; }
  static Net sequence() {
    ModelSettings s;
    s.name = "sequential";
    s.layers = {
        "conv 8 k3 s2 p1", "tanh", "average_pool 2 s1", "conv 16 k3 p1", "group_norm 4", "relu", "max_pool 2",
        "linear 12",       "relu", "classifier"};
    return {s, {12, 10, 1}, 4};
  }

  static GpuConvSettings conv(Precision precision, int64_t images) {
    GpuConvSettings c;
    c.precision = precision;
    c.images_per_call = images;
    return c;
  }
  // The same random weights in double on the processor and in float on the device.
  void make(const Net& net, Precision precision, int64_t images) {
    exact_ = std::make_unique<Model>(net.settings, net.image, net.labels);
    randomise(*exact_, DType::f64, 5);
    there_ = std::make_unique<Model>(net.settings, net.image, net.labels, device(), conv(precision, images));
    there_->parameters().allocate(DType::f32, Key{}, device());
    there_->parameters().assign(exact_->parameters().flat().to(DType::f32).to(device()));
  }
  static ExampleBatch in_double(const ExampleBatch& b) {
    return {b.images.to(DType::f64), b.targets.to(DType::f64), b.weights.to(DType::f64), b.units, b.is_real};
  }
  std::unique_ptr<Model> exact_, there_;
};

TEST_P(GpuModel, RowsAgreeWithDouble) {
  for (const Net& net : {small_resnet(), sequence()})
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      SCOPED_TRACE(concat(net.settings.name, precision == Precision::bf16 ? " bf16" : " fp32"));
      if (precision == Precision::bf16 && net.settings.name == "sequential") continue;  // tanh of bf16: below
      make(net, precision, 2);
      ModelGradients reference(*exact_, CpuExec{1});
      GpuModelGradients gradients(*there_, 2, 3);
      const ExampleBatch batch = random_batch(*there_, 3, 2, DType::f32, 9);
      std::vector<float> losses, exact;
      const PerExampleGradient want = reference.rows(in_double(batch), &exact);
      const PerExampleGradient got = gradients.rows(pick_rows(batch, all_rows(batch)), &losses);
      const Tensor rows = got.slab().to(Device{});
      const double tolerance = precision == Precision::bf16 ? kBf16ModelTolerance : kFloatModelTolerance;
      for (int64_t n = 0; n < 3; ++n)
        EXPECT_LE(normalised_error(rows.rows(n, n + 1), want.slab().rows(n, n + 1)), tolerance)
            << "row " << n;
      for (size_t n = 0; n < 3; ++n) EXPECT_NEAR(losses[n], exact[n], tolerance * std::abs(exact[n]));
    }
}

TEST_P(GpuModel, SequenceInBf16) {
  make(sequence(), Precision::bf16, 2);
  ModelGradients reference(*exact_, CpuExec{1});
  GpuModelGradients gradients(*there_, 2, 2);
  const ExampleBatch batch = random_batch(*there_, 2, 2, DType::f32, 9);
  const PerExampleGradient want = reference.rows(in_double(batch));
  const PerExampleGradient got = gradients.rows(pick_rows(batch, all_rows(batch)));
  EXPECT_LE(normalised_error(got.slab().to(Device{}), want.slab()), kBf16ModelTolerance);
}

TEST_P(GpuModel, BitsDependOnNeitherChunkNorPaddingNorRepetition) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    make(small_resnet(), precision, 2);
    const ExampleBatch batch = random_batch(*there_, 5, 2, DType::f32, 9);
    std::vector<Tensor> results;
    for (const int64_t chunk : {1, 2, 5, 7}) {
      GpuModelGradients gradients(*there_, 2, chunk);
      const Tensor all = Tensor::empty({5, there_->parameters().size()}, DType::f32);
      for (int repetition = 0; repetition < 3; ++repetition) {  // op by op; captured and replayed; replayed
        for (int64_t n = 0; n < 5; n += chunk) {
          std::vector<int64_t> some;
          for (int64_t i = n; i < std::min<int64_t>(5, n + chunk); ++i) some.push_back(i);
          const PerExampleGradient rows = gradients.rows(pick_rows(batch, some));
          ASSERT_EQ(rows.rows(), std::ssize(some));
          all.rows(n, n + rows.rows()).assign(rows.slab());
        }
        results.push_back(all.clone());
      }
    }
    for (size_t i = 1; i < results.size(); ++i)
      EXPECT_TRUE(same_bits(results[i], results[0])) << "result " << i;
  }
}

TEST_P(GpuModel, CapturedWorkFollowsNewWeights) {
  make(small_resnet(), Precision::fp32, 2);
  GpuModelGradients gradients(*there_, 2, 2);
  const ExampleBatch batch = random_batch(*there_, 2, 2, DType::f32, 9);
  const auto rows = [&](GpuModelGradients& from) {
    return from.rows(pick_rows(batch, all_rows(batch))).slab().to(Device{});
  };
  const Tensor before = rows(gradients);
  EXPECT_TRUE(same_bits(rows(gradients), before));
  Parameters& p = there_->parameters();
  p.assign(random_tensor({p.size()}, DType::f32, 77, 0.3).to(device()));
  const Tensor replayed = rows(gradients);
  EXPECT_FALSE(same_bits(replayed, before));
  GpuModelGradients fresh(*there_, 2, 2);
  EXPECT_TRUE(same_bits(rows(fresh), replayed));
}

TEST_P(GpuModel, APoisonedExampleLeavesTheOthersAsTheyWere) {
  make(small_resnet(), Precision::bf16, 2);
  GpuModelGradients gradients(*there_, 2, 3);
  const ExampleBatch batch = random_batch(*there_, 3, 2, DType::f32, 9);
  const Tensor clean = gradients.rows(pick_rows(batch, all_rows(batch))).slab().to(Device{});
  batch.images.rows(1, 2).fill(NAN);
  const Tensor poisoned = gradients.rows(pick_rows(batch, all_rows(batch))).slab().to(Device{});
  EXPECT_TRUE(same_row(poisoned, 0, clean, 0));
  EXPECT_TRUE(same_row(poisoned, 2, clean, 2));
  EXPECT_TRUE(std::isnan(poisoned.data<float>()[clean.dim(1)]));
}

// Several examples in one call of the library, as in training: neither place nor neighbours change a bit.
TEST_P(GpuModel, PlacesAndNeighboursInACallChangeNothing) {
  for (const Net& net : {small_resnet(), sequence()})
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
      SCOPED_TRACE(concat(net.settings.name, ' ', text_of(precision)));
      make(net, precision, 8);  // four examples of two views
      GpuModelGradients gradients(*there_, 2, 8);
      gradients.require_independent_rows();
      const ExampleBatch batch = random_batch(*there_, 8, 2, DType::f32, 9);
      const auto rows = [&](const std::vector<int64_t>& order) {
        return gradients.rows(pick_rows(batch, order)).slab().to(Device{});
      };
      const Tensor whole = rows(all_rows(batch));
      const std::vector<int64_t> turned = {5, 3, 7, 0, 2, 6, 1, 4}, few = {6, 2, 1};
      const Tensor moved = rows(turned), alone = rows(few);
      for (int64_t n = 0; n < 8; ++n)
        EXPECT_TRUE(same_row(moved, n, whole, turned[static_cast<size_t>(n)])) << n;
      for (int64_t n = 0; n < 3; ++n)
        EXPECT_TRUE(same_row(alone, n, whole, few[static_cast<size_t>(n)])) << n;
      batch.images.rows(2, 3).fill(NAN);
      const Tensor poisoned = rows(all_rows(batch));
      for (int64_t n = 0; n < 8; ++n) EXPECT_TRUE(n == 2 || same_row(poisoned, n, whole, n)) << n;
    }
}

// The same at the size of a real run; the emulator is too slow for it.
TEST_P(GpuModel, PlacesAndNeighboursOfARealRunChangeNothing) {
  if (device().kind != Device::Kind::cuda) GTEST_SKIP() << "for a real GPU";
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    make({wide_resnet_settings(16, 4, 16), {32, 32, 3}, 10}, precision, 256);
    GpuModelGradients gradients(*there_, 16, 32);
    EXPECT_NO_THROW(gradients.require_independent_rows());
  }
}

TEST_P(GpuModel, PredictionsAgreeWithTheProcessor) {
  make(small_resnet(), Precision::fp32, 4);
  const ExampleBatch batch = random_batch(*there_, 7, 1, DType::f32, 9);
  const Tensor want = predict(*exact_, batch.images.to(DType::f64), CpuExec{1});
  EXPECT_LE(normalised_error(predict(*there_, batch.images, CpuExec{1}), want), kFloatModelTolerance);
}

PG_ON_GPUS(GpuModel);

// What WRN-16-4 and WRN-40-4 take, without a card: the numbers are in docs/benchmarks.md.
TEST(GpuPlanner, TheLargeNetsFitOnSmallCards) {
  constexpr size_t kGiB = size_t{1} << 30;
  const ImageShape cifar{32, 32, 3};
  struct Card {
    int64_t depth, views;
    size_t gib;
  };
  for (const Card& card :
       {Card{16, 16, 139}, Card{16, 34, 24}, Card{40, 34, 24}, Card{40, 34, 8}, Card{16, 34, 8}}) {
    const size_t memory = card.gib * kGiB * 9 / 10;
    const GpuPlan plan = plan_for_gpu(wide_resnet_settings(card.depth, 4, 16), cifar, 10, card.views,
                                      Precision::bf16, memory, 0);
    RecordProperty(concat("wrn", card.depth, "_views", card.views, "_gib", card.gib),
                   concat(plan.chunk_rows, " examples, ", plan.bytes >> 20, " MiB"));
    std::printf("WRN-%ld-4, %ld views, %zu GiB: %ld examples at a time, %zu MiB\n", card.depth, card.views,
                card.gib, plan.chunk_rows, plan.bytes >> 20);
    EXPECT_LE(plan.bytes, memory);
    EXPECT_GE(plan.chunk_rows, 7);
    EXPECT_EQ(plan.conv.images_per_call, 256 / card.views * card.views);
    EXPECT_EQ(plan.chunk_rows * card.views % plan.conv.images_per_call, 0);
  }
}

TEST(GpuPlanner, SaysWhatOneCallWouldTake) {
  const std::string message = message_of<DeviceError>([] {
    plan_for_gpu(wide_resnet_settings(40, 4, 16), {32, 32, 3}, 10, 34, Precision::fp32, size_t{64} << 20, 0);
  });
  EXPECT_NE(message.find("7 examples of 34 views take"), std::string::npos) << message;
  EXPECT_NE(message.find("set speed.max_examples to less than 7"), std::string::npos) << message;
}

}  // namespace
}  // namespace pergrad::test
