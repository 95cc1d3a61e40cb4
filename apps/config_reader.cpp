// One key at a time: the nearest known name, the type, the range.
#include "apps/config_reader.h"

#include "apps/atomic_file.h"
#include "apps/edit_distance.h"
#include "core/error.h"

#include <algorithm>
#include <cmath>

namespace pergrad::apps {
namespace {

// "a, b or c".
std::string listed(const std::vector<std::string>& choices) {
  std::string out;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].empty()) continue;
    out += (out.empty() ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  }
  return out;
}

// The known key nearest to section.name: by name first, then by section. A name from elsewhere costs one.
std::string nearest_key(const std::vector<ConfigKey>& keys, const std::string& section,
                        const std::string& name) {
  const auto cost = [&](const ConfigKey& key) {
    return 2 * edit_distance(name, key.name) + (key.section == section ? 0 : 1);
  };
  const auto less = [&](const ConfigKey& a, const ConfigKey& b) { return cost(a) < cost(b); };
  return std::ranges::min_element(keys, less)->dotted();
}

std::string nearest_section(const std::string& name) {
  const auto less = [&](const ConfigSection& a, const ConfigSection& b) {
    return edit_distance(name, a.name) < edit_distance(name, b.name);
  };
  return std::ranges::min_element(config_sections(), less)->name;
}

std::string type_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number with a decimal point or exponent";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

// The value of one key, out of one TOML node; `where` is "FILE:LINE: section.key".
struct FromToml {
  const toml::node& node;
  const std::string& where;

  [[noreturn]] void wrong_type(const toml::node& got, const char* wanted) const {
    throw FormatError(concat(where, ": got ", type_of(got), ", wanted ", wanted));
  }
  double number(const toml::node& from, const Interval& range, const std::string& place) const {
    if (!from.is_integer() && !from.is_floating_point()) wrong_type(from, "a number");
    const double value = from.value<double>().value_or(std::nan(""));
    PG_CHECK_AS(FormatError, range.contains(value), where, place, ": got ",
                std::isfinite(value) ? toml_of(value) : concat(value), ", wanted ",
                std::isfinite(value) ? range.text : "a finite number");
    return value;
  }
  std::string text(const toml::node& from) const {
    if (!from.is_string()) wrong_type(from, "a string");
    const std::string& value = from.as_string()->get();
    PG_CHECK_AS(FormatError, printable(value) == value, where, ": got \"", printable(value),
                "\", wanted text without control characters");
    return value;
  }
  const toml::array& array(const char* of) const {
    if (!node.is_array()) wrong_type(node, of);
    return *node.as_array();
  }
  size_t choose(const std::string& got, const std::vector<std::string>& choices) const {
    const auto found = std::ranges::find(choices, got);
    PG_CHECK_AS(FormatError, found != choices.end(), where, ": got \"", got, "\", wanted ", listed(choices));
    return static_cast<size_t>(found - choices.begin());
  }

  void operator()(const FlagKey& key) const {
    if (!node.is_boolean()) wrong_type(node, "true or false");
    *key.value = node.as_boolean()->get();
  }
  void operator()(const IntegerKey& key) const {
    if (!node.is_integer()) wrong_type(node, "an integer");
    const int64_t value = node.as_integer()->get();
    if (key.high == std::numeric_limits<int64_t>::max()) {
      PG_CHECK_AS(FormatError, value >= key.low, where, ": got ", value, ", wanted at least ", key.low);
    } else {
      PG_CHECK_AS(FormatError, value >= key.low && value <= key.high, where, ": got ", value, ", wanted ",
                  key.low, " to ", key.high);
    }
    std::visit([&](auto* target) { *target = static_cast<std::remove_pointer_t<decltype(target)>>(value); },
               key.value);
  }
  void operator()(const NumberKey& key) const {
    std::visit([&](auto* target) { *target = number(node, key.range, ""); }, key.value);
  }
  void operator()(const TextKey& key) const {
    const std::string value = text(node);
    if (!key.choices.empty()) choose(value, key.choices);
    *key.value = value;
  }
  void operator()(const ChoiceKey& key) const { key.set(choose(text(node), key.choices)); }
  void operator()(const NumbersKey& key) const {
    std::vector<double> values;
    for (const toml::node& entry : array("an array of numbers, such as [0.5]"))
      values.push_back(number(entry, key.range, concat('[', values.size(), ']')));
    *key.value = std::move(values);
  }
  void operator()(const TextsKey& key) const {
    std::vector<std::string> values;
    for (const toml::node& entry : array("an array of strings")) values.push_back(text(entry));
    *key.value = std::move(values);
  }
};

// {value = ...}: the text as TOML, or as a bare string.
toml::table parse_value(const std::string& text, bool wants_text) {
  const bool quoted = text.starts_with('"') || text.starts_with('\'');
  if (!wants_text || quoted) {
    try {
      toml::table parsed = toml::parse("value = " + text, std::string_view("--set"));
      if (parsed.size() == 1 && text.find('\n') == std::string::npos) return parsed;
    } catch (const toml::parse_error& error) {
      PG_CHECK_AS(FormatError, !quoted && !text.starts_with('[') && !text.starts_with('{'), "--set ",
                  printable(text), ": ", printable(error.description()));
    }
  }
  toml::table bare;
  bare.insert("value", text);
  return bare;
}

}  // namespace

void ConfigReader::read(const toml::table& file, const std::string& name) {
  for (const auto& [section_key, node] : file) {
    const std::string section(section_key.str());
    const std::string where = concat(name, ':', node.source().begin.line, ": ", printable(section));
    const bool known =
        std::ranges::any_of(config_sections(), [&](const ConfigSection& s) { return s.name == section; });
    if (!node.is_table()) {
      PG_CHECK_AS(FormatError, known, where, ": unknown key outside of a table; did you mean ",
                  nearest_key(keys_, "", section), '?');
      throw FormatError(concat(where, ": got ", type_of(node), ", wanted a table"));
    }
    PG_CHECK_AS(FormatError, known, where, ": unknown table; did you mean [", nearest_section(section), "]?");
    for (const auto& [key, value] : *node.as_table())
      set(section, std::string(key.str()), value, concat(name, ':', value.source().begin.line, ": "));
  }
}

void ConfigReader::override_with(const std::string& text) {
  const size_t equals = text.find('='), dot = text.find('.');
  PG_CHECK_AS(FormatError, equals != std::string::npos && dot < equals, "--set ", printable(text),
              ": wanted section.key=value");
  const auto trimmed = [](std::string part) {
    part.erase(0, std::min(part.find_first_not_of(" \t"), part.size()));
    part.erase(part.find_last_not_of(" \t") + 1);
    return part;
  };
  const std::string section = trimmed(text.substr(0, dot));
  const std::string name = trimmed(text.substr(dot + 1, equals - dot - 1));
  const std::string value = trimmed(text.substr(equals + 1));
  const toml::table parsed = parse_value(value, is_text(section, name));
  set(section, name, *parsed.get("value"), "--set ");
  overridden_.insert(section + '.' + name);
}

void ConfigReader::require_all(const std::string& name) const {
  for (const ConfigKey& key : keys_)
    PG_CHECK_AS(FormatError, !key.required || given_.contains(key.dotted()), name, ": ", key.dotted(),
                ": missing; it has no default");
}

const ConfigKey* ConfigReader::find(const std::string& section, const std::string& name) const {
  const auto found =
      std::ranges::find_if(keys_, [&](const auto& k) { return k.section == section && k.name == name; });
  return found == keys_.end() ? nullptr : &*found;
}

void ConfigReader::set(const std::string& section, const std::string& name, const toml::node& value,
                       const std::string& from) {
  const std::string where = concat(from, printable(section), '.', printable(name));
  const ConfigKey* key = find(section, name);
  PG_CHECK_AS(FormatError, key, where, ": unknown key; did you mean ", nearest_key(keys_, section, name),
              '?');
  std::visit(FromToml{value, where}, key->value);
  given_.insert(key->dotted());
}

bool ConfigReader::is_text(const std::string& section, const std::string& name) const {
  const ConfigKey* key = find(section, name);
  return key &&
         (std::holds_alternative<TextKey>(key->value) || std::holds_alternative<ChoiceKey>(key->value));
}

}  // namespace pergrad::apps
