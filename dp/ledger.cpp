// Ledger: the file. Lines are made and read by hand, in one form: {"key":value,..,"prev":"..","hash":".."}
#include "dp/ledger.h"

#include "core/error.h"
#include "core/hash.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

namespace pergrad::dp {

namespace {

constexpr std::string_view kStart = "{\"type\":\"";  // of every line
constexpr std::string_view kSeal = ",\"hash\":\"";   // ends what is hashed; 64 digits and "} follow

const std::string kNoLine(64, '0');  // what the first line names as its predecessor

// The value of "key": in a line of ours, without quotes; empty if there is none.
std::string_view field(std::string_view line, std::string_view key) {
  const std::string name = concat('"', key, "\":");
  const size_t found = line.find(name);
  if (found == std::string_view::npos) return {};
  std::string_view value = line.substr(found + name.size());
  if (value.starts_with('"')) return value.substr(1, value.find('"', 1) - 1);
  return value.substr(0, value.find_first_of(",}"));
}

// A number that a plan allows; a line may verify without: the chain has no secret.
template <class Number>
Number number(std::string_view line, std::string_view key, Number low, Number high) {
  const std::string_view text = field(line, key);
  Number value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  PG_CHECK_AS(PrivacyError,
              !text.empty() && result.ptr == text.data() + text.size() && value >= low && value <= high,
              "ledger: ", key, " of a line is not a number that a plan allows");
  return value;
}

bool verifies(std::string_view line, std::string_view previous) {
  const size_t body = line.size() - (kSeal.size() + 64 + 2);
  return line.size() > kSeal.size() + 66 && line.starts_with(kStart) && line.ends_with("\"}") &&
         line.substr(body, kSeal.size()) == kSeal && field(line.substr(0, body), "prev") == previous &&
         line.substr(body + kSeal.size(), 64) == sha256_hex(line.substr(0, body));
}

std::string_view hash_of(std::string_view line) { return line.substr(line.size() - 66, 64); }

// The lines of `text`, all verified. Left out is only a last piece that is what a crash leaves of a line that
// was being written: it has no end of line, starts like a line and lacks the final "} that only an end has.
std::vector<std::string_view> verified_lines(std::string_view text, const std::string& path) {
  std::vector<std::string_view> lines;
  std::string_view previous = kNoLine;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const bool torn = end == std::string_view::npos && kStart.starts_with(line.substr(0, kStart.size())) &&
                      line.find("\"}") == std::string_view::npos;
    if (torn) break;
    PG_CHECK_AS(PrivacyError, verifies(line, previous), "ledger: ", path, ": line ", lines.size() + 1,
                " does not verify: the file was changed, or its disk is failing");
    previous = hash_of(line);
    lines.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::string read_file(const std::string& path) {
  PG_CHECK(std::filesystem::is_regular_file(path), "ledger: ", path, ": there is no such file");
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  PG_CHECK(in.good() || in.eof(), "ledger: ", path, ": cannot be read");
  return text;
}

}  // namespace

Ledger::Ledger(std::string path, const Plan& plan) : path_(std::move(path)), plan_(plan), head_(kNoLine) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  PG_CHECK(file_ >= 0, "ledger: ", path_, ": cannot be opened: ", std::strerror(errno));
  try {
    PG_CHECK(::flock(file_, LOCK_EX | LOCK_NB) == 0, "ledger: ", path_, ": another process uses it");
    const std::string text = read_file(path_);
    for (std::string_view line : verified_lines(text, path_)) {
      remember(line);
      bytes_ += static_cast<int64_t>(line.size()) + 1;
    }
    const auto size = static_cast<int64_t>(text.size());
    if (bytes_ == size + 1)  // a whole line that lacks only its end
      PG_CHECK(::write(file_, "\n", 1) == 1, "ledger: ", path_,
               ": cannot be written: ", std::strerror(errno));
    else if (bytes_ < size)  // a torn line
      PG_CHECK(::ftruncate(file_, bytes_) == 0, "ledger: ", path_, ": cannot be cut: ", std::strerror(errno));
    std::string plan_text = plan.canonical_text();
    for (size_t i; (i = plan_text.find('\n')) != std::string::npos;) plan_text.replace(i, 1, "\\n");
    if (plan_hash_ != plan.hash())
      write_line(concat(kStart, "plan\",\"plan_hash\":\"", plan.hash(), "\",\"plan\":\"", plan_text, "\""));
    // A new file is safe only when its directory entry is.
    const std::string folder = std::filesystem::absolute(path_).parent_path().string();
    const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = directory >= 0 && ::fsync(directory) == 0 && ::fsync(file_) == 0;
    if (directory >= 0) ::close(directory);
    PG_CHECK(synced, "ledger: ", folder, ": cannot be synced: ", std::strerror(errno));
  } catch (...) {
    ::close(file_);
    throw;
  }
}

Ledger::~Ledger() { ::close(file_); }

void Ledger::remember(std::string_view line) {
  head_ = hash_of(line);
  hashes_.insert(head_);
  if (field(line, "type") == "plan") {
    plan_hash_ = field(line, "plan_hash");
  } else {
    branches_[concat(field(line, "plan_hash"), ' ', field(line, "step"), ' ', field(line, "tag"))] =
        number(line, "branch", 0L, INT64_MAX);
    ++releases_of_step_[number(line, "step", 0L, INT64_MAX)];
  }
}

void Ledger::write_line(std::string body) {
  PG_CHECK(!failed_, "ledger: ", path_, ": an earlier write failed; start again from the file");
  body += concat(",\"prev\":\"", head_, "\"");
  const std::string line = concat(body, kSeal, sha256_hex(body), "\"}");
  const std::string bytes = line + "\n";
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(file_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  if (done < bytes.size() || ::fsync(file_) != 0) {
    const std::string why = std::strerror(errno);
    failed_ = true;
    const bool cut = ::ftruncate(file_, bytes_) == 0;  // what was there before, nothing else
    throw Error(concat("ledger: ", path_, ": cannot be written: ", why, "; nothing was released",
                       cut ? "" : " (its last line is torn and will be cut off when it is next opened)"));
  }
  bytes_ += static_cast<int64_t>(bytes.size());
  remember(line);
}

Ledger::Receipt Ledger::append(int64_t step, int64_t parameters, std::string_view tag,
                               std::string_view sampler) {
  const auto known = branches_.find(concat(plan_.hash(), ' ', step, ' ', tag));
  if (known != branches_.end()) return {std::string(tag), known->second, true};
  const int64_t branch = releases_of_step_.contains(step) ? releases_of_step_.at(step) : 0;
  write_line(concat(kStart, "release\",\"step\":", step, ",\"branch\":", branch, ",\"plan_hash\":\"",
                    plan_.hash(), "\",\"noise_multiplier\":", text_of(plan_->noise_multiplier),
                    ",\"sampling_rate\":", text_of(plan_->sampling_rate), ",\"sampling_threshold\":\"",
                    plan_.threshold_text(), "\",\"units\":\"", plan_->units, "\",\"sensitivity_in_clips\":",
                    plan_.sensitivity_in_clips(), ",\"noise_std_on_grid\":", plan_.noise_std_on_grid(),
                    ",\"parameters\":", parameters, ",\"sampler\":\"", sampler, "\",\"tag\":\"", tag, "\""));
  return {std::string(tag), branch, false};
}

bool Ledger::would_fork(int64_t step, std::string_view tag) const {
  return releases_of_step_.contains(step) && !branches_.contains(concat(plan_.hash(), ' ', step, ' ', tag));
}

std::vector<Phase> read_ledger(const std::string& path) {
  std::vector<Phase> phases;
  const std::string text = read_file(path);
  const auto lines = verified_lines(text, path);
  const bool nameless = std::ranges::any_of(
      lines, [](auto line) { return field(line, "type") != "plan" && field(line, "sampler").empty(); });
  std::map<std::string, Phase> steps;  // draw -> its releases
  for (std::string_view line : lines) {
    if (field(line, "type") == "plan") continue;
    const Phase p{
        number(line, "noise_multiplier", 1e-9, 1e9) / number(line, "sensitivity_in_clips", 1.0, 2.0),
        number(line, "sampling_rate", 0x1p-64, 1.0), 0, number(line, "parameters", 1L, 1L << 32),
        number(line, "noise_std_on_grid", 1L, INT64_MAX)};
    const std::string_view sampler = nameless ? "" : field(line, "sampler");
    const std::string draw = concat(sampler, field(line, "plan_hash"), ' ', field(line, "step"));
    ++steps.try_emplace(draw, p).first->second.releases;
  }
  for (auto& [step, phase] : steps) {
    const int64_t k = std::exchange(phase.releases, 0);
    if (k > 1) phase.noise_multiplier *= (1 - 0x1p-50) / std::sqrt(static_cast<double>(k));
    phase.parameters *= k;
    const auto same = std::ranges::find_if(phases, [&f = phase](Phase p) { return p.releases = 0, p == f; });
    ++(same != phases.end() ? *same : phases.emplace_back(phase)).releases;
  }
  return phases;
}

}  // namespace pergrad::dp
