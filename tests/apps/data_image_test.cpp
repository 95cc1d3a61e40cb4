// Images: known answers of resizing and of channel conversion; PNG and JPEG of every kind that we take.
#include "apps/data_image.h"
#include "core/error.h"
#include "tests/apps/data_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using testing::ElementsAre;
using testing::HasSubstr;

namespace pergrad::apps {
namespace {

using namespace test;

Image grey(int64_t height, int64_t width, std::vector<uint8_t> pixels) {
  return {height, width, 1, std::move(pixels)};
}

TEST(DataResize, AreaAverageWhenShrinking) {
  EXPECT_THAT(resize_image(grey(2, 2, {0, 10, 20, 31}), 1, 1).pixels, ElementsAre(15));  // 15.25
  EXPECT_THAT(resize_image(grey(1, 2, {0, 1}), 1, 1).pixels, ElementsAre(1));            // 0.5 goes up
  // 3 -> 2: each new pixel covers one old one and half of the next.
  EXPECT_THAT(resize_image(grey(1, 3, {0, 90, 240}), 1, 2).pixels, ElementsAre(30, 190));
  EXPECT_THAT(resize_image(grey(3, 1, {0, 90, 240}), 2, 1).pixels, ElementsAre(30, 190));
  EXPECT_THAT(resize_image(grey(4, 4, {1, 3, 5, 7, 1, 3, 5, 7, 9, 9, 0, 0, 9, 9, 0, 0}), 2, 2).pixels,
              ElementsAre(2, 6, 9, 0));
}

TEST(DataResize, BilinearHalfPixelCentresWhenEnlarging) {
  // Centres of 4 new pixels in 2 old ones: -0.25, 0.25, 0.75, 1.25, as in OpenCV's INTER_LINEAR and in
  // torch.nn.functional.interpolate(mode="bilinear", align_corners=False).
  EXPECT_THAT(resize_image(grey(1, 2, {0, 100}), 1, 4).pixels, ElementsAre(0, 25, 75, 100));
  EXPECT_THAT(resize_image(grey(2, 1, {0, 100}), 4, 1).pixels, ElementsAre(0, 25, 75, 100));
  EXPECT_THAT(resize_image(grey(1, 1, {7}), 2, 3).pixels, ElementsAre(7, 7, 7, 7, 7, 7));
  // Down along one axis, up along the other.
  EXPECT_THAT(resize_image(grey(2, 2, {0, 100, 20, 120}), 1, 4).pixels, ElementsAre(10, 35, 85, 110));
}

TEST(DataResize, ConstantStaysConstantAndSameSizeStaysSame) {
  for (int64_t size : {1, 2, 5, 16, 31, 32, 33, 100}) {
    const Image out = resize_image({32, 32, 3, std::vector<uint8_t>(3072, 201)}, size, 37);
    EXPECT_EQ(out.pixels, std::vector<uint8_t>(static_cast<size_t>(size * 37 * 3), 201)) << size;
  }
  Image any = grey(3, 5, {});
  for (int i = 0; i < 15; ++i) any.pixels.push_back(static_cast<uint8_t>(17 * i));
  EXPECT_EQ(resize_image(any, 3, 5).pixels, any.pixels);
  EXPECT_THROW(resize_image(any, 0, 5), Error);
  EXPECT_THROW(resize_image(any, 5, kMaxImageSide + 1), Error);
}

TEST(DataChannels, LumaAndCopies) {
  const Image colour{1, 4, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}};
  EXPECT_THAT(convert_channels(colour, 1).pixels, ElementsAre(76, 150, 29, 255));  // BT.601
  EXPECT_THAT(convert_channels(grey(1, 2, {5, 6}), 3).pixels, ElementsAre(5, 5, 5, 6, 6, 6));
  EXPECT_THROW(convert_channels(colour, 2), Error);
}

TEST(DataPng, RoundTrip) {
  for (int64_t channels : {1, 3}) {
    Image image{7, 5, channels, {}};
    for (int64_t i = 0; i < 35 * channels; ++i) image.pixels.push_back(static_cast<uint8_t>(i * 37));
    const Image back = decode_image(encode_png(image), "a.png");
    EXPECT_EQ(back.height, 7);
    EXPECT_EQ(back.width, 5);
    EXPECT_EQ(back.channels, channels);
    EXPECT_EQ(back.pixels, image.pixels);
  }
}

TEST(DataPng, EveryKindBecomesEightBitsGreyOrColour) {
  EXPECT_THAT(decode_image(png_of(4, 1, 2, PNG_COLOR_TYPE_GRAY, {0b00011011}), "").pixels,
              ElementsAre(0, 85, 170, 255));
  EXPECT_THAT(
      decode_image(png_of(3, 1, 16, PNG_COLOR_TYPE_GRAY, {0x80, 0x00, 0xFF, 0xFF, 0x01, 0x01}), "").pixels,
      ElementsAre(128, 255, 1));
  EXPECT_THAT(decode_image(png_of(2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, {200, 255, 200, 128}), "").pixels,
              ElementsAre(200, 100));
  const Image rgba = decode_image(png_of(2, 1, 8, PNG_COLOR_TYPE_RGBA, {10, 20, 30, 255, 10, 20, 30, 0}), "");
  EXPECT_EQ(rgba.channels, 3);
  EXPECT_THAT(rgba.pixels, ElementsAre(10, 20, 30, 0, 0, 0));
  const std::vector<png_color> palette = {{1, 2, 3}, {100, 110, 120}};
  const Image indexed = decode_image(png_of(2, 1, 8, PNG_COLOR_TYPE_PALETTE, {1, 0}, palette), "");
  EXPECT_EQ(indexed.channels, 3);
  EXPECT_THAT(indexed.pixels, ElementsAre(100, 110, 120, 1, 2, 3));
  EXPECT_THAT(decode_image(png_of(2, 1, 8, PNG_COLOR_TYPE_PALETTE, {1, 0}, palette, {0, 128}), "").pixels,
              ElementsAre(50, 55, 60, 0, 0, 0));
  std::vector<uint8_t> bytes(81);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(3 * i);
  EXPECT_EQ(decode_image(png_of(9, 9, 8, PNG_COLOR_TYPE_GRAY, bytes, {}, {}, PNG_INTERLACE_ADAM7), "").pixels,
            bytes);
}

TEST(DataJpeg, GreyAndColour) {
  Image image{16, 24, 3, {}};
  for (int64_t i = 0; i < 16 * 24; ++i) image.pixels.insert(image.pixels.end(), {200, 100, 50});
  const Image colour = decode_image(jpeg_of(image, JCS_RGB), "a.jpg");
  EXPECT_EQ(colour.height, 16);
  EXPECT_EQ(colour.width, 24);
  ASSERT_EQ(colour.channels, 3);
  for (size_t i = 0; i < colour.pixels.size(); ++i) ASSERT_NEAR(colour.pixels[i], image.pixels[i], 3);
  const Image dots = decode_image(jpeg_of(grey(8, 8, std::vector<uint8_t>(64, 77)), JCS_GRAYSCALE), "a.jpg");
  EXPECT_EQ(dots.channels, 1);
  for (uint8_t value : dots.pixels) EXPECT_NEAR(value, 77, 1);
}

TEST(DataJpeg, CmykIsRefused) {
  const Image image{8, 8, 4, std::vector<uint8_t>(256, 9)};
  try {
    decode_image(jpeg_of(image, JCS_CMYK), "a.jpg");
    FAIL() << "was read";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a.jpg: JPEG is CMYK"));
  }
}

}  // namespace
}  // namespace pergrad::apps
