// The end of a run in a few lines for people, made of what its summary.json says.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace pergrad::apps {

// `summary`: as `pergrad train` writes it (docs/formats.md). `averaged`: there are averaged weights.
// `stopped_by`: why it ended before its last step, or empty.
std::string text_of_summary(const nlohmann::ordered_json& summary, bool averaged,
                            const std::string& stopped_by);

}  // namespace pergrad::apps
