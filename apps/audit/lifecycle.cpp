// The lifecycle rung: a run that is killed, copied, set back or edited must neither refund a release nor
// repeat noise, and what it ends in must be what it would have been.
#include "apps/audit/lifecycle.h"

#include "apps/atomic_file.h"
#include "apps/bench_parts.h"
#include "apps/checkpoint.h"
#include "dp/ledger.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

namespace fs = std::filesystem;

namespace pergrad::audit {

using Json = nlohmann::json;

ToyRun::ToyRun(const Subject& subject, const fs::path& folder, const ToySettings& of)
    : name(of.noise_source + " noise, " + of.optimizer),
      program(subject.program),
      config(folder / "toy.toml"),
      data_root(folder),
      whole(folder / "whole"),
      settings(of) {
  write_toy_data(folder, derive_key(subject.random, "toy data"), settings.images);
  write_text(config, toy_config(settings));
  if (settings.noise_source == "secure") {
    const Outcome start = go_on(folder / "begun", 0);
    PG_CHECK(start.status == 0, "audit: a toy run cannot be started: it ", start.text());
    begun = folder / "begun";
  }
  begin(whole);
  Outcome done;
  seconds = apps::seconds_of([&] { done = go_on(whole); });
  PG_CHECK(done.status == 0, "audit: a toy run cannot be trained: it ", done.text());
}

void ToyRun::begin(const fs::path& out) const {
  fs::remove_all(out);
  if (!begun.empty()) copy_folder(begun, out);
}

std::vector<std::string> ToyRun::arguments(const fs::path& out) const {
  std::vector<std::string> words = {"train", config.native(), "--data-root", data_root.native(),
                                    "--out", out.native()};
  if (fs::exists(out / "config.toml")) words.push_back("--resume");
  return words;
}

Outcome ToyRun::go_on(const fs::path& out, std::optional<int64_t> so_many) const {
  std::vector<std::string> words = arguments(out);
  if (so_many) words.insert(words.end(), {"--max-steps", std::to_string(*so_many)});
  return Child(program, words, out.native() + ".log").wait();
}

namespace {

// A step that is done again finds on the ledger what was released after it before the kill, and logs what all
// of that costs: more than it would have logged the first time, and what is true.
std::vector<Json> metrics_without_cost(const fs::path& run) {
  std::vector<Json> metrics;
  for (const std::string& line : lines_of(text_of_file(run / "metrics.jsonl"))) {
    metrics.push_back(Json::parse(line));
    metrics.back().erase("epsilon");
  }
  return metrics;
}

}  // namespace

std::string ToyRun::difference(const fs::path& out) const {
  for (const char* file : {apps::kCheckpointFile, "ledger.jsonl"})
    if (text_of_file(out / file).empty() || text_of_file(out / file) != text_of_file(whole / file))
      return file;
  if (metrics_without_cost(out) != metrics_without_cost(whole)) return "metrics.jsonl";
  const Json now = Json::parse(text_of_file(out / "summary.json"), nullptr, false);
  const Json then = Json::parse(text_of_file(whole / "summary.json"), nullptr, false);
  if (!now.is_object() || !then.is_object()) return "summary.json";
  for (const char* key : {"test_accuracy", "test_accuracy_ema", "epsilon", "steps_done", "plan_hash"})
    if (now.value(key, Json()) != then.value(key, Json())) return concat("summary.json, ", key);
  return "";
}

LedgerLines read_lines(const fs::path& ledger) {
  LedgerLines read;
  std::set<int64_t> steps;
  std::set<std::string> releases, draws, planned;
  bool nameless = false;  // a line of before there were names: all are taken to be of one run key
  for (const std::string& text : lines_of(text_of_file(ledger))) {
    const Json line = Json::parse(text, nullptr, false);
    PG_CHECK(line.is_object(), "audit: ", apps::shown(ledger), ": a line is no JSON object");
    read.head = line.value("hash", "");
    read.plan_hash = line.value("plan_hash", "");
    if (line.value("type", "") != "release") continue;
    ++read.releases;
    steps.insert(line.at("step").get<int64_t>());
    const std::string step = concat(line.at("step"), ' ', read.plan_hash, ' ');
    const std::string sampler = line.value("sampler", "");
    nameless = nameless || sampler.empty();
    draws.insert(step + sampler);
    planned.insert(step);
    read.repeated_tag = !releases.insert(concat(step, line.at("tag"))).second || read.repeated_tag;
  }
  read.steps = static_cast<int64_t>(steps.size());
  read.draws = std::ssize(nameless ? planned : draws);
  return read;
}

void check_folder(const fs::path& out, const std::string& what, Checks& checks) {
  const fs::path ledger = out / "ledger.jsonl";
  if (!fs::exists(ledger)) {
    checks.require(!apps::has_checkpoint(out), what, ": there is a checkpoint and no ledger");
    return;
  }
  int64_t accounted = 0;
  try {
    for (const dp::Phase& phase : dp::read_ledger(ledger.native())) accounted += phase.releases;
  } catch (const Error& error) {
    checks.require(false, what, ": the ledger does not verify: ", error.what());
    return;
  }
  const LedgerLines lines = read_lines(ledger);
  checks.require(accounted == lines.draws, what, ": ", lines.draws, " draws were released, ", accounted,
                 " are accounted for");
  checks.require(!lines.repeated_tag, what, ": a release is recorded twice");
  if (!apps::has_checkpoint(out)) return;
  const apps::CheckpointInfo info = apps::read_checkpoint_info(out).info;
  checks.require(lines.steps >= info.step, what, ": the checkpoint has done ", info.step,
                 " steps, the ledger knows of ", lines.steps);
  checks.require(text_of_file(ledger).find(info.ledger_head) != std::string::npos, what,
                 ": the release that the checkpoint was made after is not on the ledger");
}

void in_parallel(const std::vector<Job>& jobs, Checks& checks) {
  std::atomic<size_t> next = 0;
  std::mutex one_at_a_time;
  const auto work = [&] {
    for (size_t at; (at = next++) < jobs.size();) {
      Checks own;
      try {
        jobs[at](own);
      } catch (const std::exception& error) {
        own.fail(concat("threw: ", error.what()));
      }
      const std::lock_guard lock(one_at_a_time);
      checks.counted(own.count());
      for (const std::string& failure : own.failures()) checks.fail(failure);
      for (const std::string& sentence : own.found()) checks.found(sentence);
    }
  };
  std::vector<std::thread> threads;
  const size_t processors = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 8);
  for (size_t i = 0; i + 1 < processors; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

void audit_lifecycle(const Subject& subject, Checks& checks) {
  if (subject.run) audit_named_run(subject, checks);
  audit_mechanism_forks(subject, checks);
  audit_write_ahead(subject, checks);
  audit_ledger_edits(subject, checks);

  const fs::path folder = subject.scratch / "lifecycle";
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "lifecycle"), 0, 0);
  const uint64_t seed = random.next_u32() & 0xffffff;
  const ToySettings settings{.images = 48, .expected_batch = 12, .seed = seed};
  ToySettings other = settings;
  other.noise_source = "secure";
  other.optimizer = "adam";
  std::optional<ToyRun> sgd, secure;
  for (const char* name : {"sgd", "secure"}) fs::create_directories(folder / name);
  in_parallel({[&](Checks&) { sgd.emplace(subject, folder / "sgd", settings); },
               [&](Checks&) { secure.emplace(subject, folder / "secure", other); }},
              checks);
  if (!sgd || !secure) return;

  std::vector<Job> jobs = folder_jobs(subject, *sgd);
  for (Job& job : key_jobs(subject, *sgd, *secure)) jobs.push_back(std::move(job));
  for (Job& job : exact_kill_jobs(subject)) jobs.push_back(std::move(job));
  for (Job& job : kill_jobs(subject, *sgd, *secure)) jobs.push_back(std::move(job));
  in_parallel(jobs, checks);
}

}  // namespace pergrad::audit
