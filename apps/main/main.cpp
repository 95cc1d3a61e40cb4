// pergrad: flags in, verbs out, exit status as promised: 0 done, 1 our fault, 2 the user's, 3 privacy.
#include "apps/atomic_file.h"
#include "apps/audit/audit.h"
#include "apps/bench.h"
#include "apps/console.h"
#include "apps/ledger_cost.h"
#include "apps/evaluate.h"
#include "apps/explain.h"
#include "apps/info.h"
#include "apps/run_folder.h"
#include "apps/report.h"
#include "apps/train.h"
#include "apps/verb_account.h"
#include "apps/verb_data.h"
#include "core/error.h"
#include "dp/accountant.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace {

// Two libraries read variables before main and are set up here, by starting the program anew with them: what
// setenv does before the C library is set up is lost.
// OMP_WAIT_POLICY: threads that wait for others sleep. libgomp's way is to spin for milliseconds, which on a
// machine with anything else to do takes the core from the very thread that is waited for: steps of a small
// net were 2 to 3 times slower beside one other busy process. OPENBLAS_NUM_THREADS: OpenBLAS starts threads
// that we never use (core/gemm.cpp), and hangs where memory for them is short.
void set_up_libraries(int, char** argv, char** environment) {
  constexpr std::string_view kSleep = "OMP_WAIT_POLICY=", kOne = "OPENBLAS_NUM_THREADS=";
  bool sleeps = false, one = false;
  std::vector<char*> changed;
  for (char** entry = environment; *entry; ++entry) {
    const std::string_view text = *entry;
    sleeps = sleeps || text.starts_with(kSleep);
    if (text.starts_with(kOne)) {
      one = text.substr(kOne.size()) == "1";
      if (!one) continue;
    }
    changed.push_back(*entry);
  }
  if (sleeps && one) return;
  static char passive[] = "OMP_WAIT_POLICY=passive", one_thread[] = "OPENBLAS_NUM_THREADS=1";
  if (!sleeps) changed.push_back(passive);
  if (!one) changed.push_back(one_thread);
  changed.push_back(nullptr);
  static char program[4096];  // zeros behind the name
  if (::readlink("/proc/self/exe", program, sizeof program - 1) > 0) ::execve(program, argv, changed.data());
  // Where that cannot be, it works without, slower.
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeLibraries)(int, char**,
                                                                             char**) = set_up_libraries;

using namespace pergrad::apps;
using Json = nlohmann::ordered_json;

// What every verb shares.
struct Common {
  bool json = false;
  std::string data_root;
  std::function<void()> action;  // of the verb that was named
  int status = 0;                // that the action ends with
};

// Results go to standard output: one JSON object with --json, else text.
void print(const Common& common, const Json& json, const std::string& text) {
  const std::string out = common.json ? json.dump(2) + "\n" : text;
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0)
    throw pergrad::Error("standard output: cannot write");
}

CLI::App* verb(CLI::App& parent, Common& common, const std::string& name, const std::string& what) {
  CLI::App* app = parent.add_subcommand(name, what);
  app->add_flag("--json", common.json, "print one JSON object");
  return app;
}

void add_train(CLI::App& app, Common& common) {
  auto options = std::make_shared<TrainOptions>();
  auto device = std::make_shared<std::string>();
  CLI::App* train_app = verb(app, common, "train", "train a model; with privacy unless told otherwise");
  train_app->add_option("config", options->config, "what the run is (TOML)")->required();
  train_app->add_option("--out", options->out, "run folder (default: runs/<config name>-<seed>)");
  train_app->add_flag("--resume", options->resume, "go on with the run in --out");
  train_app->add_option("--set", options->changes.set, "section.key=value, once for each change")
      ->allow_extra_args(false);
  train_app->add_option("--device", *device, "cpu, cuda, cuda:<index> or emulated");
  train_app->add_option("--simulate", options->simulate,
                        "rehearse at this expected batch size, with the same noise on the mean gradient");
  train_app->add_option("--max-minutes", options->max_minutes, "stop cleanly after so many minutes");
  train_app->add_option("--max-steps", options->max_steps, "stop cleanly after so many steps");
  train_app->add_flag("--non-private", options->changes.non_private, "no clipping, no noise, no guarantee");
  train_app->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
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
  CLI::App* evaluate_app = verb(app, common, "evaluate", "accuracy of a run or checkpoint on its test set");
  evaluate_app->add_option("path", options->path, "run folder or checkpoint")->required();
  evaluate_app->add_option("--device", options->device, "cpu, cuda, cuda:<index> or emulated")
      ->capture_default_str();
  evaluate_app->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
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
  const pergrad::dp::PrivacyCost& cost = told.cost;
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
pergrad::accounting::Phase parse_phase(const std::string& text) {
  pergrad::accounting::Phase phase;
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
  CLI::App* account = app.add_subcommand("account", "what training costs in privacy, or what a budget buys");
  account->require_subcommand(1);
  auto ask = std::make_shared<AccountQuestion>();
  struct Verb {
    const char *name, *what;
    AccountAnswer (*answer)(const AccountQuestion&);
    std::vector<std::string> flags;
  };
  const std::vector<Verb> verbs = {
      {"epsilon", "epsilon for delta", account_epsilon, {"run", "delta"}},
      {"delta", "delta for epsilon", account_delta, {"run", "epsilon"}},
      {"noise", "the smallest noise multiplier for a target", account_noise, {"target", "rate", "steps"}},
      {"steps", "how many steps a target allows", account_steps, {"target", "rate", "noise"}},
      {"batch",
       "the largest expected batch size for a target",
       account_batch,
       {"target", "noise", "steps", "examples"}},
      {"curve", "epsilon over delta and delta over epsilon", account_curve, {"run", "csv"}},
      {"trade-off", "errors of whoever tells two neighbours apart", account_trade_off, {"run", "csv"}}};
  for (const Verb& v : verbs) {
    CLI::App* sub = verb(*account, common, v.name, v.what);
    auto csv = std::make_shared<std::filesystem::path>();
    auto phases = std::make_shared<std::vector<std::string>>();
    const auto noise = [&] {
      return sub->add_option("--noise-multiplier", ask->noise_multiplier,
                             "noise standard deviation / clip norm");
    };
    const auto rate = [&] {
      return sub->add_option("--sampling-rate", ask->sampling_rate,
                             "probability that an example joins a step");
    };
    const auto steps = [&] { return sub->add_option("--steps", ask->steps, "number of steps"); };
    for (const std::string& flag : v.flags) {
      if (flag == "noise") noise()->required();
      if (flag == "rate") rate()->required();
      if (flag == "steps") steps()->required();
      if (flag == "examples")
        sub->add_option("--examples", ask->examples, "number of training examples")->required();
      if (flag == "epsilon") sub->add_option("--epsilon", ask->epsilon, "privacy loss")->required();
      if (flag == "target")
        sub->add_option("--target-epsilon", ask->epsilon, "epsilon to stay below")->required();
      if (flag == "delta" || flag == "target")
        sub->add_option("--delta", ask->delta, "a probability")->required();
      if (flag == "csv") sub->add_option("--csv", *csv, "also write the curve to this file");
      if (flag == "run") {
        auto* list =
            sub->add_option("--phase", *phases, "SIGMA,Q,STEPS: one of several plans of a run; repeatable");
        for (CLI::Option* one : {noise(), rate(), steps()}) list->excludes(one);
        sub->add_option("--sampling", ask->sampling, "how batches are drawn")
            ->check(CLI::IsMember({"poisson", "full_batch", "without_replacement", "shuffle"}))
            ->capture_default_str();
        sub->add_option("--adjacency", ask->adjacency, "what neighbours are")
            ->check(CLI::IsMember({"add_remove", "substitution"}))
            ->capture_default_str();
        sub->add_option("--precision", ask->precision, "relative width of intervals to aim at")
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
          common.action = [ask, csv, phases, answer, &common] {
            for (const std::string& text : *phases) ask->phases.push_back(parse_phase(text));
            const AccountAnswer result = answer(*ask);
            if (!csv->empty()) write_file_atomically(*csv, result.csv);
            print(common, result.json, result.text);
          };
        });
  }
  auto run = std::make_shared<std::filesystem::path>();
  CLI::App* ledger = verb(*account, common, "ledger", "verify a run's ledger and recompute what it cost");
  ledger->add_option("run", *run, "run folder")->required();
  ledger->final_callback(
      [run, &common] { common.action = [run, &common] { account_ledger(common, *run); }; });
}

void add_spec(CLI::App* app, DataSpec& spec) {
  app->add_option("path", spec.path, "folder or file, as it is or below a data root")->required();
  app->add_option("--format", spec.format, "idx, cifar10, cifar100 or image_folder")->required();
  app->add_option("--height", spec.height, "resize to this height");
  app->add_option("--width", spec.width, "resize to this width");
  app->add_option("--channels", spec.channels, "1 or 3");
}

void add_data(CLI::App& app, Common& common) {
  CLI::App* data = app.add_subcommand("data", "look into datasets and convert them");
  data->require_subcommand(1);
  const auto progress = [](Console& console) {
    return [&console](std::string_view what, int64_t done, int64_t total) {
      console.progress(fmt::format("{}: {} of {}", what, done, total));
    };
  };
  auto look = std::make_shared<DataInspectOptions>();
  CLI::App* inspect = verb(*data, common, "inspect", "what a dataset holds");
  add_spec(inspect, look->spec);
  inspect->add_flag("--pool", look->pool, "one set of images instead of train and test");
  inspect->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
  inspect->final_callback([look, progress, &common] {
    common.action = [look, progress, &common] {
      look->data_root = common.data_root;
      Console console;
      const DataReport report = data_inspect(*look, progress(console));
      console.clear();
      print(common, report.json, report.text);
    };
  });
  auto turn = std::make_shared<DataConvertOptions>();
  CLI::App* convert = verb(*data, common, "convert", "write a dataset in another format");
  add_spec(convert, turn->from);
  convert->add_option("to", turn->to_path, "folder to make")->required();
  convert->add_option("--to-format", turn->to_format, "cifar10, cifar100 or image_folder")->required();
  convert->add_flag("--overwrite", turn->overwrite, "replace a dataset that is there");
  convert->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
  convert->final_callback([turn, progress, &common] {
    common.action = [turn, progress, &common] {
      turn->data_root = common.data_root;
      Console console;
      const DataReport report = data_convert(*turn, progress(console));
      console.clear();
      print(common, report.json, report.text);
    };
  });
}

void add_bench(CLI::App& app, Common& common) {
  CLI::App* bench = app.add_subcommand("bench", "how fast this machine is");
  bench->require_subcommand(1);
  CLI::App* kernels = verb(*bench, common, "kernels", "every hot kernel, fast against simple");
  auto device = std::make_shared<std::string>("cpu");
  kernels->add_option("--device", *device, "cpu, cuda, cuda:<index> or emulated")->capture_default_str();
  kernels->final_callback([device, &common] {
    common.action = [device, &common] {
      const pergrad::Device where = pergrad::Device::parse(*device);
      Console console;
      const BenchResult result = where.is_cpu() ? bench_kernels(console) : bench_gpu_kernels(where, console);
      console.clear();
      print(common, result.json, result.text);
    };
  });
  auto config = std::make_shared<std::filesystem::path>();
  auto changes = std::make_shared<ConfigChanges>();
  verb(*bench, common, "accountant", "intervals and inverse problems, one thread")->final_callback([&common] {
    common.action = [&common] {
      const BenchResult result = bench_accountant();
      print(common, result.json, result.text);
    };
  });
  CLI::App* step = verb(*bench, common, "step", "one training step on synthetic images");
  step->add_option("config", *config, "model, views and examples (default: WRN-16-4, 16 views)");
  step->add_option("--set", changes->set, "section.key=value, once for each change")->allow_extra_args(false);
  auto step_device = std::make_shared<std::string>();
  step->add_option("--device", *step_device, "cpu, cuda, cuda:<index> or emulated");
  auto seconds = std::make_shared<double>(2.0);
  auto private_only = std::make_shared<bool>(false);
  auto file = std::make_shared<std::filesystem::path>();
  step->add_option("--seconds", *seconds, "measure a side for at least so long")->capture_default_str();
  step->add_flag("--private-only", *private_only, "leave out the non-private side");
  step->add_option(
      "--export", *file,
      "measure nothing: write parameters, views, targets and the clipped sum of one step to this "
      "safetensors file, for other programs to recompute (all data are synthetic: nothing private "
      "is written)");
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
  auto options = std::make_shared<pergrad::audit::AuditOptions>();
  CLI::App* audit_app = verb(app, common, "audit", "check that the program guarantees what it says");
  audit_app->add_option("target", options->target,
                        "run folder or config (default: a small net on synthetic images)");
  audit_app->add_option("--set", options->changes.set, "section.key=value, once for each change")
      ->allow_extra_args(false);
  CLI::Option* full = audit_app->add_flag("--full", options->full, "ten minutes of checks in place of one");
  audit_app->add_flag("--quick")->description("one minute of checks; the default")->excludes(full);
  audit_app
      ->add_option("--only", options->only, "this rung alone, once for each: " + pergrad::audit::rung_list())
      ->allow_extra_args(false);
  audit_app->add_option("--seed", options->seed, "repeat an audit (default: the system's entropy)");
  audit_app->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
  audit_app->final_callback([options, &common] {
    common.action = [options, &common] {
      options->data_root = common.data_root;
      Console console;
      const pergrad::audit::AuditResult result = pergrad::audit::audit(*options, console);
      print(common, result.json, result.text);
      common.status = result.passed ? 0 : 3;
    };
  });
}

void add_explain(CLI::App& app, Common& common) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* explain_app = verb(app, common, "explain", "one step of DP-SGD with every number, for teaching");
  explain_app->add_option("config", options->config,
                          "whose views, clip norm and noise (default: an example)");
  explain_app->add_option("--set", options->changes.set, "section.key=value, once for each change")
      ->allow_extra_args(false);
  explain_app->final_callback([options, &common] {
    common.action = [options, &common] {
      const ExplainResult result = explain(*options);
      print(common, result.json, result.text);
    };
  });
}

void add_report(CLI::App& app, Common& common) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* report_app = verb(app, common, "report", "one page: what a run guarantees, cost and reached");
  report_app->add_option("run", options->run, "run folder")->required();
  report_app->add_option("-o,--out", options->out, "the page (default: RUN/report.html)");
  report_app->add_flag("--public-data", options->public_data, "the training images are public: show some");
  report_app->add_option("--data-root", common.data_root, "where datasets lie (or PERGRAD_DATA)");
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
  CLI::App* info_app = verb(app, common, "info", "version, build, devices, libraries");
  info_app->final_callback([&common] {
    common.action = [&common] {
      const InfoResult result = info();
      print(common, result.json, result.text);
    };
  });
}

// One line, whatever the message was made of.
int fail(int status, const std::string& what) {
  std::string line = what.substr(0, what.find('\n'));
  std::fprintf(stderr, "pergrad: %s\n", line.c_str());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is a failed write with a message, not a silent end
  Common common;
  try {
    CLI::App app("Trains image models with differential privacy, and says what it guarantees.", "pergrad");
    app.set_version_flag("--version", std::string("pergrad ") + PG_VERSION);
    app.require_subcommand(1);
    add_train(app, common);
    add_evaluate(app, common);
    add_account(app, common);
    add_data(app, common);
    add_bench(app, common);
    add_audit(app, common);
    add_explain(app, common);
    add_report(app, common);
    add_info(app, common);
    const std::vector<std::string> verbs = {"train", "evaluate", "account", "data", "audit",
                                            "bench", "explain",  "report",  "info"};
    if (argc > 1 && argv[1][0] != '-' && std::find(verbs.begin(), verbs.end(), argv[1]) == verbs.end())
      return fail(2, pergrad::concat(
                         "no verb \"", printable(argv[1]),
                         "\"; wanted train, evaluate, account, data, audit, bench, explain, report or info"));
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& success) {
      return app.exit(success);
    } catch (const CLI::ParseError& error) {
      return fail(2, std::string(error.what()) + " (see --help)");
    }
    common.action();
    return common.status;
  } catch (const pergrad::PrivacyError& error) {
    return fail(3, error.what());
  } catch (const pergrad::Error& error) {
    return fail(2, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(2, error.what());
  } catch (const std::bad_alloc&) {
    return fail(2, "out of memory: a smaller model, speed.max_examples or speed.threads needs less");
  } catch (const std::exception& error) {
    return fail(1, std::string("internal error: ") + error.what());
  }
}
