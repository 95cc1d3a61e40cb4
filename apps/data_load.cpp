// From a description to a data set: the format is told, the file found, its images shaped.
#include "apps/data_load.h"

#include "apps/atomic_file.h"
#include "apps/data_cifar.h"
#include "apps/data_idx.h"
#include "apps/data_image.h"
#include "apps/data_image_folder.h"
#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

const std::array<std::string, 1> kIdxTrain = {"train"};
const std::array<std::string, 2> kIdxTest = {"t10k", "test"};

void check_spec(const DataSpec& spec) {
  const auto side = [](const char* what, int64_t value) {
    PG_CHECK(value >= 0 && value <= kMaxImageSide, "data.", what, ": got ", value, ", wanted 1 to ",
             kMaxImageSide, ", or 0 for as found");
  };
  side("height", spec.height);
  side("width", spec.width);
  PG_CHECK(spec.channels == 0 || spec.channels == 1 || spec.channels == 3, "data.channels: got ",
           spec.channels, ", wanted 1 or 3, or 0 for as found");
  PG_CHECK(spec.label_count >= 0 && spec.label_count <= INT32_MAX, "data.label_count: got ", spec.label_count,
           ", wanted 1 or more, or 0 for what the format says");
  const bool known = spec.format == "idx" || spec.format == "cifar10" || spec.format == "cifar100" ||
                     spec.format == "image_folder";
  PG_CHECK(known, "data.format: got \"", printable(spec.format),
           "\", wanted \"idx\", \"cifar10\", \"cifar100\" or \"image_folder\"");
  PG_CHECK(!spec.coarse_labels || spec.format == "cifar100",
           "data.coarse_labels: only cifar100 has them, format is ", spec.format);
}

CifarKind cifar_kind(const DataSpec& spec) {
  if (spec.format == "cifar10") return CifarKind::kCifar10;
  return spec.coarse_labels ? CifarKind::kCifar100Coarse : CifarKind::kCifar100Fine;
}

std::vector<fs::path> in_folder(const fs::path& folder, const std::vector<std::string>& names) {
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    files.push_back(folder / name);
    PG_CHECK_AS(FormatError, path_exists(files.back()), shown(folder), ": no ", name, " in it");
  }
  return files;
}

// The name of the dataset: the last part of its path ("a/b/" is "b").
std::string short_name(const fs::path& path) {
  fs::path clean = path.lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  return shown(clean.filename());
}

// Brings images to the shape that is asked for, checks the number of labels, names the set.
void finish(const DataSpec& spec, const std::string& name, Dataset* data) {
  const int64_t height = spec.height ? spec.height : data->height;
  const int64_t width = spec.width ? spec.width : data->width;
  const int64_t channels = spec.channels ? spec.channels : data->channels;
  if (height != data->height || width != data->width || channels != data->channels) {
    const int64_t size = height * width * channels;
    check_memory(name, data->size(), height, width, channels);
    std::vector<uint8_t> pixels(static_cast<size_t>(data->size() * size));
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < data->size(); ++i) {
      const std::span<const uint8_t> old = data->image(i);
      const Image image = fit_image({data->height, data->width, data->channels, {old.begin(), old.end()}},
                                    height, width, channels);
      std::copy(image.pixels.begin(), image.pixels.end(), pixels.begin() + i * size);
    }
    data->pixels = std::move(pixels);
    data->height = height;
    data->width = width;
    data->channels = channels;
  }
  PG_CHECK(spec.label_count == 0 || spec.label_count == data->label_count, "data.label_count: got ",
           spec.label_count, ", but ", name, " has ", data->label_count, " labels");
  data->name = name;
  data->fingerprint = dataset_fingerprint(*data);
}

}  // namespace

std::vector<fs::path> data_roots(const std::string& data_root) {
  std::vector<fs::path> roots;
  if (!data_root.empty()) roots.emplace_back(data_root);
  if (const char* root = std::getenv("PERGRAD_DATA"); root && *root) roots.emplace_back(root);
  roots.emplace_back("/usr/share/datasets");
  return roots;
}

fs::path find_data(const std::string& path, const std::string& data_root) {
  PG_CHECK(!path.empty() && path.find('\0') == std::string::npos, "data.path: got \"", printable(path),
           "\", wanted a folder");
  if (fs::path(path).is_absolute()) {
    PG_CHECK(path_exists(path), "data.path: ", printable(path), " does not exist");
    return path;
  }
  PG_CHECK(data_root.empty() || is_folder(data_root), "--data-root: ", shown(data_root), ": no such folder");
  std::string looked;
  for (const fs::path& root : data_roots(data_root)) {
    if (path_exists(root / path)) return root / path;
    looked += (looked.empty() ? "" : ", ") + shown(root);
  }
  throw Error(
      concat("data.path: no ", printable(path), " in ", looked,
             " (--data-root and PERGRAD_DATA say where datasets lie; docs/data.md says how to get them)"));
}

Split load_dataset(const DataSpec& spec, const std::string& data_root, const Progress& progress) {
  check_spec(spec);
  const fs::path path = find_data(spec.path, data_root);
  Split split;
  if (spec.format == "idx") {
    const int64_t labels = spec.label_count ? spec.label_count : kIdxLabels;
    split.train = read_idx_folder(path, kIdxTrain, labels, progress);
    split.test = read_idx_folder(path, kIdxTest, labels, progress);
    PG_CHECK_AS(FormatError, split.train.height == split.test.height && split.train.width == split.test.width,
                shown(path), ": training images are ", split.train.height, " x ", split.train.width,
                ", but test images are ", split.test.height, " x ", split.test.width);
  } else if (spec.format == "image_folder") {
    std::vector<Dataset> both =
        read_image_folder_splits(path, {spec.height, spec.width, spec.channels}, progress);
    split = {std::move(both[0]), std::move(both[1])};
  } else {
    const CifarKind kind = cifar_kind(spec);
    PG_CHECK_AS(FormatError, is_folder(path), shown(path), ": is not a folder, wanted one of .bin files");
    const std::vector<std::string> names = read_cifar_names(path, kind);
    split.train = read_cifar(in_folder(path, cifar_train_files(kind)), kind, names, progress);
    split.test = read_cifar(in_folder(path, cifar_test_files(kind)), kind, names, progress);
  }
  const std::string name = short_name(path);
  finish(spec, name + " (train)", &split.train);
  finish(spec, name + " (test)", &split.test);
  return split;
}

Dataset load_test_set(const DataSpec& spec, const std::string& data_root, const Progress& progress) {
  check_spec(spec);
  if (spec.format == "image_folder") return load_dataset(spec, data_root, progress).test;
  const fs::path path = find_data(spec.path, data_root);
  Dataset test;
  if (spec.format == "idx") {
    test = read_idx_folder(path, kIdxTest, spec.label_count ? spec.label_count : kIdxLabels, progress);
  } else {
    const CifarKind kind = cifar_kind(spec);
    PG_CHECK_AS(FormatError, is_folder(path), shown(path), ": is not a folder, wanted one of .bin files");
    test = read_cifar(in_folder(path, cifar_test_files(kind)), kind, read_cifar_names(path, kind), progress);
  }
  finish(spec, short_name(path) + " (test)", &test);
  return test;
}

Pool load_pool(const DataSpec& spec, const std::string& provenance, const std::string& data_root,
               const Progress& progress) {
  check_spec(spec);
  PG_CHECK(!provenance.empty() && printable(provenance) == provenance,
           "pool: provenance: wanted one line of text that says where the public images come from, got \"",
           printable(provenance), '"');
  const fs::path path = find_data(spec.path, data_root);
  Pool pool;
  pool.provenance = provenance;
  if (spec.format == "idx") {
    pool.images =
        read_idx_folder(path, kIdxTrain, spec.label_count ? spec.label_count : kIdxLabels, progress);
  } else if (spec.format == "image_folder") {
    pool.images = read_image_folder(path, {spec.height, spec.width, spec.channels}, progress);
  } else {
    const CifarKind kind = cifar_kind(spec);
    const bool folder = is_folder(path);
    const std::vector<std::string> names = read_cifar_names(folder ? path : path.parent_path(), kind);
    const std::vector<fs::path> files = folder ? in_folder(path, cifar_train_files(kind)) : std::vector{path};
    pool.images = read_cifar(files, kind, names, progress);
  }
  finish(spec, short_name(path) + " (pool)", &pool.images);
  return pool;
}

void check_pool_matches(const Pool& pool, const Dataset& train) {
  const Dataset& images = pool.images;
  PG_CHECK(images.height == train.height && images.width == train.width && images.channels == train.channels,
           "pool: images of ", images.name, " are ", images.height, " x ", images.width, " x ",
           images.channels, ", but those of ", train.name, " are ", train.height, " x ", train.width, " x ",
           train.channels, " (height, width and channels of the pool resize it)");
  PG_CHECK(images.label_count == train.label_count, "pool: ", images.name, " has ", images.label_count,
           " labels, but ", train.name, " has ", train.label_count);
  if (images.label_names.empty() || train.label_names.empty()) return;
  for (int64_t i = 0; i < train.label_count; ++i)
    PG_CHECK(images.label_names[i] == train.label_names[i], "pool: label ", i, " of ", images.name, " is ",
             printable(images.label_names[i]), ", but in ", train.name, " it is ",
             printable(train.label_names[i]));
}

}  // namespace pergrad::apps
