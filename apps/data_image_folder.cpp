// Image folders: listing, reading and writing.
#include "apps/data_image_folder.h"

#include "apps/atomic_file.h"
#include "apps/data_image.h"
#include "core/error.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <exception>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

bool looks_like_image(const fs::path& path) {
  std::string ending = path.extension().native();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

// What lies in a folder, without hidden entries, in the order of the bytes of the names.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error))
    if (it->path().filename().native()[0] != '.') found.push_back(it->path());
  PG_CHECK(!error, file_error("read", folder, error.value()));
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return found;
}

fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  PG_CHECK(type != fs::file_type::not_found && type != fs::file_type::none,
           file_error("open", path, error ? error.value() : ENOENT));
  return type;
}

std::vector<fs::path> list_images(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::path& path : entries(folder)) {
    PG_CHECK_AS(FormatError, type_of(path) == fs::file_type::regular, shown(path),
                ": is not a file, wanted nothing but .jpg, .jpeg and .png files in the folder of a class");
    PG_CHECK_AS(FormatError, looks_like_image(path), shown(path),
                ": is not an image by its name, wanted .jpg, .jpeg or .png");
    files.push_back(path);
  }
  PG_CHECK_AS(FormatError, !files.empty(), shown(folder), ": class without images");
  return files;
}

std::string channel_text(int64_t channels) { return channels == 1 ? "grey" : "colour"; }

// The error of the earliest image among those that threads met.
class FirstError {
 public:
  // Whether image i is still worth decoding.
  bool wants(int64_t i) const { return i < index_.load(std::memory_order_relaxed); }
  void keep(int64_t i, std::exception_ptr error) {
#pragma omp critical(pergrad_data_first_error)
    if (i < index_.load()) {
      index_ = i;
      error_ = std::move(error);
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<int64_t> index_{INT64_MAX};
  std::exception_ptr error_;
};

}  // namespace

std::vector<std::string> class_names(const fs::path& root) {
  PG_CHECK_AS(FormatError, is_folder(root), shown(root),
              ": is not a folder, wanted one folder a class in it");
  std::vector<std::string> names;
  for (const fs::path& path : entries(root)) {
    PG_CHECK_AS(FormatError, type_of(path) == fs::file_type::directory, shown(path),
                ": is not a folder, wanted nothing but one folder a class");
    names.push_back(path.filename().native());
  }
  PG_CHECK_AS(FormatError, !names.empty(), shown(root), ": no class in it, wanted one folder a class");
  return names;
}

Dataset read_image_folder(const fs::path& root, const ImageShape& shape, const Progress& progress) {
  Dataset data;
  data.label_names = class_names(root);
  data.label_count = static_cast<int64_t>(data.label_names.size());
  std::vector<std::vector<fs::path>> classes;
  for (const std::string& name : data.label_names) classes.push_back(list_images(root / name));
  // The first image of every class, then the second of every class, ...
  std::vector<fs::path> files;
  size_t rounds = 0;
  for (const auto& images : classes) rounds = std::max(rounds, images.size());
  for (size_t round = 0; round < rounds; ++round)
    for (size_t label = 0; label < classes.size(); ++label)
      if (round < classes[label].size()) {
        files.push_back(classes[label][round]);
        data.labels.push_back(static_cast<int32_t>(label));
      }

  const Image first = decode_image(read_file(files[0]), files[0]);
  data.height = shape.height ? shape.height : first.height;
  data.width = shape.width ? shape.width : first.width;
  data.channels = shape.channels ? shape.channels : first.channels;
  check_memory(shown(root), data.size(), data.height, data.width, data.channels);
  data.pixels.resize(static_cast<size_t>(data.size() * data.image_size()));

  const auto decode_one = [&](int64_t i) {
    Image image = decode_image(read_file(files[i]), files[i]);
    PG_CHECK_AS(FormatError,
                (shape.height || image.height == first.height) && (shape.width || image.width == first.width),
                shown(files[i]), ": is ", image.height, " x ", image.width, ", but ", shown(files[0]), " is ",
                first.height, " x ", first.width,
                ": images of several sizes need data.height and data.width");
    PG_CHECK_AS(FormatError, shape.channels || image.channels == first.channels, shown(files[i]), ": is ",
                channel_text(image.channels), ", but ", shown(files[0]), " is ", channel_text(first.channels),
                ": a mix needs data.channels");
    image = fit_image(std::move(image), data.height, data.width, data.channels);
    std::copy(image.pixels.begin(), image.pixels.end(), data.pixels.begin() + i * data.image_size());
  };

  ProgressMeter meter(progress, "decoding " + shown(root), data.size());
  FirstError failed;
  std::atomic<int64_t> done{0};
#pragma omp parallel for schedule(dynamic, 16)
  for (int64_t i = 0; i < data.size(); ++i) {
    if (!failed.wants(i)) continue;
    try {
      decode_one(i);
      const int64_t now = ++done;
      if (omp_get_thread_num() == 0) meter.update(now);
    } catch (...) {
      failed.keep(i, std::current_exception());
    }
  }
  failed.rethrow();
  meter.update(data.size());
  return data;
}

std::vector<Dataset> read_image_folder_splits(const fs::path& root, const ImageShape& shape,
                                              const Progress& progress) {
  const fs::path train = root / "train", test = root / "test";
  PG_CHECK_AS(FormatError, is_folder(root), shown(root), ": is not a folder, wanted train/ and test/ in it");
  for (const fs::path& path : entries(root))
    PG_CHECK_AS(FormatError, path == train || path == test, shown(path),
                ": wanted nothing but train/ and test/ in ", shown(root));
  for (const fs::path& path : {train, test})
    PG_CHECK_AS(FormatError, is_folder(path), shown(path), ": is not there, wanted train/ and test/ in ",
                shown(root));
  const std::vector<std::string> train_names = class_names(train), test_names = class_names(test);
  const auto only_in = [&](const std::vector<std::string>& a, const fs::path& where,
                           const std::vector<std::string>& b, const fs::path& other) {
    for (const std::string& name : a)
      PG_CHECK_AS(FormatError, std::binary_search(b.begin(), b.end(), name), shown(where / name),
                  ": class is not in ", shown(other), ", wanted the same classes in both");
  };
  only_in(train_names, train, test_names, test);
  only_in(test_names, test, train_names, train);

  std::vector<Dataset> splits;
  splits.push_back(read_image_folder(train, shape, progress));
  // What was not configured, the test images must have as the training images do.
  Dataset tests = read_image_folder(test, shape, progress);
  const Dataset& first = splits.front();
  PG_CHECK_AS(FormatError, tests.height == first.height && tests.width == first.width, shown(test),
              ": images are ", tests.height, " x ", tests.width, ", but those of ", shown(train), " are ",
              first.height, " x ", first.width, ": images of several sizes need data.height and data.width");
  PG_CHECK_AS(FormatError, tests.channels == first.channels, shown(test), ": images are ",
              channel_text(tests.channels), ", but those of ", shown(train), " are ",
              channel_text(first.channels), ": a mix needs data.channels");
  splits.push_back(std::move(tests));
  return splits;
}

}  // namespace pergrad::apps
