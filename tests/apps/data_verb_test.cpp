// `pergrad data`: what inspect counts, and that convert loses nothing, neither images nor what was there.
#include "apps/atomic_file.h"
#include "apps/verb_data.h"
#include "core/error.h"
#include "tests/apps/data_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

namespace fs = std::filesystem;
using testing::HasSubstr;

namespace pergrad::apps {
namespace {

using namespace test;

// Two classes of 32 x 32 colour images; train/a/1 and train/a/2 are equal, train/b/1 is also in test.
class DataVerb : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& [path, value] : std::vector<std::pair<std::string, uint8_t>>{{"train/a/1", 0},
                                                                                  {"train/a/2", 0},
                                                                                  {"train/a/3", 255},
                                                                                  {"train/a/4", 1},
                                                                                  {"train/b/1", 51},
                                                                                  {"test/a/1", 7},
                                                                                  {"test/b/1", 51}})
      spill(folder_ / "set" / (path + ".png"), flat_png(32, 32, 3, value));
  }
  DataConvertOptions to(const std::string& format, const std::string& name) const {
    DataConvertOptions options;
    options.from.format = "image_folder";
    options.from.path = (folder_ / "set").native();
    options.to_format = format;
    options.to_path = (folder_ / name).native();
    return options;
  }
  std::string refusal(const DataConvertOptions& options) const {
    try {
      data_convert(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "was not refused";
  }
  int64_t entries() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }
  const TempFolder folder_;
};

TEST_F(DataVerb, Inspect) {
  DataInspectOptions options;
  options.spec.format = "image_folder";
  options.spec.path = (folder_ / "set").native();
  const DataReport report = data_inspect(options);
  EXPECT_EQ(report.json["splits"][0]["examples"], 5);
  EXPECT_EQ(report.json["splits"][0]["nonprivate_duplicates"], 1);
  EXPECT_EQ(report.json["splits"][0]["nonprivate_label_counts"], (std::vector<int>{4, 1}));
  EXPECT_EQ(report.json["splits"][1]["examples"], 2);
  EXPECT_EQ(report.json["nonprivate_shared"], 1);
  EXPECT_EQ(report.json["label_names"], (std::vector<std::string>{"a", "b"}));
  const double mean = (0 + 0 + 255 + 1 + 51) / 5.0;
  const double square = (0 + 0 + 255 * 255 + 1 + 51 * 51) / 5.0;
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(report.json["nonprivate_mean"][c], mean / 255, 1e-12);
    EXPECT_NEAR(report.json["nonprivate_std"][c], std::sqrt(square - mean * mean) / 255, 1e-12);
  }
  EXPECT_NO_THROW(report.json.dump());
  EXPECT_THAT(report.text, HasSubstr("nonprivate_mean"));
  EXPECT_EQ(report.text.back(), '\n');

  options.pool = true;
  options.spec.path += "/train";
  const DataReport pool = data_inspect(options);
  EXPECT_EQ(pool.json["splits"].size(), 1u);
  EXPECT_FALSE(pool.json.contains("nonprivate_shared"));
}

TEST_F(DataVerb, ConvertThereAndBack) {
  for (const std::string format : {"cifar10", "cifar100"}) {
    const DataReport there = data_convert(to(format, format));
    DataConvertOptions options = to("image_folder", format + "_png");
    options.from.format = format;
    options.from.path = (folder_ / format).native();
    const DataReport back = data_convert(options);
    EXPECT_EQ(there.json["train_fingerprint"], back.json["train_fingerprint"]);
    EXPECT_EQ(there.json["test_fingerprint"], back.json["test_fingerprint"]);
    EXPECT_EQ(back.json["files"], 7);
    EXPECT_FALSE(back.json["labels_renumbered"]);
    EXPECT_TRUE(fs::exists(folder_ / (format + "_png") / "train" / "a" / "00003.png"));
    options.from.format = "image_folder";
    options.from.path = options.to_path;
    options.to_path += "_2";
    EXPECT_EQ(data_convert(options).json["train_fingerprint"], there.json["train_fingerprint"]);
  }
  EXPECT_EQ(entries(), 7);  // no temporary folder is left
}

TEST_F(DataVerb, ConvertMissesTheFolderAroundItsTargetBeforeItReads) {
  DataConvertOptions options = to("cifar10", "nowhere/out");
  options.from.path = "no data here";
  EXPECT_THAT(refusal(options), HasSubstr("nowhere/out: No such file or directory"));
}

TEST_F(DataVerb, ConvertNeverOverwritesUnasked) {
  data_convert(to("cifar10", "out"));
  const std::string before = read_file(folder_ / "out" / "data_batch_1.bin");
  EXPECT_THAT(refusal(to("image_folder", "out")), HasSubstr("exists and is not overwritten"));
  EXPECT_EQ(read_file(folder_ / "out" / "data_batch_1.bin"), before);
  DataConvertOptions asked = to("image_folder", "out");
  asked.overwrite = true;
  data_convert(asked);
  EXPECT_FALSE(fs::exists(folder_ / "out" / "data_batch_1.bin"));
  EXPECT_TRUE(fs::exists(folder_ / "out" / "test" / "b" / "00000.png"));
  // What is not a dataset is not replaced even when asked.
  spill(folder_ / "out" / "thesis.txt", "years of work");
  EXPECT_THAT(refusal(asked), HasSubstr("is not just a converted dataset"));
  fs::rename(folder_ / "out" / "thesis.txt", folder_ / "out" / "train" / "a" / "thesis.tex");
  EXPECT_THAT(refusal(asked), HasSubstr("is not just a converted dataset"));
  EXPECT_TRUE(fs::exists(folder_ / "out" / "train" / "a" / "thesis.tex"));
  EXPECT_EQ(entries(), 2);
}

TEST_F(DataVerb, ConvertRefusesAndLeavesNothing) {
  EXPECT_THAT(refusal(to("idx", "out")), HasSubstr("data convert: format: got \"idx\""));
  DataConvertOptions nowhere = to("cifar10", "out");
  nowhere.to_path.clear();
  EXPECT_THAT(refusal(nowhere), HasSubstr("target: is empty"));
  EXPECT_THAT(refusal(to("cifar10", "no/such/out")), HasSubstr("No such file or directory"));
  DataConvertOptions small = to("cifar10", "out");
  small.from.height = small.from.width = 16;
  EXPECT_THAT(refusal(small), HasSubstr("images are 16 x 16 x 3"));
  fs::remove(folder_ / "set" / "train" / "a" / "1.png");
  EXPECT_THAT(refusal(to("cifar10", "out")), HasSubstr("has 4 images, wanted at least 5"));
  EXPECT_EQ(entries(), 1);
}

}  // namespace
}  // namespace pergrad::apps
