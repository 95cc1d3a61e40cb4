// `pergrad info`: version, build, devices, libraries.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace pergrad::apps {

struct InfoResult {
  nlohmann::ordered_json json;
  std::string text;
};

InfoResult info();

}  // namespace pergrad::apps
