// Writing whole files or none, reading them, and what went wrong in words.
#include "apps/atomic_file.h"

#include "core/error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

// A descriptor that closes itself; close() says whether that worked (a full disk may be noticed only then).
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0;
  }

 private:
  int fd_;
};

// Removes a file unless told that it is wanted.
class Removal {
 public:
  explicit Removal(const fs::path& path) : path_(path) {}
  ~Removal() {
    if (armed_) ::unlink(path_.c_str());
  }
  Removal(const Removal&) = delete;
  Removal& operator=(const Removal&) = delete;
  void cancel() { armed_ = false; }

 private:
  const fs::path& path_;
  bool armed_ = true;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// Length of the UTF-8 character at the start of `text`, 0 if there is none (RFC 3629, section 4).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0, surrogate = lead == 0xED && byte(1) > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && byte(1) < 0x90, too_high = lead == 0xF4 && byte(1) > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !too_high ? 4 : 0;
  }
  return 0;
}

// The file itself, where `path` is a symbolic link to one.
fs::path follow_link(const fs::path& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  fs::path target = fs::canonical(path, error);
  PG_CHECK(!error, file_error("follow", path, error.value()));
  return target;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

std::string printable(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    size_t length = utf8_length(text);
    if (byte < 0x20 || byte == 0x7F) length = 0;
    // U+0080..U+009F are control characters, too; U+2028 and U+2029 end a line.
    if (length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0) length = 0;
    if (length == 3 && (text.substr(0, 3) == "\xE2\x80\xA8" || text.substr(0, 3) == "\xE2\x80\xA9"))
      length = 0;
    if (length == 0) {
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
      length = 1;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string file_error(std::string_view what, const fs::path& path, int error) {
  return concat("cannot ", what, ' ', shown(path), ": ", std::strerror(error));
}

bool path_exists(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  PG_CHECK(errno == ENOENT || errno == ENOTDIR, file_error("open", path, errno));
  return false;
}

bool is_folder(const fs::path& path) {
  struct stat status {};
  return path_exists(path) && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::string read_file(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  PG_CHECK(file.get() >= 0, file_error("open", path, errno));
  struct stat status {};
  PG_CHECK(::fstat(file.get(), &status) == 0, file_error("read", path, errno));
  PG_CHECK(!S_ISDIR(status.st_mode), file_error("read", path, EISDIR));
  PG_CHECK(!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode), shown(path),
           ": is a device, which may have no end; wanted a file");
  std::string bytes;
  size_t size = 0;  // read so far; the buffer doubles beyond the size that the file is said to have
  bytes.resize(S_ISREG(status.st_mode) ? static_cast<size_t>(status.st_size) + 1 : 65536);
  while (true) {
    const ssize_t got = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    PG_CHECK(got >= 0, file_error("read", path, errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size == bytes.size()) bytes.resize(2 * size);
  }
  bytes.resize(size);
  return bytes;
}

void sync_folder(const fs::path& folder) {
  Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  PG_CHECK(directory.get() >= 0, file_error("open", folder, errno));
  // EINVAL: a file system that cannot sync folders has nothing to sync.
  PG_CHECK(::fsync(directory.get()) == 0 || errno == EINVAL, file_error("sync", folder, errno));
}

void write_file_atomically(const fs::path& wanted, std::string_view bytes) {
  static std::atomic<int64_t> counter{0};
  const fs::path path = follow_link(wanted);
  struct stat old {};
  const bool replaces = ::stat(path.c_str(), &old) == 0;
  PG_CHECK(!replaces || S_ISREG(old.st_mode), "cannot write ", shown(path), ": it is not a regular file");
  const fs::path temporary =
      folder_of(path) / concat('.', path.filename().native(), ".tmp-", ::getpid(), '-', counter++);
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  PG_CHECK(file.get() >= 0, file_error("write", path, errno));
  Removal removal(temporary);
  PG_CHECK(!replaces || ::fchmod(file.get(), old.st_mode & 07777) == 0, file_error("write", path, errno));
  PG_CHECK(write_all(file.get(), bytes), file_error("write", path, errno));
  PG_CHECK(::fsync(file.get()) == 0, file_error("write", path, errno));
  PG_CHECK(file.close(), file_error("write", path, errno));
  PG_CHECK(::rename(temporary.c_str(), path.c_str()) == 0, file_error("write", path, errno));
  removal.cancel();
  sync_folder(folder_of(path));
}

void write_file_atomically(const fs::path& path, std::span<const uint8_t> bytes) {
  write_file_atomically(path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void write_new_file(const fs::path& path, std::string_view bytes) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  PG_CHECK(file.get() >= 0, file_error("write", path, errno));
  Removal removal(path);
  PG_CHECK(write_all(file.get(), bytes), file_error("write", path, errno));
  PG_CHECK(file.close(), file_error("write", path, errno));
  removal.cancel();
}

}  // namespace pergrad::apps
