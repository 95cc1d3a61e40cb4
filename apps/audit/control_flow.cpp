// Rung a, continued: whole trainings by the program's own loop. What a run shows beside its weights (number
// of releases, divisor, schedule, log lines) is the same for D and for D plus one record; and the weights are
// those that the stated steps give, bit for bit, so nothing else has reached them.
#include "apps/audit/control_flow.h"

#include "apps/audit/parts.h"
#include "apps/audit/toy_run.h"
#include "apps/checkpoint.h"
#include "apps/planning.h"
#include "apps/run_folder.h"
#include "apps/train.h"
#include "apps/training_data.h"
#include "augment/view_source.h"
#include "dp/sampler.h"
#include "dp/step.h"
#include "layers/model_gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

using Json = nlohmann::ordered_json;

struct Toy {
  fs::path folder, config;
  Toy(const Subject& subject, const std::string& name, const ToySettings& settings)
      : folder(subject.scratch / name) {
    fs::create_directories(folder);
    write_toy_data(folder, derive_key(subject.random, name), 200);
    config = folder / "toy.toml";
    write_text(config, toy_config(settings));
  }
  fs::path train(const std::string& run, const std::vector<std::string>& set) const {
    apps::Console quiet(true);
    apps::train({.config = config,
                 .changes = {.set = set, .non_private = false},
                 .out = folder / run,
                 .simulate = {},
                 .data_root = folder.string(),
                 .max_minutes = {},
                 .max_steps = {}},
                quiet);
    return folder / run;
  }
};

// The lines of a file of JSON objects without the values that may differ.
std::vector<std::string> lines_without(const fs::path& file, const std::set<std::string>& keys) {
  std::vector<std::string> lines;
  for (const std::string& line : lines_of(text_of_file(file))) {
    Json json = Json::parse(line);
    for (const std::string& key : keys) json.erase(key);
    lines.push_back(json.dump());
  }
  return lines;
}

void same_for_neighbours(const Subject& subject, Checks& checks) {
  const Toy toy(subject, "flow", {.steps = 12, .checkpoint_every = 5});
  // data.examples = 200 is what the public knows, however many there are.
  const std::vector<std::string> log = {"log.every=1", "train.evaluate_every=4"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), log.begin(), log.end());
    return more;
  };
  const fs::path one = toy.train("with", with({})),
                 other = toy.train("without", with({"data.train_limit=199"}));
  const auto compare = [&](const char* file, const std::set<std::string>& may_differ) {
    const std::vector<std::string> a = lines_without(one / file, may_differ),
                                   b = lines_without(other / file, may_differ);
    checks.require(!a.empty() && a.size() == b.size(), file, " has ", a.size(), " lines with a record and ",
                   b.size(), " without it");
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
      checks.require(a[i] == b[i], file, " tells whether a record is there: ", a[i], " and ", b[i]);
  };
  // Tag and sampler's name are HMACs under a run key, which each of the two has for itself.
  compare("ledger.jsonl", {"tag", "sampler", "prev", "hash"});
  compare("metrics.jsonl", {"test_accuracy", "test_accuracy_ema", "test_loss"});
  const auto summary = [](const fs::path& run) {
    Json json = Json::parse(text_of_file(run / "summary.json"));
    // What follows from the weights, and what the clock and the memory say: no log of a step holds these.
    for (const char* key : {"test_accuracy", "test_accuracy_ema", "seconds", "views_per_second",
                            "peak_memory_bytes", "run_folder", "config_hash"})
      json.erase(key);
    return json.dump();
  };
  checks.require(summary(one) == summary(other),
                 "summary.json tells whether a record is there: ", summary(one), " and ", summary(other));
  for (const std::string& line : lines_of(text_of_file(one / "metrics.jsonl"))) {
    const Json json = Json::parse(line);
    for (const auto& [key, value] : json.items())
      checks.require(!key.starts_with("nonprivate_"), "metrics.jsonl holds ", key,
                     ", which nobody asked for");
  }
  const auto files = [](const fs::path& run) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(run)) names.insert(entry.path().filename().string());
    return names;
  };
  checks.require(files(one) == files(other), "a record changes which files a run leaves");
  checks.found(
      "with and without a record a whole training shows the same: ledger, schedule, log lines and summary");
}

// The same steps taken here, with the run's key and a copy of its ledger: plain SGD with momentum, written
// out.
void stated_steps_alone(const Subject& subject, Checks& checks) {
  const int64_t steps = 9;
  const Toy toy(subject, "steps taken", {.steps = steps, .checkpoint_every = 0});
  const fs::path run = toy.train("run", {});
  const apps::Config config = apps::read_run_config(run);
  const apps::Split data = apps::load_split(config, toy.folder.string());
  const Key key = apps::RunFolder::resume(run, config).run_key(data.train.fingerprint);
  Model model(config.model, {data.train.height, data.train.width, data.train.channels},
              data.train.label_count);
  model.parameters().allocate(DType::f32, key_from_text(concat("initial weights ", config.train.seed)));
  augment::ViewSource views(data.train, config.augment, apps::normalisation(config),
                            derive_key(key, "augment"), nullptr, subject.exec);
  ModelGradients gradients(model, subject.exec);
  const dp::Plan plan = apps::plan_of(config, data.train.size(), model.parameters().size());
  const fs::path copy = toy.folder / "copy.jsonl";
  fs::copy_file(run / "ledger.jsonl", copy);
  dp::Ledger ledger(copy.string(), plan);
  dp::GaussianMechanism mechanism(plan, key, ledger);
  const dp::PoissonSampler sampler(plan, key, data.train.size());
  const int64_t recorded = ledger.releases();
  checks.require(recorded == steps, "a training of ", steps, " steps has ", recorded,
                 " releases on its ledger");
  std::vector<float> velocity(static_cast<size_t>(model.parameters().size()), 0);
  const auto momentum = static_cast<float>(config.train.optimizer.momentum);
  for (int64_t step = 0; step < steps; ++step) {
    const dp::PrivateGradient gradient =
        private_step(sampler, views, gradients, mechanism, step, 7, subject.exec);
    const auto rate = static_cast<float>(config.train.learning_rate.at(step));
    const auto g = gradient.values().values<float>();
    const Tensor flat = model.parameters().flat();
    for (size_t i = 0; i < velocity.size(); ++i) {
      velocity[i] = momentum * velocity[i] + g[i];
      flat.values<float>()[i] -= rate * velocity[i];
    }
    model.parameters().touch();
  }
  checks.require(ledger.releases() == recorded,
                 "the recorded steps released other sums than the stated ones: ",
                 ledger.releases() - recorded, " of ", recorded);
  Model trained(config.model, {data.train.height, data.train.width, data.train.channels},
                data.train.label_count);
  trained.parameters().allocate(DType::f32, Key{});
  apps::load_weights(run, trained.parameters(), false);
  const auto a = model.parameters().flat().values<float>(), b = trained.parameters().flat().values<float>();
  double apart = 0;
  for (size_t i = 0; i < a.size(); ++i)
    apart = std::max(apart, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  checks.require(apart < 1e-5, "the weights of a training are not those of its released gradients: ", apart,
                 " apart");
}

}  // namespace

void audit_control_flow(const Subject& subject, Checks& checks) {
  same_for_neighbours(subject, checks);
  stated_steps_alone(subject, checks);
}

}  // namespace pergrad::audit
