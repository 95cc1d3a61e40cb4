// Kills at random moments and at chosen ones: what a run ends in is what it would have been without them.
#include "apps/audit/lifecycle.h"
#include "apps/checkpoint.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <thread>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::microseconds;

struct Tally {
  std::atomic<int64_t> kills = 0, training = 0, ahead = 0, torn = 0, stops = 0, runs = 0, jobs_left = 0;
};

uint64_t size_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : size;
}

enum class When : uint32_t { any_time, after_a_release, in_a_checkpoint, interrupt };

// Waits for the moment, and sends the signal.
void strike(Child& child, When when, const fs::path& out, double seconds, PhiloxStream& random) {
  const uint64_t ledger = size_of(out / "ledger.jsonl");
  std::error_code ignored;
  const auto written = fs::last_write_time(out / "checkpoint.safetensors", ignored);
  // A release takes about 550 bytes on the ledger.
  const uint64_t grown = ledger + 550 * random.below(9);
  const auto deadline = Clock::now() + Microseconds(static_cast<int64_t>(seconds * 3e5 * random.uniform()));
  const auto now_is_the_moment = [&] {
    std::error_code error;
    switch (when) {
      case When::any_time:
        return Clock::now() >= deadline;
      case When::in_a_checkpoint:
        return fs::exists(out / "checkpoint.next.safetensors", error) ||
               (fs::last_write_time(out / "checkpoint.safetensors", error) != written && !error);
      default:
        return size_of(out / "ledger.jsonl") > grown;
    }
  };
  const auto patience = Clock::now() + Child::kPatience;
  while (!now_is_the_moment() && !child.ended() && Clock::now() < patience)
    std::this_thread::sleep_for(Microseconds(50));
  child.signal(when == When::interrupt ? SIGINT : SIGKILL);
}

// A kill in the middle of a write leaves a part of a line. Nothing was released for that line then, so only
// one that no checkpoint knows of can be such a part.
bool tear_last_line(const fs::path& out, PhiloxStream& random) {
  const std::string text = text_of_file(out / "ledger.jsonl");
  const std::vector<std::string> lines = lines_of(text);
  if (lines.size() < 2 || lines.back().find("\"release\"") == std::string::npos) return false;
  if (apps::has_checkpoint(out) &&
      lines.back().find(apps::read_checkpoint_info(out).info.ledger_head) != std::string::npos)
    return false;
  const size_t part = random.below(static_cast<uint32_t>(lines.back().size()));
  std::string whole;
  for (const std::string& line : lines) whole += line;
  write_text(out / "ledger.jsonl", whole.substr(0, whole.size() - lines.back().size() + part));
  return true;
}

// Trains `run` with kills, and again, until there were so many.
void kill_again_and_again(const ToyRun& run, const fs::path& out, int64_t kills, PhiloxStream random,
                          Tally& tally, Checks& checks) {
  const std::string reference = text_of_file(run.whole / "ledger.jsonl");
  uint32_t turn = random.next_u32();
  int64_t here = 0;
  while (here < kills && checks.passed()) {
    run.begin(out);
    for (bool finished = false; !finished && checks.passed();) {
      if (fs::exists(out) && !fs::exists(out / "config.toml")) {  // killed before it was a run
        checks.require(!fs::exists(out / "ledger.jsonl"), run.name,
                       ": something was released without a config");
        fs::remove_all(out);
      }
      const int64_t before = static_cast<int64_t>(size_of(out / "ledger.jsonl"));
      Child child(run.program, run.arguments(out), out.native() + ".log");
      const auto when = static_cast<When>(turn++ % 4);
      if (here < kills) strike(child, when, out, run.seconds, random);
      const Outcome end = child.wait();
      finished = end.status == 0 && end.output.find("go on with --resume") == std::string::npos;
      checks.require(end.status == 0 || end.signal == SIGKILL || end.signal == SIGINT, run.name,
                     ": going on after a kill ", end.text());
      checks.require(!end.late, run.name, ": going on after a kill ", end.text());
      if (!finished && end.status == 0) ++tally.stops;
      if (end.signal != 0) {
        ++here;
        ++tally.kills;
      }
      if (!fs::exists(out / "ledger.jsonl")) continue;
      const std::string ledger = text_of_file(out / "ledger.jsonl");
      if (end.signal != 0 && static_cast<int64_t>(ledger.size()) > before) ++tally.training;
      checks.require(reference.starts_with(ledger), run.name,
                     ": after a kill the ledger is not the beginning of the one without kills");
      check_folder(out, run.name + ", after a kill", checks);
      if (end.signal == 0) continue;
      const int64_t done = apps::has_checkpoint(out) ? apps::read_checkpoint_info(out).info.step : 0;
      if (read_lines(out / "ledger.jsonl").releases > done) ++tally.ahead;
      if (random.below(3) == 0 && tear_last_line(out, random)) ++tally.torn;
    }
    ++tally.runs;
    const std::string difference = checks.passed() ? run.difference(out) : "";
    checks.require(difference.empty(), run.name, ": killed and resumed, a run ends in another ", difference);
  }
}

}  // namespace

std::vector<Job> kill_jobs(const Subject& subject, const ToyRun& sgd, const ToyRun& secure) {
  const int64_t kills = subject.full ? 1000 : 24, jobs = subject.full ? 40 : 4;
  const auto tally = std::make_shared<Tally>();
  tally->jobs_left = jobs;
  std::vector<Job> all;
  for (int64_t i = 0; i < jobs; ++i)
    all.push_back([=, &subject, &sgd, &secure](Checks& own) {
      const ToyRun& run = i % 2 ? secure : sgd;
      const fs::path out = subject.scratch / "lifecycle" / concat("killed-", i);
      kill_again_and_again(run, out, kills / jobs,
                           PhiloxStream::of(derive_key(subject.random, "kills"), 0, i), *tally, own);
      if (own.passed()) fs::remove_all(out);
      if (--tally->jobs_left > 0) return;
      own.require(tally->training > 0 && tally->ahead > 0,
                  "kills: none came while it trained: this shows nothing");
      own.found(fmt::format(
          "{} kills in {} runs ({} while it trained, {} with releases that no checkpoint knew of, {} in the "
          "middle of a ledger line), {} interrupts: every run ended in the bits of one that was never "
          "stopped, "
          "and no step was charged twice or released with two sums",
          tally->kills.load(), tally->runs.load(), tally->training.load(), tally->ahead.load(),
          tally->torn.load(), tally->stops.load()));
    });
  return all;
}

}  // namespace pergrad::audit
