// Image operations against answers written down by hand.
#include "augment/image_ops.h"

#include "augment/normalisation.h"
#include "tests/augment/examples.h"

#include <numeric>

namespace pergrad::augment {
namespace {

// The canvas of a 3 x 3 image of one channel: 1..9.
std::vector<float> canvas_of_nine(int64_t p, Padding mode) {
  std::vector<uint8_t> bytes(9);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  std::vector<float> identity(256);
  std::iota(identity.begin(), identity.end(), 0.0f);
  const ImageShape shape{3, 3, 1};
  std::vector<float> canvas(static_cast<size_t>(shape.padded(p).size()), NAN);
  normalise(bytes.data(), identity.data(), shape, p, canvas.data());
  pad(canvas.data(), shape, p, mode);
  return canvas;
}

// numpy.pad(numpy.arange(1, 10).reshape(3, 3), 2, "reflect") and "symmetric".
TEST(ImageOps, ReflectLeavesTheEdgeOut) {
  EXPECT_EQ(canvas_of_nine(2, Padding::reflect), (std::vector<float>{9, 8, 7, 8, 9, 8, 7,  //
                                                                     6, 5, 4, 5, 6, 5, 4,  //
                                                                     3, 2, 1, 2, 3, 2, 1,  //
                                                                     6, 5, 4, 5, 6, 5, 4,  //
                                                                     9, 8, 7, 8, 9, 8, 7,  //
                                                                     6, 5, 4, 5, 6, 5, 4,  //
                                                                     3, 2, 1, 2, 3, 2, 1}));
}

TEST(ImageOps, SymmetricRepeatsTheEdge) {
  EXPECT_EQ(canvas_of_nine(2, Padding::symmetric), (std::vector<float>{5, 4, 4, 5, 6, 6, 5,  //
                                                                       2, 1, 1, 2, 3, 3, 2,  //
                                                                       2, 1, 1, 2, 3, 3, 2,  //
                                                                       5, 4, 4, 5, 6, 6, 5,  //
                                                                       8, 7, 7, 8, 9, 9, 8,  //
                                                                       8, 7, 7, 8, 9, 9, 8,  //
                                                                       5, 4, 4, 5, 6, 6, 5}));
}

// The whole side is the most that symmetric padding can mirror.
TEST(ImageOps, SymmetricMirrorsTheWholeImage) {
  const std::vector<float> canvas = canvas_of_nine(3, Padding::symmetric);
  EXPECT_EQ(std::vector<float>(canvas.begin(), canvas.begin() + 9),
            (std::vector<float>{9, 8, 7, 7, 8, 9, 9, 8, 7}));
}

TEST(ImageOps, Crop) {
  const std::vector<float> canvas = canvas_of_nine(2, Padding::reflect);
  std::vector<float> view(9);
  crop(canvas.data(), {3, 3, 1}, 2, 0, 4, view.data());
  EXPECT_EQ(view, (std::vector<float>{9, 8, 7, 6, 5, 4, 3, 2, 1}));
  crop(canvas.data(), {3, 3, 1}, 2, 2, 2, view.data());
  EXPECT_EQ(view, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(ImageOps, FlipMovesPixelsAndKeepsTheirChannels) {
  for (int64_t channels : {1, 2, 3}) {
    const ImageShape shape{2, 3, channels};
    std::vector<float> in(static_cast<size_t>(shape.size()));
    std::iota(in.begin(), in.end(), 0.0f);
    std::vector<float> out(in.size()), back(in.size());
    flip(in.data(), shape, out.data());
    for (int64_t y = 0; y < 2; ++y) {
      for (int64_t x = 0; x < 3; ++x) {
        for (int64_t c = 0; c < channels; ++c) {
          EXPECT_EQ(out[static_cast<size_t>((y * 3 + x) * channels + c)],
                    in[static_cast<size_t>((y * 3 + 2 - x) * channels + c)]);
        }
      }
    }
    flip(out.data(), shape, back.data());
    EXPECT_EQ(back, in);
  }
}

// torch: transforms.Normalize((0.25, 0.5, 0.75), (0.5, 0.25, 0.125)) after ToTensor; exact in binary at 0 and
// 255.
TEST(ImageOps, NormalisationIsPerChannel) {
  const Normalisation constants({0.25, 0.5, 0.75}, {0.5, 0.25, 0.125});
  const std::vector<uint8_t> bytes{0, 0, 0, 255, 255, 255};
  std::vector<float> out(6);
  normalise(bytes.data(), constants.table(), {1, 2, 3}, 0, out.data());
  EXPECT_EQ(out, (std::vector<float>{-0.5f, -2.0f, -6.0f, 1.5f, 2.0f, 2.0f}));
  const Normalisation cifar({0.4914}, {0.2470});
  EXPECT_NEAR(cifar.table()[128], (128 / 255.0 - 0.4914) / 0.2470, 1e-6);
}

TEST(ImageOps, NormalisationRefusesConstantsThatAreNone) {
  const double nan = std::nan("");
  expect_refusal([&] { Normalisation({nan}, {1}); }, "normalisation: mean of channel 0 is nan");
  expect_refusal([&] { Normalisation({0}, {nan}); }, "normalisation: deviation of channel 0 is nan");
  expect_refusal([&] { Normalisation({0, 0}, {1, 0}); }, "normalisation: deviation of channel 1 is 0");
  expect_refusal([&] { Normalisation({0, 0}, {1}); }, "normalisation: got 2 means and 1 deviations");
  expect_refusal([&] { Normalisation({}, {}); }, "normalisation: got 0 means");
}

TEST(ImageOps, Mix) {
  const std::vector<float> a{0, 1, 4}, b{8, 1, -4};
  std::vector<float> out(3);
  mix(a.data(), b.data(), 0.25, 3, out.data());
  EXPECT_EQ(out, (std::vector<float>{6, 1, -2}));
  mix(a.data(), b.data(), 1.0, 3, out.data());
  EXPECT_EQ(out, a);
}

TEST(ImageOps, CutMixBox) {
  const ImageShape shape{8, 8, 1};
  const auto box = [&](double lambda, int64_t row, int64_t column) {
    const Box b = cutmix_box(lambda, row, column, shape);
    return std::vector<int64_t>{b.top, b.left, b.bottom, b.right};
  };
  EXPECT_EQ(box(0.75, 4, 4), (std::vector<int64_t>{2, 2, 6, 6}));  // a quarter of the image, side ratio 1/2
  EXPECT_EQ(box(0.75, 0, 7), (std::vector<int64_t>{0, 5, 2, 8}));  // cut off at the corner
  EXPECT_EQ(box(0.0, 4, 4), (std::vector<int64_t>{0, 0, 8, 8}));
  EXPECT_EQ(cutmix_box(1.0, 3, 3, shape).area(), 0);
  EXPECT_EQ(cutmix_box(0.75, 1, 2, {4, 8, 1}).area(), 2 * 4);
}

TEST(ImageOps, CutMixPastesTheBoxAndCountsIt) {
  const ImageShape shape{3, 4, 2};
  const std::vector<float> a(24, 0.0f), b(24, 1.0f);
  std::vector<float> out(24);
  EXPECT_DOUBLE_EQ(cutmix(a.data(), b.data(), {1, 2, 3, 4}, shape, out.data()), 1.0 - 4.0 / 12.0);
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 0, 0, 0, 0, 0,  //
                                     0, 0, 0, 0, 1, 1, 1, 1,  //
                                     0, 0, 0, 0, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace pergrad::augment
