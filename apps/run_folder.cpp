// Lock, key, metrics and summary of a run's folder.
#include "apps/run_folder.h"

#include "apps/atomic_file.h"
#include "core/error.h"
#include "core/hash.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

constexpr const char* kLock = "lock";
constexpr const char* kConfig = "config.toml";
constexpr const char* kKey = "run.key";
constexpr const char* kRun = "run.json";
constexpr const char* kMetrics = "metrics.jsonl";

// Anything but the lock, which a run that never began may have left.
bool has_nothing(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().filename() != kLock) return false;
  PG_CHECK(!error, file_error("read", folder, error.value()));
  return true;
}

// Holds the folder's lock; the descriptor is the lock.
int take_lock(const fs::path& folder) {
  const fs::path path = folder / kLock;
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  PG_CHECK(lock >= 0, file_error("open", path, errno));
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char owner[32] = {};
    const ssize_t got = ::pread(lock, owner, sizeof owner - 1, 0);
    ::close(lock);
    PG_CHECK(error == EWOULDBLOCK, file_error("lock", path, error));
    std::string process(owner, got > 0 ? static_cast<size_t>(got) : 0);
    process.resize(std::min(process.find_first_not_of("0123456789"), process.size()));
    throw Error(
        concat(shown(folder), ": is in use by process ", process.empty() ? std::string("?") : process));
  }
  // Only a message depends on what is written here: the descriptor is the lock, also on a full disk, where
  // the file that is written next says so.
  const std::string text = concat(::getpid(), '\n');
  if (::ftruncate(lock, 0) != 0 || ::pwrite(lock, text.data(), text.size(), 0) < 0) errno = 0;
  return lock;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// A new file that only its owner can read, whole and durable before it has its name.
void write_secret(const fs::path& path, std::string_view text) {
  const fs::path temporary = path.parent_path() / concat('.', path.filename().native(), ".tmp");
  ::unlink(temporary.c_str());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  PG_CHECK(file >= 0, file_error("write", path, errno));
  const bool written = ::fchmod(file, 0600) == 0 && write_all(file, text) && ::fsync(file) == 0;
  int error = written ? 0 : errno;
  if (::close(file) != 0 && !error) error = errno;
  if (!error && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error) ::unlink(temporary.c_str());
  PG_CHECK(!error, file_error("write", path, error));
  sync_folder(path.parent_path());
}

// 32 bytes from 64 hexadecimal digits.
Key read_key(const fs::path& path) {
  struct stat status {};
  PG_CHECK(::stat(path.c_str(), &status) == 0, file_error("open", path, errno));
  PG_CHECK_AS(PrivacyError, (status.st_mode & 077) == 0, shown(path),
              ": can be read by others, who could subtract the noise; chmod 600, or start a new run");
  std::string text = read_file(path);
  if (text.ends_with('\n')) text.pop_back();
  PG_CHECK_AS(FormatError,
              text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos,
              shown(path), ": damaged, wanted 64 hexadecimal digits");
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Key key;
  for (size_t i = 0; i < key.bytes.size(); ++i)
    key.bytes[i] = static_cast<uint8_t>(16 * digit(text[2 * i]) + digit(text[2 * i + 1]));
  return key;
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

void require_run(const fs::path& path) {
  PG_CHECK(is_folder(path), shown(path), ": wanted a run's folder");
  PG_CHECK(path_exists(path / kConfig), shown(path), ": holds no run (no ", kConfig, " in it)");
}

}  // namespace

RunFolder::RunFolder(fs::path path, Config config, int lock)
    : path_(std::move(path)), config_(std::move(config)), lock_(lock) {}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)),
      config_(std::move(other.config_)),
      made_here_(std::exchange(other.made_here_, false)),
      lock_(std::exchange(other.lock_, -1)),
      metrics_(std::exchange(other.metrics_, -1)),
      dataset_tag_(std::move(other.dataset_tag_)) {}

RunFolder::~RunFolder() {
  if (metrics_ >= 0) ::close(metrics_);
  if (made_here_) {
    std::error_code ignored;
    for (const fs::path& file : {path_ / kConfig, path_ / kRun, path_ / kKey, ledger(), path_ / kLock})
      fs::remove(file, ignored);
    fs::remove(path_, ignored);  // only if nothing else is in it
  }
  if (lock_ >= 0) ::close(lock_);  // gives the lock back
}

RunFolder RunFolder::create(const fs::path& path, const Config& config) {
  PG_CHECK(!path.empty(), "--out: got nothing, wanted a folder");
  PG_CHECK(!path_exists(path) || is_folder(path), shown(path), ": is a file, wanted a folder for the run");
  std::error_code error;
  fs::create_directories(path, error);
  PG_CHECK(!error, file_error("create", path, error.value()));
  const auto require_nothing = [&] {
    PG_CHECK(has_nothing(path), shown(path),
             ": is not empty; --resume goes on with a run, --out names a new folder");
  };
  require_nothing();
  RunFolder folder(path, config, take_lock(path));
  require_nothing();  // another process may have been quicker
  folder.made_here_ = true;
  write_file_atomically(path / kConfig, resolved_toml(config));
  return folder;
}

RunFolder RunFolder::resume(const fs::path& path, const Config& config) {
  require_run(path);
  RunFolder folder(path, config, take_lock(path));
  const Config before = read_run_config(path);
  if (const auto difference = first_difference(config, before))
    throw Error(concat(shown(path), ": cannot go on with another config: ", *difference));
  if (!(config == before)) write_file_atomically(path / kConfig, resolved_toml(config));
  return folder;
}

Key RunFolder::run_key(const std::string& fingerprint) {
  const fs::path key_path = path_ / kKey, run_path = path_ / kRun;
  const bool secure = config_.noise_source == "secure";
  // A run that has begun has run.json, and a ledger once something was released.
  const bool begun = path_exists(run_path) || path_exists(ledger());
  Key key;
  if (!secure) {
    key = key_from_text(concat("pergrad run key\nseed=", config_.train.seed,
                               "\nconfig=", config_hash(config_), "\ndata=", fingerprint, '\n'));
  } else if (path_exists(key_path)) {
    key = read_key(key_path);
  } else {
    PG_CHECK_AS(PrivacyError, !begun, shown(key_path),
                ": missing, so the run cannot go on; start a new one with --out");
    key = key_from_entropy();
    write_secret(key_path, to_hex(key.bytes) + '\n');
  }

  const Key tag_key = derive_key(key, "dataset tag");
  const std::span<const uint8_t> text(reinterpret_cast<const uint8_t*>(fingerprint.data()),
                                      fingerprint.size());
  dataset_tag_ = to_hex(hmac_sha256(tag_key.bytes, text));
  if (!path_exists(run_path)) {
    write_file_atomically(
        run_path, json_text({{"config_hash", config_hash(config_)}, {"dataset_tag", dataset_tag_}}, 2));
    return key;
  }
  const auto run = nlohmann::json::parse(read_file(run_path), nullptr, false);
  PG_CHECK_AS(FormatError, run.is_object() && run.contains("dataset_tag") && run["dataset_tag"].is_string(),
              shown(run_path), ": damaged, wanted a JSON object with a dataset_tag");
  PG_CHECK(
      run["dataset_tag"] == dataset_tag_, shown(path_),
      ": cannot go on with other data: these training examples are not those that the run was started with");
  return key;
}

void RunFolder::append_metrics(const nlohmann::ordered_json& line) {
  const fs::path path = path_ / kMetrics;
  PG_CHECK(line.is_object() && line.contains("step") && line["step"].is_number_integer(),
           "metrics: a line without a step");
  if (metrics_ < 0) {
    metrics_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    PG_CHECK(metrics_ >= 0, file_error("open", path, errno));
  }
  const off_t size = ::lseek(metrics_, 0, SEEK_END);
  if (write_all(metrics_, json_text(line, -1))) return;
  const int error = errno;
  // Half a line is taken back; what cannot be taken back is dropped on resuming.
  if (size >= 0 && ::ftruncate(metrics_, size) != 0) errno = error;
  throw Error(file_error("write", path, error));
}

void RunFolder::sync_metrics() {
  if (metrics_ < 0) return;
  // EINVAL: not a file that can be synced.
  PG_CHECK(::fsync(metrics_) == 0 || errno == EINVAL, file_error("sync", path_ / kMetrics, errno));
}

void RunFolder::rewind_metrics(int64_t step) {
  const fs::path path = path_ / kMetrics;
  if (metrics_ >= 0) ::close(std::exchange(metrics_, -1));
  if (!path_exists(path)) return;
  const std::string text = read_file(path);
  std::string kept;
  int64_t number = 0, damaged = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = newline == std::string::npos ? text.size() : newline + 1;
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end;
    ++number;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const bool whole = newline != std::string::npos && json.is_object() && json.contains("step") &&
                       json["step"].is_number_integer();
    if (!whole && !damaged) damaged = number;
    if (!whole || json["step"].get<int64_t>() >= step) continue;
    // Damage can come only behind what was synced with a checkpoint.
    PG_CHECK_AS(FormatError, !damaged, shown(path), ": line ", damaged, " is damaged");
    kept += line;
  }
  if (kept != text) write_file_atomically(path, kept);
}

void RunFolder::write_summary(const nlohmann::ordered_json& summary) {
  write_file_atomically(path_ / "summary.json", json_text(summary, 2));
}

Config read_run_config(const fs::path& run_folder) {
  require_run(run_folder);
  return load_config(run_folder / kConfig);
}

fs::path default_run_folder(const fs::path& config_file, uint64_t seed) {
  const std::string stem = config_file.stem().native();
  const std::string name = concat(stem.empty() ? "run" : stem, '-', seed);
  fs::path folder = fs::path("runs") / name;
  for (int64_t n = 2; path_exists(folder); ++n) folder = fs::path("runs") / concat(name, '-', n);
  return folder;
}

}  // namespace pergrad::apps
