// Run folders: one owner at a time, the same config and data on resuming, the key, the metrics.
#include "apps/run_folder.h"
#include "tests/apps/run_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pergrad::apps {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

TEST(RunFolder, ARefusedStartLeavesNothing) {
  const TempFolder folder;
  const Config config = good_config();
  {
    RunFolder run = RunFolder::create(folder / "run", config);
    run.run_key("fingerprint");
    EXPECT_TRUE(fs::exists(folder / "run" / "config.toml"));
  }
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(RunFolder, MadeAndResumed) {
  const TempFolder tmp;
  const fs::path path = tmp / "a/b/run";
  {
    const RunFolder run = kept_run(path, good_config());
    EXPECT_EQ(run.path(), path);
    EXPECT_TRUE(read_run_config(path) == good_config());
  }
  EXPECT_THAT(message_of([&] { kept_run(path, good_config()); }), HasSubstr("is not empty"));
  const RunFolder again = RunFolder::resume(path, good_config());
  EXPECT_EQ(again.ledger(), path / "ledger.jsonl");
}

TEST(RunFolder, AnEmptyFolderWillDo) {
  const TempFolder tmp;
  EXPECT_NO_THROW(kept_run(tmp.path(), good_config()));
}

TEST(RunFolder, LeavesAForeignFolderAlone) {
  const TempFolder tmp;
  spill(tmp / "thesis.tex", "x");
  EXPECT_THAT(message_of([&] { kept_run(tmp.path(), good_config()); }), HasSubstr("is not empty"));
  EXPECT_EQ(std::distance(fs::directory_iterator(tmp.path()), fs::directory_iterator()), 1);
  EXPECT_THAT(message_of([&] { RunFolder::resume(tmp.path(), good_config()); }),
              HasSubstr("holds no run (no config.toml in it)"));
  EXPECT_EQ(std::distance(fs::directory_iterator(tmp.path()), fs::directory_iterator()), 1);
}

TEST(RunFolder, OneProcessAtATime) {
  const TempFolder tmp;
  const fs::path path = tmp / "run";
  int ready[2], done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    [[maybe_unused]] const RunFolder run = kept_run(path, good_config());
    char byte = 'x';
    const bool told = ::write(ready[1], &byte, 1) == 1 && ::read(done[0], &byte, 1) == 1;
    ::_exit(told ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(message_of([&] { RunFolder::resume(path, good_config()); }),
              HasSubstr(concat("is in use by process ", child)));
  ASSERT_EQ(::write(done[1], &byte, 1), 1);
  ::waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(RunFolder::resume(path, good_config()));  // a lock dies with its process
  for (const int end : {ready[0], ready[1], done[0], done[1]}) ::close(end);
}

TEST(RunFolder, MovedItKeepsTheLock) {
  const TempFolder tmp;
  RunFolder first = kept_run(tmp / "run", good_config());
  const RunFolder second = std::move(first);
  EXPECT_THAT(message_of([&] { RunFolder::resume(tmp / "run", good_config()); }), HasSubstr("is in use"));
}

TEST(RunFolder, ResumesOnlyTheSameConfig) {
  const TempFolder tmp;
  { kept_run(tmp / "run", good_config()); }
  EXPECT_THAT(
      message_of([&] {
        RunFolder::resume(tmp / "run", good_config("reproducible", {"train.steps=21", "train.seed=2"}));
      }),
      HasSubstr("cannot go on with another config: train.steps: got 21, the run was started with 20"));
  EXPECT_THAT(message_of([&] { RunFolder::resume(tmp / "run", good_config("secure")); }),
              HasSubstr("noise.source: got \"secure\", the run was started with \"reproducible\""));
  // What never changes the result may change, and is written down.
  { RunFolder::resume(tmp / "run", good_config("reproducible", {"speed.threads=1", "log.every=3"})); }
  EXPECT_EQ(read_run_config(tmp / "run").speed.threads, 1);
}

TEST(RunFolder, SecureKeyIsASecretThatStays) {
  const TempFolder tmp;
  Key key, other;
  {
    RunFolder run = kept_run(tmp / "run", good_config("secure"));
    EXPECT_FALSE(fs::exists(tmp / "run/run.key"));
    key = run.run_key("fingerprint");
    EXPECT_EQ(mode_of(tmp / "run/run.key"), 0600u);
    EXPECT_THAT(slurp(tmp / "run/run.key"), SizeIs(65));
    EXPECT_THAT(run.dataset_tag(), SizeIs(64));
    other = kept_run(tmp / "other", good_config("secure")).run_key("fingerprint");
  }
  EXPECT_FALSE(key == other);
  RunFolder run = RunFolder::resume(tmp / "run", good_config("secure"));
  EXPECT_TRUE(run.run_key("fingerprint") == key);
  EXPECT_THAT(message_of([&] { run.run_key("another"); }), HasSubstr("cannot go on with other data"));
}

// The tag in checkpoints must not tell which data it is to those who can guess the data but lack the key.
TEST(RunFolder, DatasetTagDependsOnTheSecretKey) {
  const TempFolder tmp;
  RunFolder a = kept_run(tmp / "a", good_config("secure"));
  RunFolder b = kept_run(tmp / "b", good_config("secure"));
  a.run_key("fingerprint");
  b.run_key("fingerprint");
  EXPECT_NE(a.dataset_tag(), b.dataset_tag());
  EXPECT_THAT(slurp(tmp / "a/run.json"), testing::Not(HasSubstr("fingerprint")));
}

TEST(RunFolder, ReproducibleKeyIsAFunctionOfSeedConfigAndData) {
  const TempFolder tmp;
  int count = 0;
  const auto key_of = [&](const std::vector<std::string>& set, const std::string& data) {
    return kept_run(tmp / concat(count++), good_config("reproducible", set)).run_key(data);
  };
  const Key key = key_of({}, "data");
  EXPECT_TRUE(key == key_of({}, "data"));
  EXPECT_TRUE(key == key_of({"speed.threads=1", "log.every=7"}, "data"));
  EXPECT_FALSE(key == key_of({"train.seed=2"}, "data"));
  EXPECT_FALSE(key == key_of({"train.steps=30"}, "data"));
  EXPECT_FALSE(key == key_of({}, "other data"));
  EXPECT_FALSE(fs::exists(tmp / "0/run.key"));
  RunFolder again = RunFolder::resume(tmp / "0", good_config());
  EXPECT_THAT(message_of([&] { again.run_key("other data"); }), HasSubstr("cannot go on with other data"));
  EXPECT_TRUE(key == again.run_key("data"));
}

TEST(RunFolder, MetricsAreRewound) {
  const TempFolder tmp;
  const fs::path metrics = tmp / "run/metrics.jsonl";
  std::string uninterrupted;
  {
    RunFolder run = kept_run(tmp / "run", good_config());
    for (int step = 0; step < 10; ++step) run.append_metrics({{"step", step}, {"learning_rate", 0.5}});
    run.sync_metrics();
    uninterrupted = slurp(metrics);
    run.rewind_metrics(6);
    EXPECT_EQ(slurp(metrics).size(), uninterrupted.size() / 10 * 6);
    for (int step = 6; step < 10; ++step) run.append_metrics({{"step", step}, {"learning_rate", 0.5}});
    EXPECT_EQ(slurp(metrics), uninterrupted);
  }
  RunFolder run = RunFolder::resume(tmp / "run", good_config());
  spill(metrics, uninterrupted + "{\"step\": 3, \"lear");  // a crash while a line was written
  run.rewind_metrics(100);
  EXPECT_EQ(slurp(metrics), uninterrupted);
  spill(metrics, uninterrupted + std::string(20, '\0') + "\n");  // or what some file systems leave
  run.rewind_metrics(100);
  EXPECT_EQ(slurp(metrics), uninterrupted);
  spill(metrics, "nonsense\n" + uninterrupted);
  EXPECT_THAT(message_of([&] { run.rewind_metrics(100); }), HasSubstr("line 1 is damaged"));
  run.rewind_metrics(0);
  EXPECT_THAT(slurp(metrics), IsEmpty());
}

TEST(RunFolder, AFullDiskLeavesWholeLines) {
  const TempFolder tmp;
  RunFolder run = kept_run(tmp / "run", good_config());
  run.append_metrics({{"step", 0}});
  const std::string before = slurp(tmp / "run/metrics.jsonl");
  {
    const SmallDisk disk(before.size() + 5);
    EXPECT_THAT(message_of([&] {
                  run.append_metrics({{"step", 1}, {"x", "a longer line"}});
                }),
                AllOf(HasSubstr("cannot write"), HasSubstr("metrics.jsonl")));
  }
  EXPECT_EQ(slurp(tmp / "run/metrics.jsonl"), before);
  run.append_metrics({{"step", 1}});
  EXPECT_EQ(slurp(tmp / "run/metrics.jsonl"), before + "{\"step\":1}\n");
}

TEST(RunFolder, SummaryIsReplaced) {
  const TempFolder tmp;
  RunFolder run = kept_run(tmp / "run", good_config());
  run.write_summary({{"steps_done", 1}});
  run.write_summary({{"steps_done", 2}, {"epsilon", "inf"}});
  EXPECT_EQ(slurp(tmp / "run/summary.json"), "{\n  \"steps_done\": 2,\n  \"epsilon\": \"inf\"\n}\n");
}

TEST(RunFolder, DefaultNames) {
  const TempFolder tmp;
  const fs::path here = fs::current_path();
  fs::current_path(tmp.path());
  EXPECT_EQ(default_run_folder("configs/mnist.dp.toml", 7), "runs/mnist.dp-7");
  fs::create_directories("runs/mnist.dp-7");
  EXPECT_EQ(default_run_folder("configs/mnist.dp.toml", 7), "runs/mnist.dp-7-2");
  fs::create_directories("runs/mnist.dp-7-2");
  EXPECT_EQ(default_run_folder("mnist.dp.toml", 7), "runs/mnist.dp-7-3");
  fs::current_path(here);
}

}  // namespace
}  // namespace pergrad::apps
