// Noise and release on a GPU: the processor's bits, whose law tests/privacy tests; one line each, replay on
// either device; the whole step.
#include "tests/gpu/device_test.h"
#include "tests/gpu/dp_fakes.h"
#include "dp/gpu.h"
#include "dp/step.h"

namespace pergrad::dp {
namespace {

const Key kKey = key_from_text("gpu mechanism test");

class GpuNoiseSmall : public test::GpuTest {};
class GpuStepSmall : public test::GpuTest {};

std::vector<float> floats(const PrivateGradient& gradient) {
  const Tensor host = gradient.values().to(Device{});
  return {host.values<float>().begin(), host.values<float>().end()};
}

ClippedSum sum_on(Device device, const Plan& plan, const std::vector<float>& row) {
  ClippedSum sum(plan, static_cast<int64_t>(row.size()), device);
  clip_and_sum(rows_on(device, {row}), plan, sum);
  return sum;
}

TEST_P(GpuNoiseSmall, HasTheProcessorsBits) {
  constexpr int64_t P = 3001;  // not a multiple of any block
  static const GaussianBins bins;
  for (int64_t noise_std : {int64_t{1} << 20, (int64_t{1} << 41) + 12345, int64_t{1} << 54}) {
    const Tensor zero = Tensor::zeros({P}, DType::i64), sum = zero.to(device());
    const Tensor here = Tensor::empty({P}, DType::f32), there = Tensor::empty({P}, DType::f32, device());
    ReleaseBlock<ChaChaStream> kernel{&bins, ChaChaStart(kKey, 7, 0), noise_std,         0x1p-30,
                                      P,     zero.data<int64_t>(),    here.data<float>()};
    const int64_t blocks = (P + kNoiseBlock - 1) / kNoiseBlock;
    CpuExec{}.for_each(blocks, kernel);
    kernel.sum = sum.device_data<int64_t>(), kernel.out = there.device_data<float>();
    release_on_gpu(kernel, blocks, device());
    const Tensor back = there.to(Device{});
    double power = 0;
    for (int64_t i = 0; i < P; ++i) {
      ASSERT_EQ(back.data<float>()[i], here.data<float>()[i]) << i;
      power += std::pow(back.data<float>()[i] * 0x1p30 / static_cast<double>(noise_std), 2);
    }
    EXPECT_LT(std::fabs(power - P), kSigmas * std::sqrt(2.0 * P));
  }
}

// The same sum released there and here: the same bits, so a replay, in one ledger; another is a fork.
TEST_P(GpuNoiseSmall, ReleasesAreTheProcessorsAndReplay) {
  const Plan plan(settings());
  Folder folder;
  Ledger ledger(folder.ledger(), plan);
  GaussianMechanism mechanism(plan, kKey, ledger);
  const auto row = row_of(1, 5001);
  const PrivateGradient gradient = mechanism.release(sum_on(device(), plan, row), 4);
  EXPECT_EQ(gradient.values().device(), device());
  const auto first = floats(gradient);
  EXPECT_EQ(lines_in(folder.ledger()), 2);
  EXPECT_EQ(floats(mechanism.release(sum_on(device(), plan, row), 4)), first);
  EXPECT_EQ(floats(mechanism.release(sum_on(Device{}, plan, row), 4)), first);
  EXPECT_EQ(lines_in(folder.ledger()), 2);
  EXPECT_NE(floats(mechanism.release(sum_on(device(), plan, row_of(2, 5001)), 4)), first);
  EXPECT_EQ(lines_in(folder.ledger()), 3);
  ClippedSum sum(plan, 5, device());
  EXPECT_THROW(mechanism.release(std::move(sum), 1000), PrivacyError);
  mechanism.release(std::move(sum), 0);                       // NOLINT: it was refused, not taken
  EXPECT_THROW(mechanism.release(std::move(sum), 1), Error);  // NOLINT: used up
  EXPECT_EQ(lines_in(folder.ledger()), 4);
}

struct Step {
  Folder folder;
  Plan plan;
  Ledger ledger;
  PoissonSampler sampler;
  GaussianMechanism mechanism;
  FakeExamples examples;
  explicit Step(const PlanSettings& s)
      : plan(s), ledger(folder.ledger(), plan), sampler(plan, kKey, 100), mechanism(plan, kKey, ledger) {}
  std::vector<float> run(GradientSource& gradients, int64_t step, int64_t chunk) {
    return floats(private_step(sampler, examples, gradients, mechanism, step, chunk, {}));
  }
};

TEST_P(GpuStepSmall, ChunksPaddingAndDeviceChangeNoBit) {
  Step step(settings());
  FakeGradients here(5001);
  GpuGradients there(5001, device());
  const auto expected = step.run(here, 0, 1000);
  for (int64_t chunk : {1, 2, 7, 32, 1000}) {
    step.examples.padding = chunk % 3;
    EXPECT_EQ(step.run(there, 0, chunk), expected) << chunk;
  }
  EXPECT_EQ(lines_in(step.folder.ledger()), 2);  // replays all
}

TEST_P(GpuStepSmall, AnEmptyDrawReleasesNoiseThereAndIsRecorded) {
  PlanSettings s = settings();
  s.sampling_rate = 0x1p-60;
  Step step(s);
  GpuGradients gradients(3000, device());
  const PrivateGradient gradient =
      private_step(step.sampler, step.examples, gradients, step.mechanism, 0, 10, {});
  EXPECT_EQ(gradient.values().device(), device());
  double power = 0;
  for (float x : floats(gradient)) power += std::pow(x * 12.5 / (1.7 * 0.3), 2);
  EXPECT_LT(std::fabs(power - 3000), kSigmas * std::sqrt(6000.0));
  EXPECT_EQ(lines_in(step.folder.ledger()), 2);
}

TEST_P(GpuStepSmall, ASourceThatIsElsewhereThanItSaysIsRefused) {
  struct Lying : GpuGradients {
    using GpuGradients::GpuGradients;
    Device device() const override { return {}; }
  } gradients(300, device());
  Step step(settings());
  EXPECT_THROW(step.run(gradients, 0, 10), DeviceError);
  EXPECT_EQ(lines_in(step.folder.ledger()), 1);
}

PG_ON_GPUS(GpuNoiseSmall);
PG_ON_GPUS(GpuStepSmall);

}  // namespace
}  // namespace pergrad::dp
