// The keys of a config: one row each, from which reading, checking and writing all follow.
#pragma once

#include "apps/config.h"

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace pergrad::apps {

// An interval as it is written: text "(0, 1]" excludes 0 and includes 1.
struct Interval {
  double low, high;
  const char* text;
  // NaN and infinities are in none.
  bool contains(double x) const;
};

// What kind of value a key has, and where it goes.
struct FlagKey {
  bool* value;
};
struct IntegerKey {
  std::variant<int64_t*, uint64_t*> value;
  int64_t low = 0, high = std::numeric_limits<int64_t>::max();
};
struct NumberKey {
  std::variant<double*, std::optional<double>*> value;  // optional: the key may be absent
  Interval range;
};
struct TextKey {
  std::string* value;
  std::vector<std::string> choices;  // empty: any text
};
struct ChoiceKey {
  std::vector<std::string> choices;
  std::function<size_t()> get;
  std::function<void(size_t)> set;
};
struct NumbersKey {
  std::vector<double>* value;
  Interval range;  // of each
};
struct TextsKey {
  std::vector<std::string>* value;
};

struct ConfigKey {
  std::string section;
  std::string name;
  std::variant<FlagKey, IntegerKey, NumberKey, TextKey, ChoiceKey, NumbersKey, TextsKey> value;
  std::string comment;
  bool required = false;  // has no default

  std::string dotted() const { return section + '.' + name; }
};

struct ConfigSection {
  std::string name;
  std::string comment;
};

// In the order in which a config is written. Keys point into `config`, sections in the order of their keys.
std::vector<ConfigKey> config_keys(Config& config);
const std::vector<ConfigSection>& config_sections();

// Values as TOML.
std::string toml_of(const std::string& text);
std::string toml_of(double value);  // the shortest text that reads back to it; never looks like an integer
// Of a key's present value; nothing for an absent optional one.
std::optional<std::string> toml_of(const ConfigKey& key);

}  // namespace pergrad::apps
