// A public pool says where it comes from and fits the data, or is refused.
#include "augment/public_pool.h"

#include "tests/augment/examples.h"

namespace pergrad::augment {
namespace {

constexpr ImageShape kShape{4, 5, 3};

TEST(PublicPool, KeepsItsImagesAndWhereTheyComeFrom) {
  const Dataset images = noise_images(3, kShape, 10);
  const PublicPool pool(images, "random bytes");
  EXPECT_EQ(pool.size(), 3);
  EXPECT_EQ(pool.provenance(), "random bytes");
  EXPECT_TRUE(std::ranges::equal(pool.image(2), images.image(2)));
  EXPECT_EQ(pool.label(2), images.labels[2]);
  pool.require_match(noise_images(8, kShape, 10, 2));
}

TEST(PublicPool, RefusesToBeOfUnknownOrigin) {
  const Dataset images = noise_images(3, kShape, 10);
  expect_refusal<PrivacyError>([&] { PublicPool(images, ""); }, "public pool: no provenance");
  expect_refusal<PrivacyError>([&] { PublicPool(images, " \t"); }, "public pool: no provenance");
  expect_refusal([&] { PublicPool(images, "two\nlines"); }, "public pool: provenance must be one line");
}

TEST(PublicPool, RefusesBrokenImages) {
  Dataset images = noise_images(3, kShape, 10);
  expect_refusal([&] { PublicPool(noise_images(0, kShape, 10), "none"); }, "public pool: got 0 images");
  images.labels[1] = 10;
  expect_refusal([&] { PublicPool(images, "bytes"); }, "public pool: a label is outside of [0,10)");
  images.labels[1] = 0;
  images.pixels.pop_back();
  expect_refusal([&] { PublicPool(images, "bytes"); }, "public pool: got 179 bytes, wanted 3 images of 60");
}

TEST(PublicPool, RefusesDataOfAnotherShapeAndTheDataItself) {
  Dataset images = noise_images(3, kShape, 10);
  images.fingerprint = "abc";
  const PublicPool pool(images, "bytes");
  expect_refusal(
      [&] {
        pool.require_match(noise_images(3, {5, 5, 3}, 10));
      },
      "public pool: images [4,5,3] with 10 labels, wanted [5,5,3] with 10");
  expect_refusal([&] { pool.require_match(noise_images(3, kShape, 11)); }, "wanted [4,5,3] with 11");
  expect_refusal<PrivacyError>([&] { pool.require_match(images); },
                               "public pool: its images are the private data");
}

}  // namespace
}  // namespace pergrad::augment
