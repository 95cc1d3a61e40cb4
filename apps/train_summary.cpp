// The lines of a finished or stopped run.
#include "apps/train_summary.h"

#include "apps/atomic_file.h"
#include "apps/console.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace pergrad::apps {
namespace {

// A bound of epsilon: a number, or "inf".
double bound(const nlohmann::ordered_json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity();
}

std::string privacy_of(const nlohmann::ordered_json& summary) {
  if (!summary.at("epsilon").is_object()) return "  privacy         none\n";
  const double lower = bound(summary.at("epsilon").at("lower")),
               upper = bound(summary.at("epsilon").at("upper"));
  std::string text = fmt::format(
      "  privacy         epsilon in [{:.4f}, {:.4f}] at delta = {:g}; one example added or removed\n",
      std::floor(lower * 1e4) / 1e4, std::ceil(upper * 1e4) / 1e4, summary.at("delta").get<double>());
  if (summary.at("noise_source") == "reproducible")
    text += "                  against anyone who does not know the seed (noise.source = \"reproducible\")\n";
  return text;
}

}  // namespace

std::string text_of_summary(const nlohmann::ordered_json& summary, bool averaged,
                            const std::string& stopped_by) {
  const auto number = [&](const char* key) { return summary.at(key).get<double>(); };
  const auto whole = [&](const char* key) { return thousands(summary.at(key).get<int64_t>()); };
  const std::string folder = shown(summary.at("run_folder").get<std::string>());
  std::string text =
      summary.at("steps_done") == summary.at("steps")
          ? fmt::format("trained for {} steps\n", whole("steps"))
          : fmt::format("stopped after {} of {} steps{}; go on with --resume --out {}\n", whole("steps_done"),
                        whole("steps"), stopped_by.empty() ? "" : " (" + stopped_by + ")", folder);
  const char* scored = summary.at("test_set") == "validation" ? "validation" : "test accuracy";
  const double raw = 100 * number("test_accuracy");
  text += averaged ? fmt::format("  {:<14}  {:.2f} % (averaged weights), {:.2f} % (raw weights)\n", scored,
                                 100 * number("test_accuracy_ema"), raw)
                   : fmt::format("  {:<14}  {:.2f} %\n", scored, raw);
  text += privacy_of(summary);
  text += fmt::format("  time            {}, {} views/s\n", duration_text(number("seconds")),
                      thousands(static_cast<int64_t>(number("views_per_second"))));
  text += fmt::format("  memory          {} at most\n", bytes_text(number("peak_memory_bytes")));
  return text + fmt::format("  run folder      {}\n", folder);
}

}  // namespace pergrad::apps
