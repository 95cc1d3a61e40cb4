// Ledgers: as they are, and with every hash made right, which whoever may write the file can do. What
// read_ledger accepts costs something or nothing, and never less than the lines say.
#include "core/hash.h"
#include "dp/accountant.h"
#include "dp/ledger.h"
#include "tests/fuzz/target.h"

#include <cmath>

namespace pergrad::fuzz {
namespace {

constexpr std::string_view kSampler = "a sampler";

dp::Plan plan() {
  dp::PlanSettings s;
  s.sampling_rate = 0.125;
  s.noise_multiplier = 1.7;
  s.clip_norm = 0.5;
  s.steps = 100;
  s.expected_batch = 12.5;
  s.delta = 1e-5;
  s.max_examples = 100;
  return dp::Plan(s);
}

// Every line that looks like one gets the hash of the line before and its own.
std::string with_right_hashes(std::string_view text) {
  std::string out, previous(64, '0');
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    const size_t prev = line.rfind(",\"prev\":\"");
    if (prev != std::string::npos) {
      line.resize(prev);
      line += ",\"prev\":\"" + previous + '"';
      previous = sha256_hex(line);
      line += ",\"hash\":\"" + previous + "\"}";
    }
    out += line;
    if (end == std::string::npos) break;
    out += '\n';
    text.remove_prefix(end + 1);
  }
  return out;
}

void read(const std::string& bytes) {
  const auto path = folder().file("ledger.jsonl", bytes);
  std::vector<dp::Phase> phases;
  const bool verified = accepts([&] { phases = dp::read_ledger(path.string()); });
  for (const dp::Phase& phase : phases) {
    require(phase.releases >= 1, "a phase without steps");
    require(phase.noise_multiplier > 0 && std::isfinite(phase.noise_multiplier), "noise that is none");
    require(phase.sampling_rate > 0 && phase.sampling_rate <= 1, "a sampling rate that is none");
    require(phase.parameters >= 1 && phase.noise_std_on_grid >= 1, "numbers below one");
  }
  int64_t releases = 0;
  const bool opened = accepts([&] {
    dp::Ledger ledger(path.string(), plan());
    ledger.append(7, 50, sha256_hex("fuzz"), kSampler);
    releases = ledger.releases();
  });
  if (!opened) require(folder().text("ledger.jsonl") == bytes, "a refused ledger was changed");
  if (!opened) return;
  require(releases >= 1, "a release that is not counted");
  const bool still = accepts([&] { (void)dp::read_ledger(path.string()); });
  require(still == verified, "what was written does not verify, or makes good what did not");
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> files;
  for (const int64_t forks : {0, 1}) {
    std::filesystem::remove(folder() / "seed.jsonl");
    dp::Ledger ledger((folder() / "seed.jsonl").string(), plan());
    for (int64_t step = 0; step < 3; ++step)
      for (int64_t fork = 0; fork <= forks; ++fork)
        ledger.append(step, 50, sha256_hex(std::to_string(step) + ' ' + std::to_string(fork)),
                      step == 1 && fork == 1 ? "" : kSampler);
    files.push_back(folder().text("seed.jsonl"));
  }
  // Whole lines whose numbers are none: each was read once.
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = files[1];
    text.replace(text.find(from), from.size(), to);
    files.push_back(with_right_hashes(text));
  };
  with("\"noise_multiplier\":1.7", "\"noise_multiplier\":nan");
  with("\"noise_multiplier\":1.7", "\"noise_multiplier\":-1.7");
  with("\"noise_multiplier\":1.7", "\"noise_multiplier\":\xFF");
  with("\"sampling_rate\":0.125", "\"sampling_rate\":inf");
  with("\"sensitivity_in_clips\":1", "\"sensitivity_in_clips\":0");
  with("\"parameters\":50", "\"parameters\":9223372036854775807");
  files.push_back(files[0].substr(0, files[0].size() - 30));
  return files;
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(pergrad::fuzz::text_of(data, size));
  pergrad::fuzz::read(bytes);
  const std::string chained = pergrad::fuzz::with_right_hashes(bytes);
  if (chained != bytes) pergrad::fuzz::read(chained);
  return 0;
}
