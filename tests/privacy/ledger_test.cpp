// Ledger: what is on the disk and when, what is found out about a changed file, what a crash leaves.
#include "tests/privacy/fakes.h"
#include "core/hash.h"
#include "dp/ledger.h"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>

namespace {
int syncs = 0;  // calls of fsync so far
bool sync_fails = false;
std::string watched;  // a file whose length is noted at every fsync
size_t length_at_sync = 0;
}  // namespace

// Stands in front of the C library's: the tests see when the ledger is synced, and can make it fail.
extern "C" int fsync(int file) {
  ++syncs;
  if (!watched.empty()) length_at_sync = pergrad::dp::text_in(watched).size();
  if (sync_fails) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace pergrad::dp {
namespace {

std::string tag(int64_t i) { return sha256_hex(std::to_string(i)); }

// A ledger of `count` releases, closed again.
void fill(const std::string& path, int64_t count) {
  Ledger ledger(path, Plan(settings()));
  for (int64_t step = 0; step < count; ++step) ledger.append(step, 50, tag(step), kSampler);
}

void expect_refused(const std::string& path, const std::string& text, const std::string& said) {
  put_text(path, text);
  try {
    read_ledger(path);
    FAIL() << "accepted, wanted: " << said;
  } catch (const PrivacyError& error) {
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
  }
  EXPECT_THROW(Ledger(path, Plan(settings())), PrivacyError);
  EXPECT_EQ(text_in(path), text);  // a file that is refused is not touched
}

TEST(Ledger, LinesAreChainedAndSayWhatTheyMust) {
  Folder folder;
  fill(folder.ledger(), 2);
  const std::string text = text_in(folder.ledger());
  std::istringstream lines(text);
  std::string header, first, second;
  std::getline(lines, header), std::getline(lines, first), std::getline(lines, second);
  const Plan plan(settings());
  const auto hash_of = [](const std::string& line) { return line.substr(line.size() - 66, 64); };
  EXPECT_EQ(header.find("{\"type\":\"plan\",\"plan_hash\":\"" + plan.hash() +
                        "\",\"plan\":\"adjacency=add_remove\\nsampling"),
            0u);
  const std::string body =
      "{\"type\":\"release\",\"step\":0,\"branch\":0,\"plan_hash\":\"" + plan.hash() +
      "\",\"noise_multiplier\":1.7,\"sampling_rate\":0.125,\"sampling_threshold\":"
      "\"2305843009213693952\",\"units\":\"example\",\"sensitivity_in_clips\":1,"
      "\"noise_std_on_grid\":1869169767220,\"parameters\":50,\"sampler\":\"a sampler\",\"tag\":\"" +
      tag(0) + "\",\"prev\":\"" + hash_of(header) + "\"";
  EXPECT_EQ(first, body + ",\"hash\":\"" + sha256_hex(body) + "\"}");
  EXPECT_NE(second.find("\"prev\":\"" + hash_of(first) + "\""), std::string::npos);
}

TEST(Ledger, IsSyncedBeforeAppendReturns) {
  Folder folder;
  Ledger ledger(folder.ledger(), Plan(settings()));
  watched = folder.ledger();
  for (int64_t step = 0; step < 5; ++step) {
    const int before = syncs;
    ledger.append(step, 50, tag(step), kSampler);
    EXPECT_EQ(syncs, before + 1);
    EXPECT_EQ(length_at_sync, text_in(folder.ledger()).size());
    ledger.append(step, 50, tag(step), kSampler);  // a replay
    EXPECT_EQ(syncs, before + 1);
  }
  watched.clear();
}

TEST(Ledger, RecognisesReplaysAndCountsBranches) {
  Folder folder;
  fill(folder.ledger(), 3);
  Ledger ledger(folder.ledger(), Plan(settings()));
  EXPECT_TRUE(ledger.append(1, 50, tag(1), kSampler).replay);
  const auto fork = ledger.append(1, 50, tag(100), kSampler);
  EXPECT_FALSE(fork.replay);
  EXPECT_EQ(fork.branch, 1);
  EXPECT_EQ(ledger.append(1, 50, tag(101), kSampler).branch, 2);
  EXPECT_EQ(ledger.append(1, 50, tag(100), kSampler).branch, 1);
  EXPECT_EQ(ledger.append(3, 50, tag(1), kSampler).branch, 0);  // the tag of another step: not a replay
  EXPECT_EQ(ledger.releases(), 6);
  EXPECT_EQ(ledger.forks(), 2);
  // Steps 0, 2 and 3 once; step 1 three times on one sample: once, with noise 1 / sqrt(3).
  const auto phases = read_ledger(folder.ledger());
  ASSERT_EQ(phases.size(), 2u);
  EXPECT_EQ(phases[0], (Phase{1.7, 0.125, 3, 50, 1869169767220}));
  EXPECT_NEAR(phases[1].noise_multiplier, 1.7 / std::sqrt(3), 1e-14);
  EXPECT_LE(phases[1].noise_multiplier, 1.7 / std::sqrt(3));
  EXPECT_EQ(phases[1].releases, 1);
  EXPECT_EQ(phases[1].parameters, 150);
}

TEST(Ledger, PhasesAreKeptApartAndAllCounted) {
  Folder folder;
  PlanSettings s = settings();
  s.units = "microbatch", s.microbatch_size = 2, s.noise_multiplier = 3, s.sampling_rate = 1;
  fill(folder.ledger(), 3);
  {
    Ledger ledger(folder.ledger(), Plan(s));
    EXPECT_EQ(ledger.append(2, 50, tag(2), kSampler).branch, 1);  // another plan: not a replay
    ledger.append(3, 50, tag(3), kSampler);
  }
  fill(folder.ledger(), 4);  // three replays and one more, under the first plan again
  const auto phases = read_ledger(folder.ledger());
  ASSERT_EQ(phases.size(), 2u);
  EXPECT_EQ(std::ranges::count(phases, Phase{1.7, 0.125, 4, 50, 1869169767220}), 1);
  EXPECT_EQ(std::ranges::count(phases, Phase{1.5, 1, 2, 50, int64_t{3} << 40}), 1);
  EXPECT_EQ(lines_in(folder.ledger()), 3 + 6);
}

// Draws of two run keys, or with one plan and another, are no forks of one draw.
TEST(Ledger, WhatSeveralSamplersDrewIsChargedApart) {
  Folder folder;
  fill(folder.ledger(), 3);
  {
    Ledger ledger(folder.ledger(), Plan(settings()));
    ledger.append(1, 50, tag(100), "another");
    ledger.append(2, 50, tag(200), kSampler);  // a fork
  }
  auto phases = read_ledger(folder.ledger());
  ASSERT_EQ(phases.size(), 2u);
  EXPECT_EQ(std::ranges::count(phases, Phase{1.7, 0.125, 3, 50, 1869169767220}), 1);  // 0, 1, the other's 1
  EXPECT_NEAR(phases[1].noise_multiplier, 1.7 / std::sqrt(2), 1e-14);                 // 2, twice
  EXPECT_EQ(phases[1].releases, 1);
}

// The ledger's text with the names of samplers taken from all lines that hold `tag`, and right hashes.
std::string without_names(const std::string& text, const std::string& tag) {
  std::string previous(64, '0'), old;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string name = concat(",\"sampler\":\"", kSampler, '"');
    const size_t at = line.find(name);
    if (at != std::string::npos && line.find(tag) != std::string::npos) line.erase(at, name.size());
    line.replace(line.rfind("\"prev\":\"") + 8, 64, previous);
    line.resize(line.rfind(",\"hash\":\""));
    previous = sha256_hex(line);
    old += line + ",\"hash\":\"" + previous + "\"}\n";
  }
  return old;
}

// Releases did not always name their sampler, and an older program may go on with a ledger of this one. Then
// what a step has may all be of one draw, whichever lines have a name.
TEST(Ledger, WhereANameIsMissingNoneCounts) {
  const auto expect_two_forks = [](const std::string& ledger) {
    const auto phases = read_ledger(ledger);
    ASSERT_EQ(phases.size(), 2u);
    EXPECT_EQ(phases[0], (Phase{1.7, 0.125, 2, 50, 1869169767220}));  // 0 and 3
    EXPECT_NEAR(phases[1].noise_multiplier, 1.7 / std::sqrt(2), 1e-14);
    EXPECT_EQ(phases[1].releases, 2);  // 1 and 2
  };
  const auto go_on = [](const std::string& ledger, std::string_view other) {
    Ledger again(ledger, Plan(settings()));
    EXPECT_TRUE(again.append(2, 50, tag(2), kSampler).replay);
    EXPECT_EQ(again.append(2, 50, tag(200), kSampler).branch, 1);
    again.append(1, 50, tag(100), other);
    again.append(3, 50, tag(3), kSampler);
  };
  Folder old, mixed;
  fill(old.ledger(), 3);
  const std::string begun = without_names(text_in(old.ledger()), "");
  EXPECT_EQ(begun.find("sampler\":"), std::string::npos);
  put_text(old.ledger(), begun);
  go_on(old.ledger(), "another");
  EXPECT_TRUE(text_in(old.ledger()).starts_with(begun));
  expect_two_forks(old.ledger());

  fill(mixed.ledger(), 3);
  go_on(mixed.ledger(), kSampler);
  put_text(mixed.ledger(), without_names(text_in(mixed.ledger()), tag(200)));
  expect_two_forks(mixed.ledger());
}

TEST(Ledger, EveryChangedByteIsFound) {
  Folder folder;
  fill(folder.ledger(), 3);
  const std::string good = text_in(folder.ledger());
  size_t line = 1;
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (i % 2 ? 1 : 4));
    if (i % 11 == 0 || good[i] == '\n') expect_refused(folder.ledger(), bad, "line " + std::to_string(line));
    line += good[i] == '\n';
  }
}

TEST(Ledger, LinesThatAreMissingMovedOrTwiceAreFound) {
  Folder folder;
  fill(folder.ledger(), 4);
  std::vector<std::string> lines;
  std::istringstream text(text_in(folder.ledger()));
  for (std::string line; std::getline(text, line);) lines.push_back(line + "\n");
  const auto joined = [&](std::initializer_list<size_t> order) {
    std::string all;
    for (size_t i : order) all += lines[i];
    return all;
  };
  expect_refused(folder.ledger(), joined({0, 1, 3, 4}), "line 3");
  expect_refused(folder.ledger(), joined({1, 2, 3, 4}), "line 1");
  expect_refused(folder.ledger(), joined({0, 1, 3, 2, 4}), "line 3");
  expect_refused(folder.ledger(), joined({0, 1, 1, 2, 3}), "line 3");
  expect_refused(folder.ledger(), joined({0, 1}) + "\n" + joined({2}), "line 3");
  expect_refused(folder.ledger(), joined({0, 1, 2}) + "hello", "line 4");
  // A clean cut at the end verifies: it shows against the head that a checkpoint keeps.
  put_text(folder.ledger(), joined({0, 1, 2, 3, 4}));
  const std::string head = Ledger(folder.ledger(), Plan(settings())).head();
  EXPECT_TRUE(Ledger(folder.ledger(), Plan(settings())).contains(head));
  put_text(folder.ledger(), joined({0, 1, 2, 3}));
  EXPECT_FALSE(Ledger(folder.ledger(), Plan(settings())).contains(head));
}

// Whoever may write the file can make the hashes right. What a line then says must still be what a plan can.
TEST(Ledger, LinesThatVerifyButThatNoPlanAllowsAreRefused) {
  const std::vector<std::array<std::string, 3>> cases = {
      {"\"noise_multiplier\":1.7", "\"noise_multiplier\":nan", "that a plan allows"},
      {"\"noise_multiplier\":1.7", "\"noise_multiplier\":inf", "that a plan allows"},
      {"\"noise_multiplier\":1.7", "\"noise_multiplier\":-1.7", "that a plan allows"},
      {"\"noise_multiplier\":1.7", "\"noise_multiplier\":\xFF", "noise_multiplier of a line is not"},
      {"\"sampling_rate\":0.125", "\"sampling_rate\":0", "that a plan allows"},
      {"\"sampling_rate\":0.125", "\"sampling_rate\":1.5", "that a plan allows"},
      {"\"sampling_rate\":0.125", "\"sampling_rate\":nan", "that a plan allows"},
      {"\"sensitivity_in_clips\":1", "\"sensitivity_in_clips\":0", "that a plan allows"},
      {"\"parameters\":50", "\"parameters\":9223372036854775807", "that a plan allows"},
      {"\"parameters\":50", "\"parameters\":-50", "that a plan allows"},
      {"\"noise_std_on_grid\":1869169767220", "\"noise_std_on_grid\":0", "that a plan allows"}};
  for (const auto& [from, to, said] : cases) {
    Folder folder;
    fill(folder.ledger(), 1);
    const std::string good = text_in(folder.ledger());
    const size_t start = good.find('\n') + 1, seal = good.rfind(",\"hash\":");
    std::string line = good.substr(start, seal - start);
    line.replace(line.find(from), from.size(), to);
    put_text(folder.ledger(), good.substr(0, start) + line + ",\"hash\":\"" + sha256_hex(line) + "\"}\n");
    try {
      read_ledger(folder.ledger());
      ADD_FAILURE() << "accepted: " << to;
    } catch (const PrivacyError& error) {
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  }
}

// A crash at any byte of the last line: the whole lines before it stay, and the ledger goes on.
TEST(Ledger, ATornLastLineIsCutOff) {
  Folder folder;
  fill(folder.ledger(), 2);
  const std::string whole = text_in(folder.ledger());
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (size_t length = last; length < whole.size(); length += length + 5 < whole.size() ? 3 : 1) {
    put_text(folder.ledger(), whole.substr(0, length));
    // Only the end of line is missing: the line is whole and counts.
    const int64_t left = length == whole.size() - 1 ? 2 : 1;
    const bool half_an_end = length == whole.size();
    ASSERT_FALSE(half_an_end);
    ASSERT_EQ(read_ledger(folder.ledger()).at(0).releases, left) << length;
    fill(folder.ledger(), 2);
    ASSERT_EQ(text_in(folder.ledger()), whole) << length;  // recorded again, byte for byte
  }
  for (size_t length : {0, 1, 9, 100}) {  // the header is torn: a new ledger
    put_text(folder.ledger(), whole.substr(0, length));
    fill(folder.ledger(), 2);
    EXPECT_EQ(text_in(folder.ledger()), whole);
  }
}

TEST(Ledger, AFullDiskIsAnErrorAndLosesNothing) {
  Folder folder;
  fill(folder.ledger(), 2);
  const std::string before = text_in(folder.ledger());
  {
    Ledger ledger(folder.ledger(), Plan(settings()));
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit full{before.size() + 100, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &full);
    EXPECT_THROW(ledger.append(2, 50, tag(2), kSampler), Error);
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(text_in(folder.ledger()), before);
    // Not to be trusted until it is opened again.
    EXPECT_THROW(ledger.append(2, 50, tag(2), kSampler), Error);
    EXPECT_EQ(ledger.releases(), 2);
  }
  fill(folder.ledger(), 3);
  EXPECT_EQ(read_ledger(folder.ledger()).at(0).releases, 3);
}

TEST(Ledger, AFailedSyncIsAnError) {
  Folder folder;
  fill(folder.ledger(), 1);
  Ledger ledger(folder.ledger(), Plan(settings()));
  sync_fails = true;
  EXPECT_THROW(ledger.append(1, 50, tag(1), kSampler), Error);
  sync_fails = false;
  EXPECT_EQ(lines_in(folder.ledger()), 2);
}

TEST(Ledger, RefusesASecondUserAMissingFolderAndAMissingFile) {
  Folder folder;
  Ledger ledger(folder.ledger(), Plan(settings()));
  EXPECT_THROW(Ledger(folder.ledger(), Plan(settings())), Error);
  EXPECT_THROW(Ledger((folder.path / "no" / "ledger.jsonl").string(), Plan(settings())), Error);
  EXPECT_THROW(read_ledger((folder.path / "none.jsonl").string()), Error);
  EXPECT_TRUE(read_ledger(folder.ledger()).empty());
}

}  // namespace
}  // namespace pergrad::dp
