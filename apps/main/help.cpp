// The texts of help, one row a verb, and their layout.
#include "apps/main/help.h"

#include <memory>
#include <set>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace pergrad::apps {
namespace {

struct VerbHelp {
  std::string_view verb;
  std::string_view what;  // in lists of verbs
  std::string_view done;  // exit status 0
  std::vector<std::string_view> examples;
  std::string_view privacy = "a privacy check failed";  // exit status 3
};

const std::vector<VerbHelp>& table() {
  static const std::vector<VerbHelp> rows = {
      {"",
       "",
       "done",
       {"pergrad train configs/fashion_mnist_dpmix.toml --out runs/mine",
        "pergrad account epsilon --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --delta 1e-5",
        "pergrad VERB --help     every flag of a verb, with examples"}},
      {"train",
       "train a model; with privacy unless told otherwise",
       "trained, or stopped cleanly with a checkpoint to go on from",
       {"pergrad train configs/fashion_mnist_dpmix.toml --out runs/mine --max-minutes 2",
        "pergrad train configs/fashion_mnist_dpmix.toml --out runs/mine --resume"},
       "a privacy check failed, such as a ledger that does not verify: nothing more was released"},
      {"evaluate",
       "accuracy of a run, a checkpoint or PyTorch's weights on a test set",
       "measured, however good or bad",
       {"pergrad evaluate runs/mine", "pergrad evaluate runs/mine/checkpoint.safetensors --ema --json",
        "pergrad evaluate from_pytorch.safetensors --config configs/own/nonprivate_cifar10_wrn16_4.toml"}},
      {"account",
       "what training costs in privacy, or what a budget buys",
       "answered",
       {"pergrad account epsilon --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --delta 1e-5",
        "pergrad account ledger runs/mine"}},
      {"account epsilon",
       "epsilon for delta",
       "answered",
       {"pergrad account epsilon --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --delta 1e-5",
        "pergrad account epsilon --phase 1.5,0.02,500 --phase 1.2,0.02,300 --delta 1e-5"}},
      {"account delta",
       "delta for epsilon",
       "answered",
       {"pergrad account delta --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --epsilon 3"}},
      {"account noise",
       "the smallest noise multiplier for a target",
       "answered",
       {"pergrad account noise --target-epsilon 3 --delta 1e-5 --sampling-rate 0.034 --steps 900"}},
      {"account steps",
       "how many steps a target allows",
       "answered",
       {"pergrad account steps --target-epsilon 3 --delta 1e-5 --sampling-rate 0.034 --noise-multiplier 2"}},
      {"account batch",
       "the largest expected batch size for a target",
       "answered",
       {"pergrad account batch --target-epsilon 3 --delta 1e-5 --noise-multiplier 2 --steps 250 "
        "--examples 50000"}},
      {"account curve",
       "epsilon over delta and delta over epsilon",
       "answered",
       {"pergrad account curve --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --csv curve.csv"}},
      {"account trade-off",
       "errors of whoever tells two neighbours apart",
       "answered",
       {"pergrad account trade-off --noise-multiplier 4 --sampling-rate 0.08 --steps 1700 --csv errors.csv"}},
      {"account ledger",
       "verify a run's ledger and recompute what it cost",
       "the ledger verifies",
       {"pergrad account ledger runs/mine"},
       "the ledger does not verify: the line is named"},
      {"data",
       "look into datasets and convert them",
       "done",
       {"pergrad data inspect cifar-10-batches-bin --format cifar10 --data-root data"}},
      {"data inspect",
       "what a dataset holds",
       "read to its end",
       {"pergrad data inspect cifar-10-batches-bin --format cifar10 --data-root data",
        "pergrad data inspect photos --format image_folder --height 32 --width 32 --channels 3"}},
      {"data convert",
       "write a dataset in another format",
       "written",
       {"pergrad data convert cifar-10-batches-bin images --format cifar10 --to-format image_folder"}},
      {"bench",
       "how fast this machine is",
       "measured",
       {"pergrad bench kernels", "pergrad bench step configs/fashion_mnist_dpmix.toml --seconds 5"}},
      {"bench kernels",
       "every hot kernel, fast against simple",
       "measured",
       {"pergrad bench kernels", "pergrad bench kernels --device cuda --json"}},
      {"bench step",
       "one training step on synthetic images",
       "measured, or exported",
       {"pergrad bench step configs/fashion_mnist_dpmix.toml --seconds 5",
        "pergrad bench step --set speed.max_examples=8 --private-only --json"}},
      {"bench accountant",
       "intervals and inverse problems, one thread",
       "measured",
       {"pergrad bench accountant"}},
      {"audit",
       "check that the program guarantees what it says",
       "every rung that was run passed",
       {"pergrad audit --full", "pergrad audit runs/mine --only plan --only lifecycle"},
       "a rung failed: what was found is printed"},
      {"explain",
       "one step of DP-SGD with every number, for teaching",
       "explained",
       {"pergrad explain", "pergrad explain configs/fashion_mnist_dpmix.toml --set privacy.clip_norm=0.5"}},
      {"report",
       "one page: what a run guarantees, cost and reached",
       "the page is written",
       {"pergrad report runs/mine", "pergrad report runs/mine -o mine.html --public-data"},
       "a privacy check failed, such as a ledger that does not verify: no page"},
      {"info", "version, build, devices, libraries", "told", {"pergrad info", "pergrad info --json"}},
      {"completion",
       "a script by which a shell completes verbs and flags",
       "printed",
       {"source <(pergrad completion bash)     # in ~/.bashrc",
        "pergrad completion zsh > ~/.zfunc/_pergrad     # ~/.zfunc: a folder of fpath"}}};
  return rows;
}

const VerbHelp& help_of(std::string_view verb) {
  for (const VerbHelp& row : table())
    if (row.verb == verb) return row;
  throw std::logic_error("no help for the verb \"" + std::string(verb) + "\"");
}

std::string footer_of(const VerbHelp& help) {
  std::string text = "Examples:\n";
  for (const std::string_view example : help.examples) text += "  " + std::string(example) + '\n';
  text += "\nExit status:\n  0  " + std::string(help.done) +
          "\n  1  a fault of the program"
          "\n  2  a mistake in flags, config or files: one line says what and where"
          "\n  3  " +
          std::string(help.privacy);
  return text;
}

// Names and types on the left; on the right what it means, broken into lines, then default and exclusions.
class HelpLayout : public CLI::Formatter {
 public:
  static constexpr size_t kLeft = 32, kWidth = 100;
  HelpLayout() { column_width(kLeft); }

  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string type = option->get_items_expected_max() > 0 ? option->get_type_name() : "";
    const size_t words = type.find('{');  // of "TEXT:{a,b}" what matters
    return type.empty() ? "" : " " + (words == std::string::npos ? type : type.substr(words));
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    std::string text = option->get_description();
    if (option->get_required()) text += " (required)";
    if (!option->get_default_str().empty()) text += " (default: " + option->get_default_str() + ")";
    std::set<std::string> excluded;
    for (const CLI::Option* other : option->get_excludes()) excluded.insert(other->get_name());
    for (const std::string& name : excluded)
      text += (name == *excluded.begin() ? "; not with " : ", ") + name;
    return broken_into_lines(text);
  }

 private:
  static std::string broken_into_lines(std::string text) {
    for (size_t begin = 0; text.size() - begin > kWidth - kLeft;) {
      const size_t space = text.rfind(' ', begin + kWidth - kLeft);
      if (space == std::string::npos || space <= begin) break;
      text[space] = '\n';
      begin = space + 1;
    }
    return text;
  }
};

}  // namespace

CLI::App* add_documented_verb(CLI::App& parent, const std::string& name) {
  const VerbHelp& help = help_of(parent.get_parent() ? parent.get_name() + ' ' + name : name);
  CLI::App* app = parent.add_subcommand(name, std::string(help.what));
  app->footer(footer_of(help));
  return app;
}

void document_program(CLI::App& program) {
  program.formatter(std::make_shared<HelpLayout>());
  program.footer(footer_of(help_of("")));
}

std::string one_of(const std::string& words) {
  std::string text = "{" + words + "}";
  std::erase(text, ' ');
  return text;
}

}  // namespace pergrad::apps
