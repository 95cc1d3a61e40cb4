// idx files: reading and checking.
#include "apps/data_idx.h"

#include "apps/atomic_file.h"
#include "core/error.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iomanip>
#include <memory>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803, kLabelsMagic = 0x00000801;
constexpr size_t kBlock = size_t{1} << 18;

// The bytes of a file, unpacked if it is gzip. zlib's gzread would do but for two things that we refuse: it
// hands out a damaged head as if it were plain, and it ignores what follows the last member.
class UnpackedFile {
 public:
  explicit UnpackedFile(const fs::path& path)
      : path_(path), file_(std::fopen(path.c_str(), "rb"), std::fclose) {
    PG_CHECK(file_, file_error("open", path, errno));
    struct stat status {};
    PG_CHECK(::fstat(::fileno(file_.get()), &status) == 0, file_error("read", path, errno));
    PG_CHECK(S_ISREG(status.st_mode), shown(path), ": is not a regular file");
    refill();
    packed_ = available_ >= 2 && block_[0] == 0x1F && block_[1] == 0x8B;
    if (packed_ && inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~UnpackedFile() {
    if (packed_) inflateEnd(&stream_);
  }
  UnpackedFile(const UnpackedFile&) = delete;
  UnpackedFile& operator=(const UnpackedFile&) = delete;

  // Up to `size` bytes; fewer only at the end of the file, which then was a sound one.
  size_t read(uint8_t* out, size_t size) {
    size_t done = 0;
    while (done < size) {
      const size_t got = packed_ ? unpack(out + done, size - done) : copy(out + done, size - done);
      if (got == 0) break;
      done += got;
    }
    return done;
  }

  const fs::path& path() const { return path_; }

 private:
  void refill() {
    next_ = block_.data();
    available_ = std::fread(block_.data(), 1, block_.size(), file_.get());
    PG_CHECK(available_ > 0 || !std::ferror(file_.get()), file_error("read", path_, errno));
  }

  size_t copy(uint8_t* out, size_t size) {
    if (available_ == 0) refill();
    const size_t count = std::min(size, available_);
    std::copy_n(next_, count, out);
    next_ += count;
    available_ -= count;
    return count;
  }

  // Some bytes, at least one; 0 at the end of the last member.
  size_t unpack(uint8_t* out, size_t size) {
    const size_t wanted = std::min(size, kBlock);
    stream_.next_out = out;
    stream_.avail_out = static_cast<uInt>(wanted);
    while (stream_.avail_out == wanted) {
      if (available_ == 0) refill();
      if (available_ == 0 && between_members_) return 0;
      PG_CHECK_AS(FormatError, available_ > 0, shown(path_), ": gzip stream is truncated");
      between_members_ = false;
      stream_.next_in = next_;
      stream_.avail_in = static_cast<uInt>(available_);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      next_ = stream_.next_in;
      available_ = stream_.avail_in;
      if (result == Z_MEM_ERROR) throw std::bad_alloc();
      PG_CHECK_AS(FormatError, result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR,
                  shown(path_), ": damaged gzip stream: ", stream_.msg ? stream_.msg : "needs a dictionary");
      if (result == Z_STREAM_END) {  // CRC and length were right; another member may follow
        between_members_ = true;
        inflateReset(&stream_);
      }
    }
    return wanted - stream_.avail_out;
  }

  const fs::path& path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::vector<uint8_t> block_ = std::vector<uint8_t>(kBlock);
  uint8_t* next_ = nullptr;
  size_t available_ = 0;
  bool packed_ = false;
  bool between_members_ = false;
  z_stream stream_{};
};

std::string hex(uint32_t value) {
  std::ostringstream out;
  out << "0x" << std::hex << std::setw(8) << std::setfill('0') << value;
  return out.str();
}

// One number of the head. REQUIRES: the magic was read first.
uint32_t read_number(UnpackedFile& file, const char* what) {
  uint8_t bytes[4] = {};
  const size_t got = file.read(bytes, 4);
  PG_CHECK_AS(FormatError, got == 4, shown(file.path()), ": truncated in its head: no ", what);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

void check_magic(UnpackedFile& file, uint32_t wanted) {
  const uint32_t magic = read_number(file, "magic number");
  PG_CHECK_AS(FormatError, magic == wanted, shown(file.path()), ": magic number is ", hex(magic), ", wanted ",
              hex(wanted), wanted == kImagesMagic ? " (idx3 images of bytes)" : " (idx1 labels of bytes)");
}

int64_t read_size(UnpackedFile& file, const char* what, int64_t largest) {
  const int64_t size = read_number(file, what);
  PG_CHECK_AS(FormatError, size >= 1 && size <= largest, shown(file.path()), ": ", what, " is ", size,
              ", wanted 1 to ", largest);
  return size;
}

// Exactly `count` items of `item` bytes and then the end. Memory grows with what is really there, so that a
// head that lies cannot ask for more than the file holds.
std::vector<uint8_t> read_items(UnpackedFile& file, int64_t count, int64_t item, const Progress& progress) {
  const size_t total = static_cast<size_t>(count) * static_cast<size_t>(item);
  ProgressMeter meter(progress, "reading " + shown(file.path()), count);
  std::vector<uint8_t> bytes;
  size_t done = 0;
  while (done < total) {
    const size_t step = std::min(total - done, size_t{1} << 24);
    bytes.resize(done + step);
    const size_t got = file.read(bytes.data() + done, step);
    done += got;
    PG_CHECK_AS(FormatError, got == step, shown(file.path()), ": truncated: ", done,
                " bytes after the head, wanted ", total);
    meter.update(static_cast<int64_t>(done) / item);
  }
  uint8_t extra = 0;
  PG_CHECK_AS(FormatError, file.read(&extra, 1) == 0, shown(file.path()),
              ": bytes behind its end: wanted just ", total, " after the head");
  return bytes;
}

fs::path find_file(const fs::path& folder, std::span<const std::string> prefixes, const std::string& rest) {
  for (const std::string& prefix : prefixes)
    for (const char* ending : {"", ".gz"})
      if (fs::path file = folder / (prefix + rest + ending); path_exists(file)) return file;
  std::string names;
  for (const std::string& prefix : prefixes)
    names += concat(names.empty() ? "" : " or ", prefix, rest, "[.gz]");
  throw FormatError(concat(shown(folder), ": no ", names, " in it"));
}

}  // namespace

Dataset read_idx(const fs::path& images, const fs::path& labels, int64_t label_count,
                 const Progress& progress) {
  PG_CHECK(label_count >= 1 && label_count <= 256, "idx: label_count: got ", label_count,
           ", wanted 1 to 256");
  Dataset data;
  data.channels = 1;
  data.label_count = label_count;

  UnpackedFile image_file(images);
  check_magic(image_file, kImagesMagic);
  const int64_t count = read_size(image_file, "number of images", kMaxIdxImages);
  data.height = read_size(image_file, "height", kMaxIdxSide);
  data.width = read_size(image_file, "width", kMaxIdxSide);

  UnpackedFile label_file(labels);
  check_magic(label_file, kLabelsMagic);
  const int64_t labelled = read_size(label_file, "number of labels", kMaxIdxImages);
  PG_CHECK_AS(FormatError, labelled == count, shown(labels), ": has ", labelled, " labels, but ",
              shown(images), " has ", count, " images");

  const std::vector<uint8_t> bytes = read_items(label_file, count, 1, {});
  for (int64_t i = 0; i < count; ++i)
    PG_CHECK_AS(FormatError, bytes[i] < label_count, shown(labels), ": label ", i, " (counted from 0) is ",
                int{bytes[i]}, ", wanted 0 to ", label_count - 1);
  data.labels.assign(bytes.begin(), bytes.end());
  data.pixels = read_items(image_file, count, data.image_size(), progress);
  return data;
}

Dataset read_idx_folder(const fs::path& folder, std::span<const std::string> prefixes, int64_t label_count,
                        const Progress& progress) {
  PG_CHECK_AS(FormatError, is_folder(folder), shown(folder), ": is not a folder, wanted one of idx files");
  const fs::path images = find_file(folder, prefixes, "-images-idx3-ubyte");
  const fs::path labels = find_file(folder, prefixes, "-labels-idx1-ubyte");
  return read_idx(images, labels, label_count, progress);
}

}  // namespace pergrad::apps
