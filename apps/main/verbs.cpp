// Flags in, options out: one function a verb. What a verb says of itself stands in help.cpp.
#include "apps/main/verbs.h"

#include "apps/atomic_file.h"
#include "apps/audit/audit.h"
#include "apps/bench.h"
#include "apps/console.h"
#include "apps/evaluate.h"
#include "apps/explain.h"
#include "apps/info.h"
#include "apps/ledger_cost.h"
#include "apps/main/completion.h"
#include "apps/main/help.h"
#include "apps/report.h"
#include "apps/run_folder.h"
#include "apps/train.h"
#include "apps/verb_account.h"
#include "apps/verb_data.h"
#include "core/error.h"
#include "dp/accountant.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;

// Results go to standard output: one JSON object with --json, else text.
void print(const Common& common, const Json& json, const std::string& text) {
  const std::string out = common.json ? json.dump(2) + "\n" : text;
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0)
    throw Error("standard output: cannot write");
}

CLI::App* verb(CLI::App& parent, Common& common, const std::string& name) {
  CLI::App* app = add_documented_verb(parent, name);
  app->add_flag("--json", common.json, "print one JSON object");
  return app;
}

// Flags of several verbs.
void add_data_root(CLI::App* app, Common& common) {
  app->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)")->type_name("DIR");
}
void add_set(CLI::App* app, ConfigChanges& changes) {
  app->add_option("--set", changes.set, "another value for a key of the config; once for each change")
      ->type_name("SECTION.KEY=VALUE")
      ->allow_extra_args(false);
}
CLI::Option* add_device(CLI::App* app, std::string& device) {
  return app->add_option("--device", device, "where to compute; cuda:1 is the second GPU")
      ->type_name(one_of("cpu, cuda, emulated"));
}

void add_train(CLI::App& app, Common& common) {
  auto options = std::make_shared<TrainOptions>();
  auto device = std::make_shared<std::string>();
  CLI::App* train_app = verb(app, common, "train");
  train_app->add_option("config", options->config, "what the run is (TOML)")->type_name("FILE")->required();
  train_app->add_option("--out", options->out, "run folder (default: runs/<config name>-<seed>)")
      ->type_name("DIR");
  train_app->add_flag("--resume", options->resume, "go on with the run in --out");
  add_set(train_app, options->changes);
  add_device(train_app, *device);
  train_app
      ->add_option("--simulate", options->simulate,
                   "rehearse at this expected batch size, with the same noise on the mean gradient")
      ->type_name("N");
  train_app->add_option("--max-minutes", options->max_minutes, "stop cleanly after so many minutes")
      ->type_name("MINUTES");
  train_app->add_option("--max-steps", options->max_steps, "stop cleanly after so many more steps")
      ->type_name("N");
  train_app->add_flag("--non-private", options->changes.non_private, "no clipping, no noise, no guarantee");
  add_data_root(train_app, common);
  train_app->final_callback([options, device, &common] {
    common.action = [options, device, &common] {
      options->data_root = common.data_root;
      if (!device->empty()) options->changes.set.push_back("speed.device=" + *device);
      PG_CHECK(!options->max_minutes || (std::isfinite(*options->max_minutes) && *options->max_minutes >= 0),
               "--max-minutes: wanted a number of minutes, 0 or more");
      PG_CHECK(!options->max_steps || *options->max_steps >= 0,
               "--max-steps: wanted a number of steps, 0 or more");
      Console console;
      const TrainResult result = train(*options, console);
      print(common, result.summary, result.text);
    };
  });
}

void add_evaluate(CLI::App& app, Common& common) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* evaluate_app = verb(app, common, "evaluate");
  evaluate_app->add_option("path", options->path, "run folder, checkpoint or weights")
      ->type_name("PATH")
      ->required();
  evaluate_app->add_option("--config", options->config, "model and data of weights of another program")
      ->type_name("CONFIG.toml");
  add_device(evaluate_app, options->device)->capture_default_str();
  add_data_root(evaluate_app, common);
  CLI::Option* ema = evaluate_app->add_flag("--ema")->description("averaged weights only");
  CLI::Option* raw = evaluate_app->add_flag("--raw")->description("raw weights only")->excludes(ema);
  evaluate_app->final_callback([options, ema, raw, &common] {
    common.action = [options, ema, raw, &common] {
      options->data_root = common.data_root;
      if (ema->count() > 0) options->raw = false;
      if (raw->count() > 0) options->averaged = false;
      Console console;
      const EvaluateResult result = evaluate(*options, console);
      print(common, result.json, result.text);
    };
  });
}

// `pergrad account ledger`: what a run's own record says it cost.
void account_ledger(const Common& common, const std::filesystem::path& run) {
  const LedgerCost told = cost_of_run(run);
  const dp::PrivacyCost& cost = told.cost;
  const auto number = [](double v) { return std::isfinite(v) ? Json(v) : Json("inf"); };
  print(common,
        {{"epsilon", {{"lower", number(cost.epsilon_lower)}, {"upper", number(cost.epsilon_upper)}}},
         {"rdp_epsilon", number(cost.rdp_epsilon)},
         {"rdp_order", number(cost.rdp_order)},
         {"delta", cost.delta},
         {"steps", cost.releases},
         {"checkpoint_agrees", told.checkpoint_agrees},
         {"adjacency", "add_remove"},
         {"accountant", cost.accountant},
         {"verified", true}},
        fmt::format(
            "the ledger verifies: {} steps, epsilon in [{:.4f}, {:.4f}] at delta = {:g} (Renyi alone: "
            "{:.4f}){}\n",
            cost.releases, std::floor(cost.epsilon_lower * 1e4) / 1e4,
            std::ceil(cost.epsilon_upper * 1e4) / 1e4, cost.delta, std::ceil(cost.rdp_epsilon * 1e4) / 1e4,
            told.checkpoint_agrees ? "" : " (no checkpoint to hold it against: a clean cut would not show)"));
}

// "1.1,0.01,500" of --phase.
accounting::Phase parse_phase(const std::string& text) {
  accounting::Phase phase;
  long long steps = 0;
  int used = -1;
  const int read = std::sscanf(text.c_str(), "%lf,%lf,%lld%n", &phase.noise_multiplier, &phase.sampling_rate,
                               &steps, &used);
  if (read != 3 || used != static_cast<int>(text.size()))
    throw std::invalid_argument("--phase: got \"" + text + "\", wanted SIGMA,Q,STEPS such as 1.1,0.01,500");
  phase.steps = steps;
  return phase;
}

void add_account(CLI::App& app, Common& common) {
  CLI::App* account = add_documented_verb(app, "account");
  account->require_subcommand(1);
  auto ask = std::make_shared<AccountQuestion>();
  struct Verb {
    const char* name;
    AccountAnswer (*answer)(const AccountQuestion&);
    std::vector<std::string> flags;
  };
  const std::vector<Verb> verbs = {{"epsilon", account_epsilon, {"run", "delta"}},
                                   {"delta", account_delta, {"run", "epsilon"}},
                                   {"noise", account_noise, {"target", "rate", "steps"}},
                                   {"steps", account_steps, {"target", "rate", "noise"}},
                                   {"batch", account_batch, {"target", "noise", "steps", "examples"}},
                                   {"curve", account_curve, {"run", "csv"}},
                                   {"trade-off", account_trade_off, {"run", "csv"}}};
  for (const Verb& v : verbs) {
    CLI::App* sub = verb(*account, common, v.name);
    auto csv = std::make_shared<std::filesystem::path>();
    auto phases = std::make_shared<std::vector<std::string>>();
    const auto noise = [&] {
      return sub
          ->add_option("--noise-multiplier", ask->noise_multiplier, "noise standard deviation / clip norm")
          ->type_name("SIGMA");
    };
    const auto rate = [&] {
      return sub
          ->add_option("--sampling-rate", ask->sampling_rate, "probability that an example joins a step")
          ->type_name("Q");
    };
    const auto steps = [&] {
      return sub->add_option("--steps", ask->steps, "number of steps")->type_name("N");
    };
    for (const std::string& flag : v.flags) {
      if (flag == "noise") noise()->required();
      if (flag == "rate") rate()->required();
      if (flag == "steps") steps()->required();
      if (flag == "examples")
        sub->add_option("--examples", ask->examples, "number of training examples")
            ->type_name("N")
            ->required();
      if (flag == "epsilon")
        sub->add_option("--epsilon", ask->epsilon, "privacy loss")->type_name("EPSILON")->required();
      if (flag == "target")
        sub->add_option("--target-epsilon", ask->epsilon, "epsilon to stay below")
            ->type_name("EPSILON")
            ->required();
      if (flag == "delta" || flag == "target")
        sub->add_option("--delta", ask->delta, "a probability")->type_name("DELTA")->required();
      if (flag == "csv")
        sub->add_option("--csv", *csv, "also write the curve to this file")->type_name("FILE");
      if (flag == "run") {
        auto* list = sub->add_option("--phase", *phases, "one of several plans of a run; once for each")
                         ->type_name("SIGMA,Q,STEPS");
        for (CLI::Option* one : {noise(), rate(), steps()}) list->excludes(one);
        sub->add_option("--sampling", ask->sampling, "how batches are drawn")
            ->check(CLI::IsMember({"poisson", "full_batch", "without_replacement", "shuffle"}))
            ->capture_default_str();
        sub->add_option("--adjacency", ask->adjacency, "what neighbours are")
            ->check(CLI::IsMember({"add_remove", "substitution"}))
            ->capture_default_str();
        sub->add_option("--precision", ask->precision, "relative width of intervals to aim at")
            ->type_name("WIDTH")
            ->capture_default_str();
      }
    }
    sub->final_callback(
        [ask, csv, phases, answer = v.answer, asks_for_run = v.flags[0] == "run", sub, &common] {
          if (asks_for_run && phases->empty()) {
            for (const char* name : {"--noise-multiplier", "--sampling-rate", "--steps"}) {
              const bool given = sub->count(name) > 0 ||
                                 (std::string(name) == "--sampling-rate" && ask->sampling == "full_batch");
              if (!given) throw CLI::RequiredError(name);
            }
          }
          if (ask->sampling == "full_batch" && asks_for_run &&
              (sub->count("--sampling-rate") || !phases->empty()))
            throw CLI::ValidationError(
                "--sampling full_batch: its sampling rate is 1; leave --sampling-rate and --phase out");
          common.action = [ask, csv, phases, answer, &common] {
            for (const std::string& text : *phases) ask->phases.push_back(parse_phase(text));
            const AccountAnswer result = answer(*ask);
            if (!csv->empty()) write_file_atomically(*csv, result.csv);
            print(common, result.json, result.text);
          };
        });
  }
  auto run = std::make_shared<std::filesystem::path>();
  CLI::App* ledger = verb(*account, common, "ledger");
  ledger->add_option("run", *run, "run folder")->type_name("DIR")->required();
  ledger->final_callback(
      [run, &common] { common.action = [run, &common] { account_ledger(common, *run); }; });
}

void add_spec(CLI::App* app, DataSpec& spec) {
  app->add_option("path", spec.path, "folder or file, as it is or below a data root")
      ->type_name("PATH")
      ->required();
  app->add_option("--format", spec.format, "what it is")
      ->type_name(one_of("idx, cifar10, cifar100, image_folder"))
      ->required();
  app->add_option("--height", spec.height, "resize to this height")->type_name("PIXELS");
  app->add_option("--width", spec.width, "resize to this width")->type_name("PIXELS");
  app->add_option("--channels", spec.channels, "convert to so many")->type_name(one_of("1, 3"));
}

// What both verbs of `data` do with their options.
template <class Options>
void set_data_action(CLI::App* app, Common& common, const std::shared_ptr<Options>& options,
                     DataReport (*act)(const Options&, const Progress&)) {
  add_data_root(app, common);
  app->final_callback([options, act, &common] {
    common.action = [options, act, &common] {
      options->data_root = common.data_root;
      Console console;
      const DataReport report = act(*options, progress_on(console));
      console.clear();
      print(common, report.json, report.text);
    };
  });
}

void add_data(CLI::App& app, Common& common) {
  CLI::App* data = add_documented_verb(app, "data");
  data->require_subcommand(1);
  auto look = std::make_shared<DataInspectOptions>();
  CLI::App* inspect = verb(*data, common, "inspect");
  add_spec(inspect, look->spec);
  inspect->add_flag("--pool", look->pool, "one set of images instead of train and test");
  set_data_action(inspect, common, look, data_inspect);
  auto turn = std::make_shared<DataConvertOptions>();
  CLI::App* convert = verb(*data, common, "convert");
  add_spec(convert, turn->from);
  convert->add_option("to", turn->to_path, "folder to make")->type_name("DIR")->required();
  convert->add_option("--to-format", turn->to_format, "what to write")
      ->type_name(one_of("cifar10, cifar100, image_folder"))
      ->required();
  convert->add_flag("--overwrite", turn->overwrite, "replace a dataset that is there");
  set_data_action(convert, common, turn, data_convert);
}

void add_bench(CLI::App& app, Common& common) {
  CLI::App* bench = add_documented_verb(app, "bench");
  bench->require_subcommand(1);
  CLI::App* kernels = verb(*bench, common, "kernels");
  auto device = std::make_shared<std::string>("cpu");
  add_device(kernels, *device)->capture_default_str();
  kernels->final_callback([device, &common] {
    common.action = [device, &common] {
      const Device where = Device::parse(*device);
      Console console;
      const BenchResult result = where.is_cpu() ? bench_kernels(console) : bench_gpu_kernels(where, console);
      console.clear();
      print(common, result.json, result.text);
    };
  });
  auto config = std::make_shared<std::filesystem::path>();
  auto changes = std::make_shared<ConfigChanges>();
  verb(*bench, common, "accountant")->final_callback([&common] {
    common.action = [&common] {
      Console console;
      const BenchResult result = bench_accountant(console);
      print(common, result.json, result.text);
    };
  });
  CLI::App* step = verb(*bench, common, "step");
  step->add_option("config", *config, "model, views and examples (default: WRN-16-4, 16 views)")
      ->type_name("FILE");
  add_set(step, *changes);
  auto step_device = std::make_shared<std::string>();
  add_device(step, *step_device);
  auto seconds = std::make_shared<double>(2.0);
  auto private_only = std::make_shared<bool>(false);
  auto file = std::make_shared<std::filesystem::path>();
  step->add_option("--seconds", *seconds, "measure a side for at least so long")
      ->type_name("SECONDS")
      ->capture_default_str();
  step->add_flag("--private-only", *private_only, "leave out the non-private side");
  step->add_option(
          "--export", *file,
          "measure nothing: write parameters, views, targets and the clipped sum of one step to this "
          "safetensors file, for other programs to recompute (all data are synthetic: nothing private "
          "is written)")
      ->type_name("FILE");
  step->final_callback([config, changes, step_device, seconds, private_only, file, step, &common] {
    const bool exports = step->count("--export") > 0;
    common.action = [config, changes, step_device, seconds, private_only, file, exports, &common] {
      if (!step_device->empty()) changes->set.push_back("speed.device=" + *step_device);
      PG_CHECK(std::isfinite(*seconds) && *seconds >= 0, "--seconds: wanted a number of seconds, 0 or more");
      Console console;
      const Config used = config->empty() ? parse_config(bench_step_default_config(), "bench step", *changes)
                                          : load_config(*config, *changes);
      const BenchResult result =
          exports ? export_step(used, *file, console) : bench_step(used, *seconds, *private_only, console);
      print(common, result.json, result.text);
    };
  });
}

void add_audit(CLI::App& app, Common& common) {
  auto options = std::make_shared<audit::AuditOptions>();
  CLI::App* audit_app = verb(app, common, "audit");
  audit_app
      ->add_option("target", options->target,
                   "run folder or config (default: a small net on synthetic images)")
      ->type_name("PATH");
  add_set(audit_app, options->changes);
  CLI::Option* full = audit_app->add_flag("--full", options->full, "some minutes of checks in place of one");
  audit_app->add_flag("--quick")->description("one minute of checks; the default")->excludes(full);
  audit_app->add_option("--only", options->only, "this rung alone; once for each")
      ->type_name(one_of(audit::rung_list()))
      ->allow_extra_args(false);
  audit_app->add_option("--seed", options->seed, "repeat an audit (default: the system's entropy)")
      ->type_name("N");
  add_data_root(audit_app, common);
  audit_app->final_callback([options, &common] {
    common.action = [options, &common] {
      options->data_root = common.data_root;
      Console console;
      const audit::AuditResult result = audit::audit(*options, console);
      print(common, result.json, result.text);
      common.status = result.passed ? 0 : 3;
    };
  });
}

void add_explain(CLI::App& app, Common& common) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* explain_app = verb(app, common, "explain");
  explain_app->add_option("config", options->config, "whose views, clip norm and noise (default: an example)")
      ->type_name("FILE");
  add_set(explain_app, options->changes);
  explain_app->final_callback([options, &common] {
    common.action = [options, &common] {
      const ExplainResult result = explain(*options);
      print(common, result.json, result.text);
    };
  });
}

void add_report(CLI::App& app, Common& common) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* report_app = verb(app, common, "report");
  report_app->add_option("run", options->run, "run folder")->type_name("DIR")->required();
  report_app->add_option("-o,--out", options->out, "the page (default: RUN/report.html)")->type_name("FILE");
  report_app->add_flag("--public-data", options->public_data, "the training images are public: show some");
  add_data_root(report_app, common);
  report_app->final_callback([options, &common] {
    common.action = [options, &common] {
      options->data_root = common.data_root;
      Console console;
      const ReportResult result = report(*options, console);
      print(common, result.json, result.text);
    };
  });
}

void add_info(CLI::App& app, Common& common) {
  CLI::App* info_app = verb(app, common, "info");
  info_app->final_callback([&common] {
    common.action = [&common] {
      const InfoResult result = info();
      print(common, result.json, result.text);
    };
  });
}

void add_completion(CLI::App& app, Common& common) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion_app = add_documented_verb(app, "completion");
  completion_app->add_option("shell", *shell, "of which shell")
      ->check(CLI::IsMember({"bash", "zsh"}))
      ->required();
  completion_app->final_callback([shell, &app, &common] {
    common.action = [shell, &app, &common] { print(common, {}, completion_script(app, *shell)); };
  });
}

}  // namespace

void add_verbs(CLI::App& program, Common& common) {
  add_train(program, common);
  add_evaluate(program, common);
  add_account(program, common);
  add_data(program, common);
  add_bench(program, common);
  add_audit(program, common);
  add_explain(program, common);
  add_report(program, common);
  add_info(program, common);
  add_completion(program, common);
}

}  // namespace pergrad::apps
