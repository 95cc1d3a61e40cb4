// ConfigReader: from TOML and --set to the fields of a Config, key by key. What the values must be to each
// other is not checked here.
#pragma once

#include "apps/config_keys.h"

#include <toml++/toml.h>

#include <set>
#include <string>
#include <vector>

namespace pergrad::apps {

// Fills `config`, which must outlive it.
class ConfigReader {
 public:
  explicit ConfigReader(Config& config) : keys_(config_keys(config)) {}

  // A whole file.   THROWS: FormatError: "FILE:LINE: section.key: got ..., wanted ...".
  void read(const toml::table& file, const std::string& name);
  // One --set: "section.key=value".   THROWS: FormatError: "--set section.key: got ..., wanted ...".
  void override_with(const std::string& text);
  bool was_overridden(const std::string& dotted) const { return overridden_.contains(dotted); }
  // Every key without a default has been given.   THROWS: FormatError.
  void require_all(const std::string& name) const;

 private:
  const ConfigKey* find(const std::string& section, const std::string& name) const;
  void set(const std::string& section, const std::string& name, const toml::node& value,
           const std::string& from);
  bool is_text(const std::string& section, const std::string& name) const;

  std::vector<ConfigKey> keys_;
  std::set<std::string> given_, overridden_;
};

}  // namespace pergrad::apps
