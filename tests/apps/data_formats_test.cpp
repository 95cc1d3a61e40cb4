// Loading: every format from tiny files, where files are looked for, the pool, and the real Fashion-MNIST.
#include "apps/data_cifar.h"
#include "apps/data_image.h"
#include "apps/data_load.h"
#include "core/error.h"
#include "tests/apps/data_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace fs = std::filesystem;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

namespace pergrad::apps {
namespace {

using namespace test;

void expect_same(const Dataset& a, const Dataset& b) {
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.label_count, b.label_count);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.pixels, b.pixels);
}

class DataFormats : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& bytes) { spill(folder_ / name, bytes); }
  void put_png(const std::string& name, int64_t height, int64_t width, int64_t channels, uint8_t value) {
    put(name, flat_png(height, width, channels, value));
  }
  DataSpec spec(const std::string& format) const {
    DataSpec result;
    result.format = format;
    result.path = folder_.path().native();
    return result;
  }
  const TempFolder folder_;
};

TEST_F(DataFormats, IdxPlainAndGzipped) {
  const Dataset train = some_images(12, 5, 7, 1, 10, 1), test = some_images(3, 5, 7, 1, 10, 2);
  put("train-images-idx3-ubyte", idx_images(train));
  put("train-labels-idx1-ubyte.gz", gzip(idx_labels(train)));
  put("t10k-images-idx3-ubyte.gz", gzip(idx_images(test)));
  put("t10k-labels-idx1-ubyte.gz", idx_labels(test));  // plain whatever its name says
  const Split split = load_dataset(spec("idx"));
  expect_same(split.train, train);
  expect_same(split.test, test);
  EXPECT_EQ(split.train.name, folder_.path().filename().native() + " (train)");
  EXPECT_EQ(split.test.fingerprint, dataset_fingerprint(test));
  DataSpec more = spec("idx");
  more.label_count = 47;
  EXPECT_EQ(load_dataset(more).train.label_count, 47);
}

TEST_F(DataFormats, IdxOfSeveralGzipMembers) {
  const Dataset train = some_images(12, 5, 7, 1, 10, 1);
  const std::string images = idx_images(train);
  put("train-images-idx3-ubyte.gz", gzip(images.substr(0, 100)) + gzip("") + gzip(images.substr(100)));
  put("train-labels-idx1-ubyte", idx_labels(train));
  put("test-images-idx3-ubyte", images);
  put("test-labels-idx1-ubyte", idx_labels(train));
  expect_same(load_dataset(spec("idx")).train, train);
}

TEST_F(DataFormats, ResizedOnTheWay) {
  const Dataset train = some_images(12, 28, 28, 1, 10, 1);
  for (const char* prefix : {"train", "test"}) {
    put(std::string(prefix) + "-images-idx3-ubyte", idx_images(train));
    put(std::string(prefix) + "-labels-idx1-ubyte", idx_labels(train));
  }
  DataSpec wanted = spec("idx");
  wanted.height = wanted.width = 14;
  wanted.channels = 3;
  const Split split = load_dataset(wanted);
  EXPECT_EQ(split.train.image_size(), 14 * 14 * 3);
  const std::span<const uint8_t> old = train.image(11);
  const Image image = fit_image({28, 28, 1, {old.begin(), old.end()}}, 14, 14, 3);
  EXPECT_THAT(split.train.image(11), testing::ElementsAreArray(image.pixels));
}

TEST_F(DataFormats, Cifar10) {
  const Dataset train = some_images(13, 32, 32, 3, 10, 1), test = some_images(2, 32, 32, 3, 10, 2);
  write_cifar10(folder_.path(), train, test);
  const Split split = load_dataset(spec("cifar10"));
  expect_same(split.train, train);
  expect_same(split.test, test);
  EXPECT_TRUE(split.train.label_names.empty());
  put("batches.meta.txt", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
  EXPECT_THAT(load_dataset(spec("cifar10")).test.label_names[9], "truck");
}

// The layout of a record, written out by hand: label, then the planes of red, green and blue, row by row.
TEST_F(DataFormats, CifarRecordByHand) {
  std::string record(3073, '\0');
  record[0] = 7;
  record[1 + 0 * 1024 + 33] = 10;  // red of row 1, column 1
  record[1 + 1 * 1024 + 33] = 20;
  record[1 + 2 * 1024 + 33] = 30;
  put("one.bin", record);
  DataSpec one = spec("cifar10");
  one.path += "/one.bin";
  const Pool pool = load_pool(one, "made by hand");
  EXPECT_THAT(pool.images.labels, ElementsAre(7));
  const std::span<const uint8_t> pixel = pool.images.image(0).subspan((1 * 32 + 1) * 3, 3);
  EXPECT_THAT(pixel, ElementsAre(10, 20, 30));
  EXPECT_EQ(std::count(pool.images.pixels.begin(), pool.images.pixels.end(), 0), 3069);
  EXPECT_EQ(pool.provenance, "made by hand");
}

TEST_F(DataFormats, Cifar100FineAndCoarse) {
  const Dataset train = some_images(120, 32, 32, 3, 100, 1);
  std::string bytes = encode_cifar(train, CifarKind::kCifar100Fine, 0, train.size());
  for (size_t i = 0; i < 120; ++i) bytes[i * 3074] = static_cast<char>(i % 20);
  put("train.bin", bytes);
  put("test.bin", bytes);
  expect_same(load_dataset(spec("cifar100")).train, train);
  DataSpec coarse = spec("cifar100");
  coarse.coarse_labels = true;
  const Split split = load_dataset(coarse);
  EXPECT_EQ(split.train.label_count, 20);
  EXPECT_EQ(split.train.labels[119], 19);
  EXPECT_EQ(split.train.pixels, train.pixels);
}

TEST_F(DataFormats, ImageFolder) {
  put_png("train/b/2.png", 4, 6, 3, 20);
  put_png("train/b/10.PNG", 4, 6, 3, 10);
  put_png("train/b/3.png", 4, 6, 3, 30);
  put_png("train/a/x.jpg", 4, 6, 3, 5);  // a PNG whatever its name says
  put_png("train/a/y.jpg", 4, 6, 3, 6);
  put_png("test/a/1.png", 4, 6, 3, 1);
  put_png("test/b/1.png", 4, 6, 3, 2);
  put("train/b/.DS_Store", "hidden");
  put(".cache/file", "hidden");
  const Split split = load_dataset(spec("image_folder"));
  EXPECT_THAT(split.train.label_names, ElementsAre("a", "b"));
  EXPECT_THAT(split.train.labels,
              ElementsAre(0, 1, 0, 1, 1));  // dealt class by class: the first n are of all
  EXPECT_THAT(split.train.image(0), Each(5));
  EXPECT_THAT(split.train.image(1), Each(10));  // "10" comes before "2": bytes, not numbers
  EXPECT_THAT(split.train.image(2), Each(6));
  EXPECT_THAT(split.train.image(3), Each(20));
  EXPECT_THAT(split.train.image(4), Each(30));
  EXPECT_THAT(split.test.labels, ElementsAre(0, 1));
  EXPECT_EQ(split.test.image_size(), 4 * 6 * 3);
}

TEST_F(DataFormats, ImageFolderMixedWithConfiguredShape) {
  put_png("a/1.png", 40, 60, 3, 20);
  put_png("a/2.png", 3, 2, 1, 10);
  DataSpec wanted = spec("image_folder");
  wanted.height = wanted.width = 8;
  wanted.channels = 1;
  const Pool pool = load_pool(wanted, "drawn by a program");
  EXPECT_EQ(pool.images.image_size(), 64);
  EXPECT_THAT(pool.images.image(0), Each(20));
  EXPECT_THAT(pool.images.image(1), Each(10));
}

TEST_F(DataFormats, PoolMustMatch) {
  put_png("a/1.png", 8, 8, 1, 20);
  put_png("b/1.png", 8, 8, 1, 20);
  const Pool pool = load_pool(spec("image_folder"), "drawn by a program");
  Dataset train = some_images(4, 8, 8, 1, 2, 1);
  EXPECT_NO_THROW(check_pool_matches(pool, train));
  train.label_names = {"a", "b"};
  EXPECT_NO_THROW(check_pool_matches(pool, train));
  train.label_names = {"b", "a"};
  EXPECT_THROW(check_pool_matches(pool, train), Error);
  EXPECT_THROW(check_pool_matches(pool, some_images(4, 8, 8, 1, 3, 1)), Error);
  EXPECT_THROW(check_pool_matches(pool, some_images(4, 8, 8, 3, 2, 1)), Error);
  EXPECT_THROW(load_pool(spec("image_folder"), ""), Error);
  EXPECT_THROW(load_pool(spec("image_folder"), "two\nlines"), Error);
}

TEST_F(DataFormats, RootsInOrder) {
  fs::create_directories(folder_ / "one" / "x");
  fs::create_directories(folder_ / "two" / "x");
  fs::create_directories(folder_ / "two" / "y");
  const char* before = std::getenv("PERGRAD_DATA");
  const std::string kept = before ? before : "";
  ::setenv("PERGRAD_DATA", (folder_ / "two").c_str(), 1);
  const std::string one = (folder_ / "one").native();
  EXPECT_EQ(find_data("x", one), folder_ / "one" / "x");
  EXPECT_EQ(find_data("x", ""), folder_ / "two" / "x");
  EXPECT_EQ(find_data("y", one), folder_ / "two" / "y");
  EXPECT_EQ(find_data((folder_ / "two").native(), one), folder_ / "two");
  try {
    find_data("z", one);
    ADD_FAILURE() << "was found";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("no z in " + one + ", " + (folder_ / "two").native() + ", /usr/share/datasets"));
  }
  before ? ::setenv("PERGRAD_DATA", kept.c_str(), 1) : ::unsetenv("PERGRAD_DATA");
}

TEST(DataProgress, SilentWhenQuickAndSeldomWhenSlow) {
  int calls = 0;
  int64_t last = -1;
  const Progress report = [&](std::string_view what, int64_t done, int64_t total) {
    EXPECT_EQ(what, "work");
    EXPECT_EQ(total, 1000);
    last = done;
    ++calls;
  };
  ProgressMeter quick(report, "work", 1000);
  for (int64_t i = 1; i <= 1000; ++i) quick.update(i);
  EXPECT_EQ(calls, 0);
  ProgressMeter slow(report, "work", 1000);
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  for (int64_t i = 1; i <= 999; ++i) slow.update(i);
  EXPECT_LE(calls, 2);
  slow.update(1000);
  EXPECT_EQ(last, 1000);
}

TEST(DataFashionMnist, RealFiles) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"))
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  DataSpec spec;
  spec.format = "idx";
  spec.path = "/usr/share/datasets/fashion-mnist";
  const Split split = load_dataset(spec);
  EXPECT_EQ(split.train.size(), 60000);
  EXPECT_EQ(split.test.size(), 10000);
  EXPECT_EQ(split.train.image_size(), 28 * 28);
  EXPECT_EQ(split.train.label_count, 10);
  for (int32_t label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(split.train.labels.begin(), split.train.labels.end(), label), 6000);
    EXPECT_EQ(std::count(split.test.labels.begin(), split.test.labels.end(), label), 1000);
  }
  // The constants that everybody uses for Fashion-MNIST: 0.2860 and 0.3530.
  double sum = 0, squares = 0;
  for (uint8_t value : split.train.pixels) {
    sum += value / 255.0;
    squares += (value / 255.0) * (value / 255.0);
  }
  const double mean = sum / static_cast<double>(split.train.pixels.size());
  EXPECT_NEAR(mean, 0.2860, 5e-5);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(split.train.pixels.size()) - mean * mean), 0.3530,
              5e-5);
}

}  // namespace
}  // namespace pergrad::apps
