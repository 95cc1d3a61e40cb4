// Other data, another config, another key: refused; and where every trace is removed that could tell, the
// steps that are done again are charged again and their noise is new.
#include "apps/audit/lifecycle.h"
#include "apps/checkpoint.h"
#include "dp/accountant.h"

#include <fmt/format.h>

#include <memory>
#include <set>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

constexpr int64_t kSteps = 10;  // that were done before

std::set<std::string> tags_on(const fs::path& ledger) {
  std::set<std::string> tags;
  for (const std::string& text : lines_of(text_of_file(ledger))) {
    const nlohmann::json line = nlohmann::json::parse(text);
    if (line.value("type", "") == "release") tags.insert(line.at("tag").get<std::string>());
  }
  return tags;
}

double cost_on(const fs::path& out) {
  return dp::spent_cost((out / "ledger.jsonl").native(), 1e-3).epsilon_upper;
}

// A copy of a run, with data of its own.
struct Copy {
  const ToyRun& run;
  fs::path out, data_root, log;
  Copy(const ToyRun& run_, const fs::path& begun, const fs::path& folder)
      : run(run_), out(folder / "run"), data_root(folder / "data"), log(folder / "log") {
    fs::remove_all(folder);
    fs::create_directories(data_root);
    copy_folder(begun, out);
    copy_folder(run.data_root / kToyData, data_root / kToyData);
  }
  Outcome go_on(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"train", run.config.native(), "--data-root", data_root.native(),
                                      "--out", out.native(),        "--resume"};
    words.insert(words.end(), more.begin(), more.end());
    return Child(run.program, words, log).wait();
  }
  void remove(std::initializer_list<const char*> files) const {
    for (const char* file : files) fs::remove(out / file);
  }
};

void require_refused(const Copy& copy, const std::vector<std::string>& more, int status,
                     const std::string& reason, const std::string& what, Checks& checks) {
  const std::string ledger = text_of_file(copy.out / "ledger.jsonl");
  const std::string weights = text_of_file(copy.out / apps::kCheckpointFile);
  const Outcome outcome = copy.go_on(more);
  checks.require(outcome.status == status && outcome.output.find(reason) != std::string::npos, what,
                 ": wanted a refusal with status ", status, " (", reason, "), it ", outcome.text());
  checks.require(text_of_file(copy.out / "ledger.jsonl") == ledger &&
                     text_of_file(copy.out / apps::kCheckpointFile) == weights,
                 what, ": refused, but files were changed");
}

// No trace but the ledger (and, in secure mode, a key): every step is released again, as a fork of its draw
// if the key is the same.
void require_charged(const Copy& copy, const std::string& what, bool same_key, Checks& checks) {
  copy.remove({"run.json", apps::kCheckpointFile, apps::kPreviousCheckpointFile});
  const fs::path ledger = copy.out / "ledger.jsonl";
  const std::string before = text_of_file(ledger);
  const double cost = cost_on(copy.out);
  const Outcome outcome = copy.go_on({"--max-steps", std::to_string(kSteps)});
  checks.require(outcome.status == 0, what, ": it ", outcome.text());
  const LedgerLines lines = read_lines(ledger);
  checks.require(lines.steps == kSteps && lines.releases == 2 * kSteps, what, ": ", lines.releases,
                 " releases of ", lines.steps, " steps are recorded, wanted ", 2 * kSteps, " of ", kSteps);
  checks.require(lines.draws == (same_key ? 1 : 2) * kSteps, what, ": ", lines.draws, " draws in ", kSteps,
                 " steps");
  checks.require(text_of_file(ledger).starts_with(before), what, ": lines of the ledger were rewritten");
  checks.require(cost_on(copy.out) > 1.05 * cost, what, ": steps that were released anew were not charged");
  checks.require(tags_on(ledger).size() == 2 * kSteps, what, ": two sums have one tag, and so one noise");
  check_folder(copy.out, what, checks);
}

void other_data(const ToyRun& run, const fs::path& begun, const fs::path& folder, Checks& checks) {
  const Copy copy(run, begun, folder);
  change_images(copy.data_root, 1);
  const std::string what = run.name + ": one training image changed";
  require_refused(copy, {}, 2, "other data", what, checks);
  copy.remove({"run.json"});
  require_refused(copy, {}, 2, "of other training data", what + ", run.json removed", checks);
  // Every image, so that every step has another sum: one that is not drawn changes none.
  change_images(copy.data_root, run.settings.images);
  require_charged(copy, run.name + ": other data, run.json and checkpoints removed",
                  run.settings.noise_source == "secure", checks);
}

void other_config(const ToyRun& run, const fs::path& begun, const fs::path& folder, Checks& checks) {
  const Copy copy(run, begun, folder);
  for (const char* change : {"privacy.noise_multiplier=1.1", "privacy.clip_norm=0.9", "privacy.delta=1e-4",
                             "train.expected_batch_size=24", "train.steps=90", "noise.source=secure",
                             "train.seed=50000000", "augment.flip=true"})
    if (change != std::string("noise.source=secure") || run.begun.empty())
      require_refused(copy, {"--set", change}, 2, "another config", run.name + ", --set " + change, checks);
}

void other_key(const ToyRun& run, const fs::path& begun, const fs::path& other, const fs::path& folder,
               Checks& checks) {
  const Copy copy(run, begun, folder);
  const fs::path key = copy.out / "run.key";
  const auto owner_alone = fs::perms::owner_read | fs::perms::owner_write;
  checks.require(fs::status(key).permissions() == owner_alone, "run.key: others can read it");
  fs::permissions(key, fs::perms::group_read, fs::perm_options::add);
  require_refused(copy, {}, 3, "can be read by others", "run.key with another mode", checks);
  fs::permissions(key, owner_alone);
  const std::string text = text_of_file(key);
  fs::remove(key);
  require_refused(copy, {}, 3, "missing", "run.key missing", checks);
  for (const std::string& damaged : {std::string(), text.substr(0, 63), text + text, "g" + text.substr(1)}) {
    write_text(key, damaged);
    fs::permissions(key, owner_alone);
    require_refused(copy, {}, 2, "damaged", "run.key damaged", checks);
  }
  fs::copy_file(other / "run.key", key, fs::copy_options::overwrite_existing);
  require_refused(copy, {}, 2, "other data", "the run.key of another run", checks);
  copy.remove({"run.json"});
  require_refused(copy, {}, 2, "of other training data", "the run.key of another run, run.json removed",
                  checks);
  require_charged(copy, "the run.key of another run, run.json and checkpoints removed", false, checks);
}

}  // namespace

std::vector<Job> key_jobs(const Subject& subject, const ToyRun& sgd, const ToyRun& secure) {
  const fs::path folder = subject.scratch / "lifecycle" / "keys";
  for (const char* name : {"sgd", "secure", "other"}) fs::create_directories(folder / name);
  const auto begun = [folder](const ToyRun& run, const char* name, Checks& checks) {
    fs::path out = folder / name / "begun";
    run.begin(out);
    const Outcome outcome = run.go_on(out, kSteps);
    checks.require(outcome.status == 0, run.name, ": it ", outcome.text());
    return out;
  };
  return {[=, &sgd](Checks& checks) {
            const fs::path out = begun(sgd, "sgd", checks);
            other_data(sgd, out, folder / "sgd" / "data", checks);
            other_config(sgd, out, folder / "sgd" / "config", checks);
          },
          [=, &secure](Checks& checks) {
            const fs::path out = begun(secure, "secure", checks);
            // The same training once more, from its own start: two runs share no noise.
            ToyRun again = secure;
            again.begun.clear();
            const fs::path other = begun(again, "other", checks);
            std::set<std::string> tags = tags_on(out / "ledger.jsonl");
            tags.merge(tags_on(other / "ledger.jsonl"));
            checks.require(tags.size() == 2 * kSteps, "two secure runs of one training share noise");
            other_data(secure, out, folder / "secure" / "data", checks);
            other_key(secure, out, other, folder / "secure" / "key", checks);
            checks.found(
                "a run with other data, another config or another key is refused; with every trace of the "
                "change removed its steps are charged again, with new noise");
          }};
}

}  // namespace pergrad::audit
