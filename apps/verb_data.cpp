// What `pergrad data` prints and writes.
#include "apps/verb_data.h"

#include "apps/atomic_file.h"
#include "apps/data_cifar.h"
#include "apps/data_image.h"
#include "core/error.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <unordered_set>

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace pergrad::apps {
namespace {

constexpr std::string_view kNote =
    "nonprivate_* is computed from the data without noise: of private data it must not be put into a config "
    "or "
    "a report";

// On a command line a path means first of all what it means to every other program.
DataSpec from_here(DataSpec spec) {
  const fs::path path(spec.path);
  if (!spec.path.empty() && path.is_relative() && path_exists(path)) spec.path = fs::absolute(path).native();
  return spec;
}

// ---- inspect ----

std::string_view image_key(const Dataset& data, int64_t i) {
  const std::span<const uint8_t> image = data.image(i);
  return {reinterpret_cast<const char*>(image.data()), image.size()};
}

using ImageSet = std::unordered_set<std::string_view>;

ImageSet distinct_images(const Dataset& data) {
  ImageSet images;
  images.reserve(static_cast<size_t>(data.size()));
  for (int64_t i = 0; i < data.size(); ++i) images.insert(image_key(data, i));
  return images;
}

std::vector<int64_t> label_counts(const Dataset& data) {
  std::vector<int64_t> counts(static_cast<size_t>(data.label_count));
  for (int32_t label : data.labels) ++counts[label];
  return counts;
}

// Mean and standard deviation of pixels / 255, a channel each. The sums are whole numbers, hence exact.
void channel_statistics(const Dataset& data, std::vector<double>* means, std::vector<double>* deviations) {
  const auto pixels = static_cast<double>(data.size() * data.height * data.width);
  for (int64_t c = 0; c < data.channels; ++c) {
    uint64_t sum = 0, squares = 0;
    for (size_t i = static_cast<size_t>(c); i < data.pixels.size(); i += static_cast<size_t>(data.channels)) {
      const uint64_t value = data.pixels[i];
      sum += value;
      squares += value * value;
    }
    const double mean = static_cast<double>(sum) / pixels;
    const double variance = std::max(0.0, static_cast<double>(squares) / pixels - mean * mean);
    means->push_back(mean / 255.0);
    deviations->push_back(std::sqrt(variance) / 255.0);
  }
}

std::string list(const std::vector<double>& values) {
  std::string text;
  for (double value : values) text += fmt::format("{}{:.4f}", text.empty() ? "" : ", ", value);
  return '[' + text + ']';
}

// ---- convert ----

// A folder that is made under a hidden name beside its target and removed unless moved there.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& target)
      : target_(target),
        path_(target.parent_path() / concat('.', target.filename().native(), ".tmp-", ::getpid())) {
    make(path_);
  }
  ~NewFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const fs::path& path() const { return path_; }

  static void make(const fs::path& folder) {
    std::error_code error;
    const bool made = fs::create_directory(folder, error);
    PG_CHECK(!error, file_error("make", folder, error.value()));
    PG_CHECK(made, file_error("make", folder, EEXIST));
  }

  // Makes everything durable and puts it in place; what was there (if `replace`) is removed afterwards.
  void move_to_target(bool replace) {
    const int fd = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    PG_CHECK(fd >= 0, file_error("open", path_, errno));
    const int error = ::syncfs(fd) == 0 ? 0 : errno;
    ::close(fd);
    PG_CHECK(error == 0, file_error("write", target_, error));
    // Swapped in one step: the destructor then removes the old one under the hidden name.
    const unsigned how = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    PG_CHECK(::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), how) == 0,
             file_error("make", target_, errno));
    sync_folder(target_.parent_path());
  }

 private:
  fs::path target_, path_;
};

// Whether a folder holds nothing but what data_convert writes, so that replacing it loses nothing else.
bool holds_only_a_dataset(const fs::path& folder) {
  std::vector<std::string> known = {"train", "test"};
  for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100Fine}) {
    const auto train = cifar_train_files(kind), test = cifar_test_files(kind);
    known.insert(known.end(), train.begin(), train.end());
    known.insert(known.end(), test.begin(), test.end());
    known.push_back(cifar_names_file(kind));
  }
  std::error_code error;
  for (fs::directory_iterator it(folder, error); !error && it != fs::directory_iterator();
       it.increment(error))
    if (std::find(known.begin(), known.end(), it->path().filename().native()) == known.end()) return false;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::path ending = it->path().extension();
    const bool ours = ending == ".png" || ending == ".bin" || ending == ".txt";
    const fs::file_type type = it->symlink_status(error).type();
    if (type != fs::file_type::directory && !(type == fs::file_type::regular && ours)) return false;
  }
  PG_CHECK(!error, file_error("read", folder, error.value()));
  return true;
}

// Label names that can be names of folders and lines of a file; numbers of equal length if there are none.
std::vector<std::string> target_names(const Dataset& data) {
  std::vector<std::string> names = data.label_names;
  const size_t digits = std::to_string(data.label_count - 1).size();
  if (names.empty())
    for (int64_t i = 0; i < data.label_count; ++i) names.push_back(fmt::format("{:0{}}", i, digits));
  for (const std::string& name : names)
    PG_CHECK(!name.empty() && name.size() <= 200 && name[0] != '.' && name.back() != ' ' &&
                 name.find('/') == std::string::npos && printable(name) == name,
             "data convert: label name \"", printable(name), "\" can be no folder or line of a file");
  return names;
}

struct Written {
  int64_t files = 0, bytes = 0;
  void file(const fs::path& path, std::string_view content) {
    write_new_file(path, content);
    ++files;
    bytes += static_cast<int64_t>(content.size());
  }
};

void write_cifar(const Split& split, CifarKind kind, const fs::path& folder, Written* written) {
  const auto write_split = [&](const Dataset& data, const std::vector<std::string>& files) {
    const auto parts = static_cast<int64_t>(files.size());
    PG_CHECK(data.size() >= parts, "data convert: ", data.name, " has ", data.size(),
             " images, wanted at least ", parts, " (one a file)");
    for (int64_t i = 0; i < parts; ++i)
      written->file(folder / files[i],
                    encode_cifar(data, kind, data.size() * i / parts, data.size() * (i + 1) / parts));
  };
  write_split(split.train, cifar_train_files(kind));
  write_split(split.test, cifar_test_files(kind));
  // Without the file a reader takes all labels of the format.
  if (split.train.label_names.empty() && split.train.label_count == cifar_label_count(kind)) return;
  std::string lines;
  for (const std::string& name : target_names(split.train)) lines += name + '\n';
  written->file(folder / cifar_names_file(kind), lines);
}

void write_images(const Dataset& data, const fs::path& folder, Written* written, const Progress& progress) {
  const std::vector<std::string> names = target_names(data);
  const std::vector<int64_t> counts = label_counts(data);
  NewFolder::make(folder);
  for (int64_t label = 0; label < data.label_count; ++label) {
    PG_CHECK(counts[label] > 0, "data convert: label ", names[label], " has no image in ", data.name,
             ", a folder of images needs one of each");
    NewFolder::make(folder / names[label]);
  }
  ProgressMeter meter(progress, "writing " + data.name, data.size());
  std::vector<int64_t> next(counts.size());
  for (int64_t i = 0; i < data.size(); ++i) {
    const int32_t label = data.labels[i];
    const std::span<const uint8_t> pixels = data.image(i);
    const Image image{data.height, data.width, data.channels, {pixels.begin(), pixels.end()}};
    const size_t digits = std::max<size_t>(5, std::to_string(counts[label] - 1).size());
    const std::string name = fmt::format("{:0{}}.png", next[label]++, digits);
    written->file(folder / names[label] / name, encode_png(image));
    meter.update(i + 1);
  }
}

}  // namespace

DataReport data_inspect(const DataInspectOptions& options, const Progress& progress) {
  const DataSpec spec = from_here(options.spec);
  std::vector<Dataset> sets;
  if (options.pool) {
    sets.push_back(load_pool(spec, "data inspect", options.data_root, progress).images);
  } else {
    Split split = load_dataset(spec, options.data_root, progress);
    sets.push_back(std::move(split.train));
    sets.push_back(std::move(split.test));
  }
  const Dataset& first = sets.front();
  const std::string path = shown(find_data(spec.path, options.data_root));

  DataReport report;
  ordered_json& json = report.json;
  json["format"] = spec.format;
  json["path"] = path;
  report.text = fmt::format("{} ({})\n  images  {} x {} x {}, {} labels\n", path, spec.format, first.height,
                            first.width, first.channels, first.label_count);

  std::vector<ImageSet> distinct;
  std::vector<std::vector<int64_t>> counts;
  json["splits"] = ordered_json::array();
  for (size_t s = 0; s < sets.size(); ++s) {
    const std::string split = options.pool ? "pool" : s == 0 ? "train" : "test";
    distinct.push_back(distinct_images(sets[s]));
    counts.push_back(label_counts(sets[s]));
    const int64_t duplicates = sets[s].size() - static_cast<int64_t>(distinct[s].size());
    json["splits"].push_back({{"name", sets[s].name},
                              {"split", split},
                              {"examples", sets[s].size()},
                              {"fingerprint", sets[s].fingerprint},
                              {"nonprivate_label_counts", counts[s]},
                              {"nonprivate_duplicates", duplicates}});
    report.text += fmt::format("  {:<6}  {} examples, {} of them equal to an earlier one, fingerprint {}\n",
                               split, sets[s].size(), duplicates, sets[s].fingerprint);
  }
  json["height"] = first.height;
  json["width"] = first.width;
  json["channels"] = first.channels;
  json["label_count"] = first.label_count;
  json["label_names"] = ordered_json::array();
  for (const std::string& name : first.label_names) json["label_names"].push_back(printable(name));

  std::vector<double> means, deviations;
  channel_statistics(first, &means, &deviations);
  json["nonprivate_mean"] = means;
  json["nonprivate_std"] = deviations;
  if (!options.pool) {
    int64_t shared = 0;
    for (int64_t i = 0; i < sets[1].size(); ++i) shared += distinct[0].contains(image_key(sets[1], i));
    json["nonprivate_shared"] = shared;
    report.text += fmt::format("  shared  {} test images are in train, too\n", shared);
  }
  json["nonprivate_note"] = kNote;

  report.text += "  label counts\n";
  for (int64_t label = 0; label < first.label_count; ++label) {
    report.text += fmt::format("    {:>4}", label);
    for (const auto& count : counts) report.text += fmt::format("  {:>8}", count[label]);
    if (!first.label_names.empty()) report.text += "  " + printable(first.label_names[label]);
    report.text += '\n';
  }
  report.text +=
      fmt::format("  nonprivate_mean {}, nonprivate_std {}\n  {}\n", list(means), list(deviations), kNote);
  return report;
}

DataReport data_convert(const DataConvertOptions& options, const Progress& progress) {
  const std::string& format = options.to_format;
  PG_CHECK(format == "cifar10" || format == "cifar100" || format == "image_folder",
           "data convert: format: got \"", printable(format),
           "\", wanted \"cifar10\", \"cifar100\" or \"image_folder\"");
  PG_CHECK(!options.to_path.empty(), "data convert: target: is empty, wanted the folder to make");
  fs::path target = fs::absolute(options.to_path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  std::error_code ignored;
  const bool exists = fs::symlink_status(target, ignored).type() != fs::file_type::not_found;
  PG_CHECK(!exists || options.overwrite, "data convert: ", shown(target), " exists and is not overwritten");
  PG_CHECK(!exists || (is_folder(target) && !fs::is_symlink(target, ignored) && holds_only_a_dataset(target)),
           "data convert: ", shown(target), " is not just a converted dataset and is not overwritten");
  // Said before minutes of decoding, not after them.
  const fs::path around = target.parent_path();
  PG_CHECK(is_folder(around), file_error("make", target, path_exists(around) ? ENOTDIR : ENOENT));

  const DataSpec spec = from_here(options.from);
  const Split split = load_dataset(spec, options.data_root, progress);
  NewFolder folder(target);
  Written written;
  bool renumbered = false;
  if (format == "image_folder") {
    const std::vector<std::string> names = target_names(split.train);
    renumbered = !std::is_sorted(names.begin(), names.end());
    write_images(split.train, folder.path() / "train", &written, progress);
    write_images(split.test, folder.path() / "test", &written, progress);
  } else {
    write_cifar(split, format == "cifar10" ? CifarKind::kCifar10 : CifarKind::kCifar100Fine, folder.path(),
                &written);
  }
  folder.move_to_target(exists);

  DataReport report;
  const std::string from = shown(find_data(spec.path, options.data_root));
  report.json = {{"from", {{"format", spec.format}, {"path", from}}},
                 {"to", {{"format", format}, {"path", shown(target)}}},
                 {"train_examples", split.train.size()},
                 {"test_examples", split.test.size()},
                 {"train_fingerprint", split.train.fingerprint},
                 {"test_fingerprint", split.test.fingerprint},
                 {"labels_renumbered", renumbered},
                 {"files", written.files},
                 {"bytes", written.bytes}};
  report.text = fmt::format("{} ({}) -> {} ({})\n  {} training and {} test images, {} files, {} bytes\n",
                            from, spec.format, shown(target), format, split.train.size(), split.test.size(),
                            written.files, written.bytes);
  if (renumbered)
    report.text += "  label names were not in order: a reader of the folder numbers them anew\n";
  return report;
}

}  // namespace pergrad::apps
