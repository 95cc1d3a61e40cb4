// Bad data: each case damages a sound dataset in one way; what must come is one line of Error, and nothing
// else.
#include "apps/atomic_file.h"
#include "apps/data_cifar.h"
#include "apps/data_load.h"
#include "core/error.h"
#include "tests/apps/data_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <optional>

namespace fs = std::filesystem;
using testing::HasSubstr;

namespace pergrad::apps {
namespace {

using namespace test;

// A dataset of each format in a folder of its own, to be damaged.
class Folder : public TempFolder {
 public:
  std::string get(const std::string& name) const { return read_file(*this / name); }
  void put(const std::string& name, const std::string& bytes) const { spill(*this / name, bytes); }
  void remove(const std::string& name) const { fs::remove_all(*this / name); }
  // Bytes at `place` (counted from the end if negative) become `bytes`.
  void patch(const std::string& name, int64_t place, const std::string& bytes) const {
    std::string content = get(name);
    if (place < 0) place += static_cast<int64_t>(content.size());
    content.replace(static_cast<size_t>(place), bytes.size(), bytes);
    put(name, content);
  }
  void cut(const std::string& name, int64_t bytes) const {
    const std::string content = get(name);
    put(name, content.substr(0, content.size() - static_cast<size_t>(bytes)));
  }

  void make(const std::string& format) const {
    if (format == "idx") {
      for (const std::string prefix : {"train", "t10k"}) {
        put(prefix + "-images-idx3-ubyte", idx_images(6, 4, 5, noise(120)));
        put(prefix + "-labels-idx1-ubyte", idx_labels(std::string("\0\1\2\3\4\5", 6)));
      }
    } else if (format == "cifar10") {
      const std::string file = cifar_noise();
      for (const std::string& name : cifar_train_files(CifarKind::kCifar10)) put(name, file);
      put("test_batch.bin", file);
    } else if (format == "cifar100") {
      const std::string file = cifar_noise("\3");
      put("train.bin", file);
      put("test.bin", file);
    } else {
      for (const std::string split : {"train", "test"})
        for (const std::string name : {"a", "b"}) {
          put(concat(split, '/', name, "/1.jpg"), noise_jpeg(8, 12));
          put(concat(split, '/', name, "/2.png"), noise_png(8, 12, 3));
        }
    }
  }
  // idx, with the training images gzipped.
  void gzip_images() const {
    const std::string plain = get("train-images-idx3-ubyte");
    remove("train-images-idx3-ubyte");
    put("train-images-idx3-ubyte.gz", gzip(plain));
  }
};

DataSpec spec_of(const std::string& format, const Folder& folder) {
  DataSpec spec;
  spec.format = format;
  spec.path = folder.path().native();
  return spec;
}

// The line of the Error, none if all was well. Anything else that is thrown goes through and fails the test.
std::optional<std::string> refusal(const std::function<void()>& load) {
  try {
    load();
  } catch (const Error& error) {
    return error.what();
  }
  return std::nullopt;
}

void expect_one_line(const std::string& line) {
  EXPECT_FALSE(line.empty());
  EXPECT_EQ(line, printable(line));  // no line end, no control character
  EXPECT_LT(line.size(), 1000u);
}

struct BadCase {
  std::string name, format;
  std::function<void(const Folder&)> damage;
  std::string fragment;                           // of the line
  std::function<void(DataSpec&)> configure = {};  // the description, if that is what is bad
};

void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }

constexpr auto kImages = "train-images-idx3-ubyte";
constexpr auto kLabels = "train-labels-idx1-ubyte";
constexpr auto kZipped = "train-images-idx3-ubyte.gz";

std::vector<BadCase> bad_cases() {
  using F = const Folder&;
  const auto nothing = [](F) {};
  return {
      {"IdxMissing", "idx", [](F f) { f.remove(kImages); }, "no train-images-idx3-ubyte[.gz] in it"},
      {"IdxTestMissing", "idx", [](F f) { f.remove("t10k-labels-idx1-ubyte"); },
       "no t10k-labels-idx1-ubyte[.gz] or test-labels-idx1-ubyte[.gz] in it"},
      {"IdxEmpty", "idx", [](F f) { f.put(kImages, ""); }, "truncated in its head: no magic number"},
      {"IdxHeadTruncated", "idx", [](F f) { f.put(kImages, big_endian(0x803) + big_endian(6) + "ab"); },
       "truncated in its head: no height"},
      {"IdxMagic", "idx", [](F f) { f.patch(kImages, 0, big_endian(0x0803080a)); },
       "magic number is 0x0803080a, wanted 0x00000803"},
      {"IdxSwapped", "idx", [](F f) { f.put(kImages, f.get(kLabels)); },
       "magic number is 0x00000801, wanted 0x00000803"},
      {"IdxLabelMagic", "idx", [](F f) { f.put(kLabels, f.get(kImages)); }, "wanted 0x00000801"},
      {"IdxTruncated", "idx", [](F f) { f.cut(kImages, 1); },
       "truncated: 119 bytes after the head, wanted 120"},
      {"IdxTrailing", "idx", [](F f) { f.put(kImages, f.get(kImages) + "x"); }, "bytes behind its end"},
      {"IdxLabelsTruncated", "idx", [](F f) { f.cut(kLabels, 2); },
       "truncated: 4 bytes after the head, wanted 6"},
      {"IdxLabelsTrailing", "idx", [](F f) { f.put(kLabels, f.get(kLabels) + "x"); }, "bytes behind its end"},
      {"IdxNoImages", "idx", [](F f) { f.patch(kImages, 4, big_endian(0)); },
       "number of images is 0, wanted 1 to"},
      {"IdxZeroHeight", "idx", [](F f) { f.patch(kImages, 8, big_endian(0)); },
       "height is 0, wanted 1 to 4096"},
      {"IdxZeroWidth", "idx", [](F f) { f.patch(kImages, 12, big_endian(0)); },
       "width is 0, wanted 1 to 4096"},
      {"IdxHugeHeight", "idx", [](F f) { f.patch(kImages, 8, big_endian(0xFFFFFFFF)); },
       "height is 4294967295"},
      {"IdxOverflow", "idx", [](F f) { f.patch(kImages, 4, big_endian(0xFFFFFFFF)); },
       "number of images is 4294967295"},
      {"IdxLyingHead", "idx",
       [](F f) {
         f.patch(kImages, 4, big_endian(1000000000) + big_endian(4096) + big_endian(4096));
         f.patch(kLabels, 4, big_endian(1000000000));
       },
       "truncated: 6 bytes after the head, wanted 1000000000"},
      {"IdxCounts", "idx", [](F f) { f.put(kLabels, idx_labels(std::string(5, '\1'))); },
       "has 5 labels, but"},
      {"IdxLabelRange", "idx", [](F f) { f.patch(kLabels, -2, "\x0A"); },
       "label 4 (counted from 0) is 10, wanted 0 to 9"},
      {"IdxTestShape", "idx", [](F f) { f.put("t10k-images-idx3-ubyte", idx_images(6, 5, 4, noise(120))); },
       "training images are 4 x 5, but test images are 5 x 4"},
      {"IdxGzipCrc", "idx",
       [](F f) {
         f.gzip_images();
         f.patch(kZipped, -7, "\x5A\x5A");
       },
       "damaged gzip stream: incorrect data check"},
      {"IdxGzipLength", "idx",
       [](F f) {
         f.gzip_images();
         f.patch(kZipped, -2, "\x5A");
       },
       "damaged gzip stream: incorrect length check"},
      {"IdxGzipTruncated", "idx",
       [](F f) {
         f.gzip_images();
         f.cut(kZipped, 5);
       },
       "gzip stream is truncated"},
      {"IdxGzipHeadOnly", "idx",
       [](F f) {
         f.gzip_images();
         f.put(kZipped, f.get(kZipped).substr(0, 5));
       },
       "gzip stream is truncated"},
      {"IdxGzipMethod", "idx",
       [](F f) {
         f.gzip_images();
         f.patch(kZipped, 2, "\x07");
       },
       "damaged gzip stream: unknown compression method"},
      {"IdxGzipTrailing", "idx",
       [](F f) {
         f.gzip_images();
         f.put(kZipped, f.get(kZipped) + "garbage");
       },
       "damaged gzip stream: incorrect header check"},
      {"IdxIsFolder", "idx",
       [](F f) {
         f.remove(kImages);
         fs::create_directory(f.path() / kImages);
       },
       "is not a regular file"},
      {"IdxPathIsFile", "idx", nothing, "is not a folder",
       [](DataSpec& s) { s.path += std::string("/") + kImages; }},

      {"Cifar10Missing", "cifar10", [](F f) { f.remove("data_batch_3.bin"); }, "no data_batch_3.bin in it"},
      {"Cifar10TestMissing", "cifar10", [](F f) { f.remove("test_batch.bin"); }, "no test_batch.bin in it"},
      {"Cifar10Empty", "cifar10", [](F f) { f.put("data_batch_2.bin", ""); }, "data_batch_2.bin: is empty"},
      {"Cifar10Size", "cifar10", [](F f) { f.cut("data_batch_5.bin", 1); },
       "data_batch_5.bin: has 12291 bytes, wanted a multiple of 3073"},
      {"Cifar10Label", "cifar10", [](F f) { f.patch("data_batch_4.bin", 2 * 3073, "\x0A"); },
       "data_batch_4.bin: record 2 (counted from 0) has label 10, wanted 0 to 9"},
      {"Cifar10Not100", "cifar10",
       [](F f) {
         f.make("cifar100");
         f.put("data_batch_1.bin", f.get("train.bin"));
       },
       "has 12296 bytes, wanted a multiple of 3073"},
      {"Cifar10ManyNames", "cifar10",
       [](F f) { f.put("batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n"); },
       "has more label names than the 10 labels"},
      {"Cifar10FewNames", "cifar10", [](F f) { f.put("batches.meta.txt", "a\nb\nc\n"); },
       "record 3 (counted from 0) has label 3, wanted 0 to 2"},
      {"Cifar10NoNames", "cifar10", [](F f) { f.put("batches.meta.txt", "\n\n"); }, "has no label name"},
      {"Cifar10TwiceNamed", "cifar10", [](F f) { f.put("batches.meta.txt", "a\nb\na\n"); },
       "the name a is there twice"},
      {"Cifar10OddName", "cifar10", [](F f) { f.put("batches.meta.txt", "a\nb\x1B[2J\n"); },
       "name 1 (counted from 0) is not plain text: b\\x1b[2J"},
      {"Cifar100Fine", "cifar100", [](F f) { f.patch("test.bin", 3074 + 1, "\x64"); },
       "test.bin: record 1 (counted from 0) has label 100, wanted 0 to 99"},
      {"Cifar100Coarse", "cifar100", [](F f) { f.patch("train.bin", 0, "\x14"); },
       "record 0 (counted from 0) has label 20, wanted 0 to 19", [](DataSpec& s) { s.coarse_labels = true; }},
      {"Cifar100Size", "cifar100", [](F f) { f.put("train.bin", f.get("train.bin") + "xy"); },
       "has 12298 bytes, wanted a multiple of 3074"},

      {"FolderNoTest", "image_folder", [](F f) { f.remove("test"); }, "test: is not there"},
      {"FolderExtra", "image_folder", [](F f) { f.put("val/a/1.png", "x"); },
       "val: wanted nothing but train/ and test/"},
      {"FolderClassOfOne", "image_folder", [](F f) { f.remove("test/b"); }, "train/b: class is not in"},
      {"FolderClassOfTest", "image_folder", [](F f) { f.put("test/c/1.png", noise_png(8, 12, 3)); },
       "test/c: class is not in"},
      {"FolderNoClass", "image_folder",
       [](F f) {
         f.remove("train/a");
         f.remove("train/b");
       },
       "train: no class in it"},
      {"FolderEmptyClass", "image_folder",
       [](F f) {
         f.remove("train/b/1.jpg");
         f.remove("train/b/2.png");
         f.put("train/b/.hidden", "x");
       },
       "train/b: class without images"},
      {"FolderStrayFile", "image_folder", [](F f) { f.put("train/README.txt", "x"); },
       "train/README.txt: is not a folder"},
      {"FolderOtherFile", "image_folder", [](F f) { f.put("train/a/list.csv", "x"); },
       "train/a/list.csv: is not an image by its name"},
      {"FolderNested", "image_folder", [](F f) { f.put("train/a/more/1.png", noise_png(8, 12, 3)); },
       "train/a/more: is not a file"},
      {"FolderDeadLink", "image_folder",
       [](F f) { fs::create_symlink("nowhere", f.path() / "train/a/9.png"); },
       "9.png: No such file or directory"},
      {"FolderLineInName", "image_folder", [](F f) { f.put("train/a/new\nline.txt", "x"); },
       "new\\x0aline.txt"},
      {"ImageEmpty", "image_folder", [](F f) { f.put("train/a/1.jpg", ""); }, "train/a/1.jpg: is empty"},
      {"ImageIsText", "image_folder", [](F f) { f.put("train/a/1.jpg", "<html>\n404"); },
       "train/a/1.jpg: is neither JPEG nor PNG: begins with <html>\\x0a4"},
      {"JpegTruncated", "image_folder", [](F f) { f.cut("train/b/1.jpg", 20); },
       "train/b/1.jpg: damaged JPEG: Premature end of JPEG file"},
      {"JpegHeadOnly", "image_folder", [](F f) { f.put("test/b/1.jpg", "\xFF\xD8\xFF"); },
       "test/b/1.jpg: damaged JPEG"},
      {"JpegHuge", "image_folder",
       [](F f) {
         std::string bytes = f.get("train/a/1.jpg");
         const size_t frame = bytes.find("\xFF\xC0");
         f.patch("train/a/1.jpg", static_cast<int64_t>(frame) + 5, "\x7F\xFF\x7F\xFE");
       },
       "image is 32767 x 32766 pixels, wanted at most 16384 a side"},
      {"PngTruncated", "image_folder", [](F f) { f.cut("train/b/2.png", 30); },
       "train/b/2.png: damaged PNG: premature end"},
      {"PngNoEnd", "image_folder", [](F f) { f.cut("train/b/2.png", 12); },
       "damaged PNG: premature end of file"},
      {"PngCrc", "image_folder", [](F f) { f.patch("train/a/2.png", -14, "\x5A\xA5"); },
       "damaged PNG: IDAT: CRC error"},
      {"PngHeadCrc", "image_folder", [](F f) { f.patch("train/a/2.png", 18, "\xFF"); },
       "damaged PNG: IHDR: CRC error"},
      {"PngClaimsMuch", "image_folder",
       [](F f) {
         f.patch("train/a/2.png", 16, big_endian(16384) + big_endian(4096));
         f.put("train/a/2.png", png_with_right_checksums(f.get("train/a/2.png")));
       },
       "cannot hold a PNG image of 4096 x 16384 pixels"},
      {"JpegClaimsMuch", "image_folder",
       [](F f) {
         const size_t frame = f.get("train/a/1.jpg").find("\xFF\xC0");
         f.patch("train/a/1.jpg", static_cast<int64_t>(frame) + 5, std::string("\x10\0\x40\0", 4));
       },
       "damaged JPEG"},
      {"MixedSizes", "image_folder", [](F f) { f.put("train/b/3.png", noise_png(8, 13, 3)); },
       "train/b/3.png: is 8 x 13, but "},
      {"MixedHeight", "image_folder", [](F f) { f.put("train/b/3.png", noise_png(9, 12, 3)); },
       "need data.height and data.width", [](DataSpec& s) { s.width = 12; }},
      {"MixedChannels", "image_folder", [](F f) { f.put("train/b/3.png", noise_png(8, 12, 1)); },
       "train/b/3.png: is grey, but "},
      {"TestSize", "image_folder",
       [](F f) {
         for (const char* name : {"test/a/1.jpg", "test/a/2.png", "test/b/1.jpg", "test/b/2.png"})
           f.put(name, noise_png(9, 9, 3));
       },
       "test: images are 9 x 9, but those of"},
      {"FirstOfTwoBad", "image_folder",
       [](F f) {
         f.put("train/b/2.png", "bad");
         f.put("train/a/2.png", "bad");
       },
       "train/a/2.png: is neither"},

      {"UnknownFormat", "idx", nothing, "data.format: got \"mnist\"",
       [](DataSpec& s) { s.format = "mnist"; }},
      {"NoPath", "idx", nothing, "data.path: got \"\"", [](DataSpec& s) { s.path = ""; }},
      {"NulInPath", "idx", nothing, "data.path: got \"",
       [](DataSpec& s) { s.path += std::string("\0/x", 3); }},
      {"NoSuchPath", "idx", nothing, "does not exist", [](DataSpec& s) { s.path += "/none"; }},
      {"LongPath", "idx", nothing, "File name too long",
       [](DataSpec& s) { s.path += "/" + std::string(300, 'x'); }},
      {"NegativeHeight", "idx", nothing, "data.height: got -1", [](DataSpec& s) { s.height = -1; }},
      {"HugeWidth", "idx", nothing, "data.width: got 9999999", [](DataSpec& s) { s.width = 9999999; }},
      {"TwoChannels", "idx", nothing, "data.channels: got 2", [](DataSpec& s) { s.channels = 2; }},
      {"ManyLabels", "idx", nothing, "label_count: got 257", [](DataSpec& s) { s.label_count = 257; }},
      {"OtherLabels", "image_folder", nothing, "data.label_count: got 3, but",
       [](DataSpec& s) { s.label_count = 3; }},
      {"CoarseIdx", "idx", nothing, "only cifar100 has them", [](DataSpec& s) { s.coarse_labels = true; }},
  };
}

class BadData : public testing::TestWithParam<BadCase> {};

TEST_P(BadData, IsRefusedInOneLine) {
  const BadCase& bad = GetParam();
  const Folder folder;
  folder.make(bad.format);
  ASSERT_EQ(refusal([&] { load_dataset(spec_of(bad.format, folder)); }), std::nullopt) << "sound before";
  bad.damage(folder);
  DataSpec spec = spec_of(bad.format, folder);
  if (bad.configure) bad.configure(spec);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const std::optional<std::string> line = refusal([&] { load_dataset(spec); });
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(line.has_value()) << "was read";
  EXPECT_THAT(*line, HasSubstr(bad.fragment));
  expect_one_line(*line);
}

INSTANTIATE_TEST_SUITE_P(Cases, BadData, testing::ValuesIn(bad_cases()),
                         [](const auto& test) { return test.param.name; });

// One file of a sound dataset, cut and flipped everywhere.
struct FuzzCase {
  std::string name, format, file;
  bool zipped = false;
  bool cut_is_noticed = true;  // CIFAR files may have any number of records
};

void PrintTo(const FuzzCase& fuzz, std::ostream* out) { *out << fuzz.name; }

class FuzzedData : public testing::TestWithParam<FuzzCase> {
 protected:
  void SetUp() override {
    folder_.make(GetParam().format);
    if (GetParam().zipped) folder_.gzip_images();
    sound_ = folder_.get(GetParam().file);
    ASSERT_EQ(load(sound_), std::nullopt);
  }
  std::optional<std::string> load(const std::string& bytes) const {
    folder_.put(GetParam().file, bytes);
    return refusal([&] { load_dataset(spec_of(GetParam().format, folder_)); });
  }
  Folder folder_;
  std::string sound_;
};

TEST_P(FuzzedData, CutAtEveryTwentieth) {
  for (size_t part = 0; part < 20; ++part) {
    const std::optional<std::string> line = load(sound_.substr(0, sound_.size() * part / 20));
    EXPECT_TRUE(line.has_value() || !GetParam().cut_is_noticed) << part << " / 20 was read";
    if (line) expect_one_line(*line);
  }
}

TEST_P(FuzzedData, FlippedBytes) {
  const size_t step = sound_.size() / 250 + 1;
  for (size_t place = 0; place < sound_.size(); place += step) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bytes = sound_;
      bytes[place] = static_cast<char>(bytes[place] ^ flip);
      if (const std::optional<std::string> line = load(bytes)) expect_one_line(*line);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, FuzzedData,
                         testing::Values(FuzzCase{"IdxImages", "idx", kImages},
                                         FuzzCase{"IdxLabels", "idx", kLabels},
                                         FuzzCase{"IdxGzip", "idx", kZipped, true},
                                         FuzzCase{"Cifar10", "cifar10", "data_batch_1.bin", false, false},
                                         FuzzCase{"Cifar100", "cifar100", "train.bin", false, false},
                                         FuzzCase{"Jpeg", "image_folder", "train/a/1.jpg"},
                                         FuzzCase{"Png", "image_folder", "train/a/2.png"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace pergrad::apps
