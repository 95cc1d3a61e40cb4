// Faults of the data and of the arithmetic (F2 to F6 of tests/apps/README.md), on the whole program.
#include "apps/safetensors.h"
#include "faults.h"

#include <cmath>
#include <cstring>
#include <functional>

namespace pergrad::test {
namespace {

namespace fs = std::filesystem;

constexpr auto kImages = "train-images-idx3-ubyte";
constexpr auto kLabels = "train-labels-idx1-ubyte";
constexpr size_t kImagesHead = 16, kLabelsHead = 8, kImage = 144;  // bytes

struct ChangedData {
  const char* name;
  std::function<void(std::string& images, std::string& labels)> change;
};

// F2: a run goes on with the very examples that it was started with, or not at all.
TEST(Faults, ARunDoesNotGoOnWithOtherData) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const fs::path out = folder / "run";
  ASSERT_EQ(run(folder, training(config, out, {}, {"--max-steps", "3"})).status, 0);
  const auto counted = [](std::string& file, uint32_t count) { file.replace(4, 4, big_endian(count)); };
  const std::vector<ChangedData> cases = {
      {"one pixel", [](std::string& images, std::string&) { images[kImagesHead + 777] ^= 1; }},
      {"the last pixel", [](std::string& images, std::string&) { images.back() ^= 1; }},
      {"one label", [](std::string&, std::string& labels) { labels[kLabelsHead + 5] ^= 1; }},
      {"two images exchanged",
       [](std::string& images, std::string&) {
         std::swap_ranges(&images[kImagesHead], &images[kImagesHead + kImage], &images[kImagesHead + kImage]);
       }},
      {"two labels exchanged",
       [](std::string&, std::string& labels) { std::swap(labels[kLabelsHead], labels[kLabelsHead + 1]); }},
      {"one example less",
       [&](std::string& images, std::string& labels) {
         images.resize(images.size() - kImage), labels.pop_back();
         counted(images, 255), counted(labels, 255);
       }},
      {"one example more",
       [&](std::string& images, std::string& labels) {
         images += std::string(kImage, '\7'), labels += '\1';
         counted(images, 257), counted(labels, 257);
       }},
      {"one example twice",
       [&](std::string& images, std::string& labels) {
         images += images.substr(kImagesHead, kImage), labels += labels[kLabelsHead];
         counted(images, 257), counted(labels, 257);
       }},
      {"one example in the place of another",
       [](std::string& images, std::string& labels) {
         images.replace(kImagesHead, kImage, images.substr(kImagesHead + kImage, kImage));
         labels[kLabelsHead] = labels[kLabelsHead + 1];
       }},
      {"the other way of reading",
       [](std::string& images, std::string&) { images.replace(8, 8, big_endian(16) + big_endian(9)); }},
      {"half of them",
       [&](std::string& images, std::string& labels) {
         images.resize(kImagesHead + 128 * kImage), labels.resize(kLabelsHead + 128);
         counted(images, 128), counted(labels, 128);
       }},
  };
  const std::string images = slurp(folder / "toy" / kImages), labels = slurp(folder / "toy" / kLabels);
  const std::string ledger = slurp(out / "ledger.jsonl"), checkpoint = checkpoint_in(out);
  for (const ChangedData& c : cases) {
    std::string other_images = images, other_labels = labels;
    c.change(other_images, other_labels);
    spill(folder / "toy" / kImages, other_images);
    spill(folder / "toy" / kLabels, other_labels);
    // What does not fit the test images is refused even earlier.
    const bool fits = std::string_view(c.name) != "the other way of reading";
    expect_refusal(run(folder, training(config, out, {}, {"--resume"})), 2,
                   fits ? "cannot go on with other data" : "training images are", c.name);
    EXPECT_EQ(slurp(out / "ledger.jsonl"), ledger) << c.name;
    EXPECT_TRUE(checkpoint_in(out) == checkpoint) << c.name;
    expect_nothing_half_written(out, c.name);
  }
  // The same examples in another file are the same.
  fs::remove(folder / "toy" / kImages);
  spill(folder / "toy" / (std::string(kImages) + ".gz"), gzip(images));
  spill(folder / "toy" / kLabels, labels);
  EXPECT_EQ(run(folder, training(config, out, {}, {"--resume"})).status, 0);
}

bool all_finite(const fs::path& run) {
  const apps::Safetensors file(checkpoint_in(run), "checkpoint");
  for (const auto& entry : file.entries()) {
    const std::string_view bytes = file.bytes_of(entry);
    for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
      float value = 0;
      std::memcpy(&value, bytes.data() + i, 4);
      if (!std::isfinite(value)) return false;
    }
  }
  return true;
}

// F3: gradients that are not finite count zero; every step is made, charged and noised. Here every row of
// every step is such a one, or a loss that no float holds.
TEST(Faults, GradientsThatAreNotFiniteCountZero) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 3);
  const std::vector<std::vector<std::string>> cases = {
      {"data.std=[1e-38]"},
      {"data.std=[1e-36]"},
      {"data.std=[1e-30]"},
      {"data.mean=[1e38]"},
      {"data.mean=[-3e38]"},
      {"data.std=[1e-38]", "augment.method=cutmix"},
      {"data.std=[1e-38]", "privacy.units=microbatch", "privacy.microbatch_size=2"},
      {"data.std=[1e-38]", "speed.max_examples=1"},
      {"data.std=[1e-38]", "model.layers=[\"classifier\"]"},
      {"data.std=[1e-38]", "train.optimizer=adam", "train.momentum=0", "train.learning_rate=0.1"}};
  int number = 0;
  for (const auto& set : cases) {
    const fs::path out = folder / ("run" + std::to_string(number++));
    const Outcome done = run(folder, training(config, out, set));
    EXPECT_EQ(done.status, 0) << set[0] << "\n" << done.err;
    EXPECT_EQ(releases_in(out), 3) << set[0];
    EXPECT_TRUE(all_finite(out)) << set[0];
  }
}

// F4: weights that are not finite end the run after their step, in one line; what was there before stays, and
// what was released is on the ledger.
TEST(Faults, WeightsThatAreNotFiniteEndTheRun) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 6);
  const std::vector<std::vector<std::string>> cases = {
      {"train.learning_rate=1e300"},
      {"train.learning_rate=1e60"},
      {"train.learning_rate=1e300", "train.momentum=0"},
      {"train.learning_rate=1e300", "train.schedule=cosine"},
      {"train.learning_rate=1e300", "train.ema_decay=0"},
      {"train.learning_rate=1e300", "augment.method=cutmix"},
      {"train.learning_rate=1e300", "privacy.units=microbatch", "privacy.microbatch_size=2"},
      {"train.learning_rate=1e300", "train.optimizer=adam", "train.momentum=0"},
      {"train.learning_rate=1e300", "model.layers=[\"classifier\"]"},
      {"train.learning_rate=1e300", "train.checkpoint_every=1"}};
  int number = 0;
  for (const auto& set : cases) {
    const fs::path out = folder / ("run" + std::to_string(number++));
    const std::string what = set[0] + " " + set.back();
    expect_refusal(run(folder, training(config, out, set)), 2, "diverged", what);
    EXPECT_GE(releases_in(out), 1) << what;
    EXPECT_EQ(run(folder, {"account", "ledger", out}).status, 0) << what;
    EXPECT_TRUE(!fs::exists(out / "checkpoint.safetensors") || all_finite(out)) << what;
    expect_nothing_half_written(out, what);
  }
}

// F5: nobody was drawn: the step is made of noise alone, and charged.
TEST(Faults, AnEmptyBatchIsAStepLikeAnyOther) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 8);
  const std::vector<std::vector<std::string>> cases = {
      {"train.seed=1"},
      {"train.seed=2"},
      {"train.seed=3"},
      {"augment.method=cutmix"},
      {"augment.base=1", "augment.mix=0"},
      {"privacy.units=microbatch", "privacy.microbatch_size=2"},
      {"privacy.units=microbatch", "privacy.microbatch_size=2", "privacy.microbatch_mix=replacing"},
      {"train.optimizer=adam", "train.momentum=0", "train.learning_rate=0.01", "train.seed=2"},
      {"speed.max_examples=1", "speed.threads=2"},
      {"model.layers=[\"classifier\"]"},
      {"speed.device=emulated", "speed.precision=fp32", "speed.max_examples=2"}};
  int number = 0;
  for (std::vector<std::string> set : cases) {
    const fs::path out = folder / ("run" + std::to_string(number++));
    const std::string what = set[0] + " " + set.back();
    set.insert(set.end(), {"train.expected_batch_size=1", "data.train_limit=4", "train.steps=40",
                           "train.checkpoint_every=0", "log.nonprivate=true"});
    const Outcome done = run(folder, training(config, out, set));
    EXPECT_EQ(done.status, 0) << what << "\n" << done.err;
    EXPECT_EQ(releases_in(out), 40) << what;
    // The keys follow from the folder's name, too: no draw of 40 is empty once in 4 million runs. A group of
    // nobody is a group; how many joined it is not logged.
    const bool groups = set[0] == "privacy.units=microbatch";
    EXPECT_TRUE(groups ||
                slurp(out / "metrics.jsonl").find("\"nonprivate_batch_size\":0,") != std::string::npos)
        << what << ": no draw was empty\n"
        << slurp(out / "metrics.jsonl");
    EXPECT_TRUE(all_finite(out)) << what;
  }
}

// F6: everybody is drawn, many times what is in memory at once: nobody is left out, and no bit changes.
TEST(Faults, ABatchLargerThanTheMemoryForItIsTakenInParts) {
  const TempFolder folder;
  const auto config = write_toy_config(folder, 2);
  std::string first;
  for (const int examples : {256, 1, 3, 64, 255}) {
    const fs::path out = folder / ("run" + std::to_string(examples));
    const Outcome done = run(folder, training(config, out,
                                              {"train.expected_batch_size=256", "log.nonprivate=true",
                                               "speed.max_examples=" + std::to_string(examples)}));
    ASSERT_EQ(done.status, 0) << done.err;
    EXPECT_NE(slurp(out / "metrics.jsonl").find("\"nonprivate_batch_size\":256,"), std::string::npos);
    if (first.empty()) first = checkpoint_in(out);
    EXPECT_TRUE(checkpoint_in(out) == first) << examples;
  }
}

}  // namespace
}  // namespace pergrad::test
