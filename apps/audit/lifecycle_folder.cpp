// Files of a run folder set back, damaged, or beyond a full disk; and two processes on one folder.
#include "apps/audit/lifecycle.h"
#include "apps/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <thread>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

const char* const kLedger = "ledger.jsonl";
const char* const kNewest = apps::kCheckpointFile;
const char* const kPrevious = apps::kPreviousCheckpointFile;

void replace_file(const fs::path& from, const fs::path& to) {
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
}

// The same run at four of its moments: after 20, 40, 60 and all but 5 steps.
struct Moments {
  std::vector<fs::path> folders;
  Moments(const ToyRun& run, const fs::path& folder) {
    const fs::path now = folder / "now";
    run.begin(now);
    int64_t done = 0;
    for (const int64_t until : {run.settings.steps / 4, run.settings.steps / 2, 3 * run.settings.steps / 4,
                                run.settings.steps - 5}) {
      const Outcome outcome = run.go_on(now, until - done);
      PG_CHECK(outcome.status == 0, "audit: a toy run that goes on ", outcome.text());
      done = until;
      folders.push_back(folder / concat("after-", until));
      copy_folder(now, folders.back());
    }
  }
};

void require_finished(const ToyRun& run, const fs::path& out, const std::string& what, const Outcome& outcome,
                      Checks& checks) {
  checks.require(outcome.status == 0, what, ": the run does not go on: it ", outcome.text());
  const std::string difference = run.difference(out);
  checks.require(outcome.status != 0 || difference.empty(), what, ": the run ends in another ", difference);
}

void require_refused(const Outcome& outcome, int status, const std::string& what, Checks& checks) {
  checks.require(outcome.status == status, what, ": wanted a refusal with status ", status, ", it ",
                 outcome.text());
}

// ---- roll-back -------------------------------------------------------------------------------------------

void roll_back(const ToyRun& run, const Moments& moments, const fs::path& folder, Checks& checks) {
  const fs::path out = folder / "rolled";
  for (size_t older = 0; older + 1 < moments.folders.size(); ++older) {
    // Older checkpoints beside the present ledger: steps are done again, their sums are the same, free.
    copy_folder(moments.folders.back(), out);
    for (const char* file : {kNewest, kPrevious}) replace_file(moments.folders[older] / file, out / file);
    const auto size = fs::file_size(out / kLedger);
    const Outcome part = run.go_on(out, 3);
    checks.require(part.status == 0 && fs::file_size(out / kLedger) == size,
                   "roll-back: replayed steps changed the ledger");
    check_folder(out, "roll-back", checks);
    require_finished(run, out, "roll-back of the checkpoint", run.go_on(out), checks);

    // An older ledger beside the present checkpoint would forget releases.
    copy_folder(moments.folders.back(), out);
    replace_file(moments.folders[older] / kLedger, out / kLedger);
    const std::string before = text_of_file(out / kLedger), weights = text_of_file(out / kNewest);
    require_refused(run.go_on(out), 3, "roll-back of the ledger", checks);
    require_refused(Child(run.program, {"account", "ledger", out.native()}, out.native() + ".log").wait(), 3,
                    "roll-back of the ledger, asked for its cost", checks);
    checks.require(text_of_file(out / kLedger) == before && text_of_file(out / kNewest) == weights,
                   "roll-back of the ledger: refused, but files were changed");
  }
  // The whole folder: nothing can tell, and nothing new is released.
  copy_folder(moments.folders.front(), out);
  require_finished(run, out, "roll-back of the whole folder", run.go_on(out), checks);
  // Killed between its last checkpoint and its summary: one of an earlier stop tells a smaller epsilon.
  copy_folder(run.whole, out);
  replace_file(moments.folders.front() / "summary.json", out / "summary.json");
  require_finished(run, out, "all steps done, but a summary of an earlier stop", run.go_on(out), checks);
  checks.found(
      "older checkpoints go on to the same bits and cost nothing; an older ledger beside a newer checkpoint "
      "is "
      "refused");
}

// ---- the ledger, through the program ---------------------------------------------------------------------

void edited_ledger(const ToyRun& run, const Moments& moments, const fs::path& folder, int64_t cases,
                   PhiloxStream random, Checks& checks) {
  const fs::path out = folder / "edited";
  copy_folder(moments.folders.back(), out);
  const std::string text = text_of_file(out / kLedger), weights = text_of_file(out / kNewest);
  const std::vector<std::string> lines = lines_of(text);
  const auto up_to = [&](size_t n) { return random.below(static_cast<uint32_t>(n)); };
  for (int64_t i = 0; i < cases; ++i) {
    std::string edited = text;
    std::vector<std::string> moved = lines;
    const size_t line = up_to(lines.size() - 1);
    if (i % 4 == 0) edited[up_to(text.size())] ^= static_cast<char>(1 + up_to(255));
    if (i % 4 == 1) moved.erase(moved.begin() + static_cast<std::ptrdiff_t>(line));
    if (i % 4 == 2) std::swap(moved[line], moved[line + 1]);
    if (i % 4 == 3) moved.insert(moved.begin() + static_cast<std::ptrdiff_t>(line), lines[line]);
    if (i % 4 != 0) {
      edited.clear();
      for (const std::string& piece : moved) edited += piece;
    }
    write_text(out / kLedger, edited);
    require_refused(run.go_on(out), 3, "an edited ledger", checks);
    require_refused(Child(run.program, {"account", "ledger", out.native()}, out.native() + ".log").wait(), 3,
                    "an edited ledger, asked for its cost", checks);
    checks.require(text_of_file(out / kLedger) == edited && text_of_file(out / kNewest) == weights,
                   "an edited ledger: refused, but files were changed");
  }
  // Empty, or gone: a release that the checkpoint knows of is missing.
  for (const bool gone : {false, true}) {
    if (gone)
      fs::remove(out / kLedger);
    else
      write_text(out / kLedger, "");
    const std::string what = gone ? "a ledger that is gone" : "an empty ledger";
    const Outcome cost =
        Child(run.program, {"account", "ledger", out.native()}, out.native() + ".log").wait();
    checks.require(cost.status == 2 || cost.status == 3, what, ": asked for its cost it ", cost.text());
    for (int attempt = 0; attempt < 2; ++attempt) require_refused(run.go_on(out), 3, what, checks);
    checks.require(text_of_file(out / kNewest) == weights, what, ": refused, but the checkpoint was changed");
  }
  // A line that a crash tore, behind the checkpoint: its step is done again.
  copy_folder(moments.folders.back(), out);
  write_text(out / kLedger, text + text_of_file(run.whole / kLedger).substr(text.size(), 1 + up_to(400)));
  require_finished(run, out, "a torn line of the ledger", run.go_on(out), checks);
}

// ---- checkpoints -----------------------------------------------------------------------------------------

void damaged_checkpoint(const ToyRun& run, const Moments& moments, const fs::path& out, int64_t i,
                        PhiloxStream& random, Checks& checks) {
  copy_folder(moments.folders.back(), out);
  const auto up_to = [&](size_t n) { return random.below(static_cast<uint32_t>(n)); };
  const auto damage = [&](const fs::path& file, bool cut) {
    std::string bytes = text_of_file(file);
    const size_t at = up_to(bytes.size());
    if (cut)
      bytes.resize(at);
    else
      bytes[at] = static_cast<char>(bytes[at] ^ (1 + up_to(255)));
    write_text(file, bytes);
    return concat(cut ? "cut after " : "changed at ", "byte ", at);
  };
  std::string what;
  bool may_go_on = true;
  switch (i % 8) {
    case 6:
      what = "the newest removed", fs::remove(out / kNewest);
      break;
    case 5:
      what = concat("both damaged: ", damage(out / kNewest, false), ", ", damage(out / kPrevious, false));
      may_go_on = false;
      break;
    case 4:
      what = "the newest replaced by the one before", replace_file(out / kPrevious, out / kNewest);
      break;
    case 3:
      what = concat("the newest ", damage(out / kNewest, true));
      break;
    default:
      what = concat("the newest ", damage(out / kNewest, false));
  }
  const Outcome outcome = run.go_on(out);
  checks.require(outcome.status >= 0 && outcome.status != 1, "checkpoint, ", what, ": the program ",
                 outcome.text());
  checks.require(may_go_on || outcome.status != 0, "checkpoint, ", what, ": the run went on");
  if (outcome.status == 0) {
    check_folder(out, "checkpoint, " + what, checks);
    require_finished(run, out, "checkpoint, " + what, outcome, checks);
  }
  if (i % 8 == 6 || i % 8 == 4)
    checks.require(outcome.status == 0, "checkpoint, ", what, ": the run did not go on: it ", outcome.text());
}

// Of a run with another seed.
void foreign_checkpoint(const ToyRun& run, const Moments& moments, const fs::path& folder, Checks& checks) {
  const fs::path out = folder / "foreign", other = folder / "other", config = folder / "other.toml";
  std::string text = text_of_file(run.config);
  text.insert(text.find("\nseed = ") + 8, "9");
  write_text(config, text);
  const Outcome done = Child(run.program,
                             {"train", config.native(), "--data-root", run.data_root.native(), "--out",
                              other.native(), "--max-steps", "8"},
                             other.native() + ".log")
                           .wait();
  checks.require(done.status == 0, "another run: it ", done.text());
  for (const bool both : {false, true}) {
    copy_folder(moments.folders.back(), out);
    replace_file(other / kNewest, out / kNewest);
    if (both) replace_file(other / kPrevious, out / kPrevious);
    require_refused(run.go_on(out), 2, "the checkpoint of another run", checks);
  }
}

// ---- disk and lock ---------------------------------------------------------------------------------------

void full_disk(const ToyRun& run, const Moments& moments, const fs::path& folder, int64_t cases,
               PhiloxStream random, Checks& checks) {
  const fs::path out = folder / "full";
  const std::string reference = text_of_file(run.whole / kLedger);
  for (int64_t i = 0; i < cases; ++i) {
    copy_folder(moments.folders[1], out);
    const uint64_t size = fs::file_size(out / kLedger);
    checks.require(size > fs::file_size(out / kNewest), "full disk: the ledger is not the largest file");
    const Outcome outcome =
        Child(run.program, run.arguments(out), out.native() + ".log", size + random.below(4000)).wait();
    checks.require(outcome.status == 2, "full disk: the program ", outcome.text());
    const size_t at = outcome.output.rfind("pergrad: ");
    checks.require(at != std::string::npos && lines_of(outcome.output.substr(at)).size() == 1 &&
                       outcome.output.find("ledger", at) != std::string::npos,
                   "full disk: the program does not say so in one line: it ", outcome.text());
    const std::string ledger = text_of_file(out / kLedger);
    checks.require(reference.starts_with(ledger) && ledger.ends_with('\n'),
                   "full disk: a part of a line is left on the ledger");
    check_folder(out, "full disk", checks);
    require_finished(run, out, "after a full disk", run.go_on(out), checks);
  }
}

void two_processes(const ToyRun& run, const Moments& moments, const fs::path& folder, Checks& checks) {
  const fs::path out = folder / "shared";
  std::optional<Child> child;
  // The first is stopped while it trains. On a busy machine it may be done before that: then once more.
  for (int attempt = 0; attempt < 20 && (!child || child->ended()); ++attempt) {
    copy_folder(moments.folders.front(), out);
    const auto size = fs::file_size(out / kLedger);
    child.emplace(run.program, run.arguments(out), folder / "first.log");
    const auto patience = std::chrono::steady_clock::now() + Child::kPatience;
    while (fs::file_size(out / kLedger) == size && !child->ended() &&
           std::chrono::steady_clock::now() < patience)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    child->signal(SIGSTOP);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  Child& first = *child;
  checks.require(!first.ended(), "two processes: the first was always done too soon");
  const std::string before = text_of_file(out / kLedger);
  const Outcome second = run.go_on(out);
  require_refused(second, 2, "a second process on a run folder", checks);
  checks.require(second.output.find("in use by process") != std::string::npos,
                 "a second process on a run folder: it ", second.text());
  checks.require(text_of_file(out / kLedger) == before,
                 "a second process on a run folder changed the ledger");
  first.signal(SIGCONT);
  require_finished(run, out, "beside a second process", first.wait(), checks);
}

}  // namespace

std::vector<Job> folder_jobs(const Subject& subject, const ToyRun& run) {
  const fs::path folder = subject.scratch / "lifecycle" / "folder";
  fs::create_directories(folder);
  const auto moments = std::make_shared<Moments>(run, folder);
  const auto random = [&](int64_t i) {
    return PhiloxStream::of(derive_key(subject.random, "run folder"), 0, i);
  };
  const int64_t more = subject.full ? 8 : 1;
  std::vector<Job> jobs = {
      [=, &run](Checks& checks) { roll_back(run, *moments, folder, checks); },
      [=, &run](Checks& checks) { edited_ledger(run, *moments, folder, 8 * more, random(0), checks); },
      [=, &run](Checks& checks) { full_disk(run, *moments, folder, 2 * more, random(1), checks); },
      [=, &run](Checks& checks) { two_processes(run, *moments, folder, checks); },
      [=, &run](Checks& checks) { foreign_checkpoint(run, *moments, folder, checks); }};
  for (int64_t part = 0; part < 2; ++part)
    jobs.push_back([=, &run](Checks& checks) {
      PhiloxStream numbers = random(2 + part);
      const fs::path out = folder / concat("damaged-", part);
      for (int64_t i = 0; i < 8 * more; ++i) damaged_checkpoint(run, *moments, out, i, numbers, checks);
      if (part == 0)
        checks.found(fmt::format(
            "{} damaged checkpoints: refused, or gone on from the one before to the same bits", 16 * more));
    });
  return jobs;
}

}  // namespace pergrad::audit
