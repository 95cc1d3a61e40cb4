// Completion for bash and zsh: one walk over the verbs, one writer a shell.
#include "apps/main/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace pergrad::apps {
namespace {

// What follows a flag, or is an argument by position.
struct Value {
  enum class Kind { none, words, folder, file, other } kind = Kind::none;
  std::vector<std::string> words;
};

struct Flag {
  std::vector<std::string> names;  // "-o", "--out"
  std::string what;
  Value value;
  bool repeats = false;
};

struct Verb {
  std::string path;  // "account epsilon"; of the program itself ""
  std::string what;
  std::vector<Flag> flags;
  std::vector<Flag> positionals;   // one name each
  std::vector<std::string> verbs;  // below it
};

Value value_of(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return {};
  const std::string type = option.get_type_name();
  if (const size_t begin = type.find('{'), end = type.find('}'); begin < end && end != std::string::npos)
    return {Value::Kind::words, CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',')};
  if (type == "DIR") return {Value::Kind::folder, {}};
  return {type == "FILE" || type == "PATH" ? Value::Kind::file : Value::Kind::other, {}};
}

// The program and every verb below it, each before those below itself.
void collect(const CLI::App& app, const std::string& path, std::vector<Verb>& verbs) {
  Verb verb{path, app.get_description(), {}, {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    Flag flag{{},
              option->get_description(),
              value_of(*option),
              option->get_expected_max() == CLI::detail::expected_max_vector_size};
    std::ranges::replace(flag.what, '\n', ' ');
    if (option->get_positional()) {
      flag.names = {option->get_name(true)};
      verb.positionals.push_back(flag);
      continue;
    }
    for (const std::string& name : option->get_snames()) flag.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) flag.names.push_back("--" + name);
    verb.flags.push_back(flag);
  }
  const std::vector<const CLI::App*> below = app.get_subcommands({});
  for (const CLI::App* sub : below) verb.verbs.push_back(sub->get_name());
  verbs.push_back(verb);
  for (const CLI::App* sub : below)
    collect(*sub, path.empty() ? sub->get_name() : path + ' ' + sub->get_name(), verbs);
}

// A word of either shell, whatever is in it.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string joined(const std::vector<std::string>& words) { return CLI::detail::join(words, " "); }

// A template with its @NAMES@ filled in.
std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& parts) {
  for (const auto& [name, part] : parts) text.replace(text.find('@' + name + '@'), name.size() + 2, part);
  return text;
}

// Words before the cursor that name a verb lead to it; then a value of the flag before the cursor starts, or
// else a flag or an argument. bash takes the = of --out=DIR for a word.
constexpr const char* kBash = R"(# Completion of pergrad for bash, as "pergrad completion bash" prints it.
_pergrad() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local verb='' words='' files='' word
  [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD-2]}
  [[ $current == = ]] && current=''
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "${verb:+$verb }$word" in
      @PATHS@) verb="${verb:+$verb }$word" ;;
    esac
  done
  case "$verb:$previous" in
@VALUES@    *)
      if [[ $current == -* ]]; then
        case "$verb" in
@FLAGS@        esac
      else
        case "$verb" in
@ARGUMENTS@        esac
      fi
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ -z $words && -n $files ]] && compopt -o "$files" 2>/dev/null
  return 0
}
complete -F _pergrad pergrad
)";

// What bash does for a value: `words` are offered; without any, `files` names what compopt offers.
std::string bash_value(const Value& value) {
  switch (value.kind) {
    case Value::Kind::words:
      return "words=" + quoted(joined(value.words));
    case Value::Kind::folder:
      return "files=dirnames";
    case Value::Kind::file:
      return "files=default";
    default:
      return ":";
  }
}

std::string bash_script(const std::vector<Verb>& verbs) {
  std::string paths, values, flags, arguments;
  for (const Verb& verb : verbs) {
    if (!verb.path.empty()) paths += (paths.empty() ? "" : " | ") + quoted(verb.path);
    std::vector<std::string> names;
    for (const Flag& flag : verb.flags)
      for (const std::string& name : flag.names) {
        names.push_back(name);
        if (flag.value.kind != Value::Kind::none)
          values += "    " + quoted(verb.path + ':' + name) + ") " + bash_value(flag.value) + " ;;\n";
      }
    const Value first = !verb.verbs.empty()         ? Value{Value::Kind::words, verb.verbs}
                        : !verb.positionals.empty() ? verb.positionals[0].value
                                                    : Value{Value::Kind::words, names};
    flags += "          " + quoted(verb.path) + ") words=" + quoted(joined(names)) + " ;;\n";
    arguments += "          " + quoted(verb.path) + ") " + bash_value(first) + " ;;\n";
  }
  return filled(kBash, {{"PATHS", paths}, {"VALUES", values}, {"FLAGS", flags}, {"ARGUMENTS", arguments}});
}

// One function a verb; for what has verbs below it:
constexpr const char* kZshOfVerbs = R"(  local curcontext="$curcontext" context state state_descr line
  local -A opt_args
  local -a verbs=(
@NAMES@  )
  _arguments -C@SPECS@ \
    '1:verb:->verb' '*::argument:->below'
  case $state in
    verb) _describe verb verbs ;;
    below)
      case $line[1] in
@CALLS@      esac
      ;;
  esac
)";

// ":what it is:how it is completed" of _arguments.
std::string zsh_value(const Value& value) {
  switch (value.kind) {
    case Value::Kind::none:
      return "";
    case Value::Kind::words:
      return ":value:(" + joined(value.words) + ")";
    case Value::Kind::folder:
      return ":folder:_files -/";
    case Value::Kind::file:
      return ":file:_files";
    case Value::Kind::other:
      break;
  }
  return ":value: ";
}

// "(-o --out)--out=[what it is]:file:_files" for each of a flag's names.
std::string zsh_flag(const Flag& flag) {
  std::string what, specs;
  for (const char c : flag.what) {
    if (std::string_view("[]:\\").find(c) != std::string_view::npos) what += '\\';
    what += c;
  }
  for (const std::string& name : flag.names) {
    std::string spec = (flag.repeats ? "*" : '(' + joined(flag.names) + ')') + name;
    if (flag.value.kind != Value::Kind::none) spec += name.starts_with("--") ? "=" : "+";
    specs += " \\\n    " + quoted(fmt::format("{}[{}]{}", spec, what, zsh_value(flag.value)));
  }
  return specs;
}

std::string zsh_function(const std::string& path) {
  std::string name = path.empty() ? "_pergrad" : "_pergrad_" + path;
  for (char& c : name)
    if (c == ' ' || c == '-') c = '_';
  return name;
}

std::string zsh_script(const std::vector<Verb>& verbs) {
  std::string out =
      "#compdef pergrad\n# Completion of pergrad for zsh, as \"pergrad completion zsh\" prints it.\n";
  for (const Verb& verb : verbs) {
    std::string specs, names, calls;
    for (const Flag& flag : verb.flags) specs += zsh_flag(flag);
    for (size_t i = 0; i < verb.positionals.size(); ++i)
      specs += " \\\n    " + quoted(std::to_string(i + 1) + zsh_value(verb.positionals[i].value));
    for (const std::string& name : verb.verbs) {
      const std::string path = verb.path.empty() ? name : verb.path + ' ' + name;
      names += "    " + quoted(name + ':' + std::ranges::find(verbs, path, &Verb::path)->what) + '\n';
      calls += "        " + name + ") " + zsh_function(path) + " ;;\n";
    }
    out +=
        '\n' + zsh_function(verb.path) + "() {\n" +
        (verb.verbs.empty() ? "  _arguments" + specs + '\n'
                            : filled(kZshOfVerbs, {{"NAMES", names}, {"SPECS", specs}, {"CALLS", calls}})) +
        "}\n";
  }
  return out +
         "\nif [[ $funcstack[1] == _pergrad ]]; then _pergrad \"$@\"; else compdef _pergrad pergrad; fi\n";
}

}  // namespace

std::string completion_script(const CLI::App& program, const std::string& shell) {
  std::vector<Verb> verbs;
  collect(program, "", verbs);
  return shell == "zsh" ? zsh_script(verbs) : bash_script(verbs);
}

}  // namespace pergrad::apps
