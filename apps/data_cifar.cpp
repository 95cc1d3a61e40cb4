// CIFAR in its binary version: reading, writing, checking.
#include "apps/data_cifar.h"

#include "apps/atomic_file.h"
#include "core/error.h"

#include <algorithm>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

constexpr int64_t kPlane = kCifarSide * kCifarSide;

int64_t label_bytes(CifarKind kind) { return kind == CifarKind::kCifar10 ? 1 : 2; }
int64_t record_size(CifarKind kind) { return label_bytes(kind) + kCifarPixels; }
int64_t label_place(CifarKind kind) { return kind == CifarKind::kCifar100Fine ? 1 : 0; }

void append_records(const fs::path& path, CifarKind kind, Dataset* data) {
  const std::string bytes = read_file(path);
  const auto size = static_cast<int64_t>(bytes.size());
  const int64_t record = record_size(kind);
  PG_CHECK_AS(FormatError, size > 0, shown(path), ": is empty, wanted records of ", record, " bytes");
  PG_CHECK_AS(FormatError, size % record == 0, shown(path), ": has ", size, " bytes, wanted a multiple of ",
              record, " (one record)");
  const int64_t count = size / record, before = data->size();
  data->labels.resize(static_cast<size_t>(before + count));
  data->pixels.resize(static_cast<size_t>((before + count) * kCifarPixels));
  for (int64_t i = 0; i < count; ++i) {
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data()) + i * record;
    const int label = in[label_place(kind)];
    PG_CHECK_AS(FormatError, label < data->label_count, shown(path), ": record ", i,
                " (counted from 0) has label ", label, ", wanted 0 to ", data->label_count - 1);
    data->labels[before + i] = label;
    const uint8_t* planes = in + label_bytes(kind);
    uint8_t* out = data->pixels.data() + (before + i) * kCifarPixels;
    for (int64_t p = 0; p < kPlane; ++p)
      for (int64_t c = 0; c < 3; ++c) out[3 * p + c] = planes[c * kPlane + p];
  }
}

}  // namespace

int64_t cifar_label_count(CifarKind kind) {
  if (kind == CifarKind::kCifar10) return 10;
  return kind == CifarKind::kCifar100Fine ? 100 : 20;
}

std::vector<std::string> cifar_train_files(CifarKind kind) {
  if (kind != CifarKind::kCifar10) return {"train.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
}

std::vector<std::string> cifar_test_files(CifarKind kind) {
  return {kind == CifarKind::kCifar10 ? "test_batch.bin" : "test.bin"};
}

std::string cifar_names_file(CifarKind kind) {
  if (kind == CifarKind::kCifar10) return "batches.meta.txt";
  return kind == CifarKind::kCifar100Fine ? "fine_label_names.txt" : "coarse_label_names.txt";
}

std::vector<std::string> read_cifar_names(const fs::path& folder, CifarKind kind) {
  const fs::path path = folder / cifar_names_file(kind);
  if (!path_exists(path)) return {};
  std::vector<std::string> names;
  std::istringstream lines(read_file(path));
  const int64_t most = cifar_label_count(kind);
  for (std::string line; std::getline(lines, line);) {
    line.erase(std::find_if(line.rbegin(), line.rend(), [](char c) { return c != ' ' && c != '\r'; }).base(),
               line.end());
    if (line.empty()) continue;
    PG_CHECK_AS(FormatError, printable(line) == line, shown(path), ": name ", names.size(),
                " (counted from 0) is not plain text: ", printable(line.substr(0, 40)));
    PG_CHECK_AS(FormatError, std::find(names.begin(), names.end(), line) == names.end(), shown(path),
                ": the name ", line, " is there twice");
    PG_CHECK_AS(FormatError, static_cast<int64_t>(names.size()) < most, shown(path),
                ": has more label names than the ", most, " labels of the format");
    names.push_back(line);
  }
  PG_CHECK_AS(FormatError, !names.empty(), shown(path), ": has no label name, wanted 1 to ", most);
  return names;
}

Dataset read_cifar(const std::vector<fs::path>& files, CifarKind kind, const std::vector<std::string>& names,
                   const Progress& progress) {
  Dataset data;
  data.height = data.width = kCifarSide;
  data.channels = 3;
  data.label_names = names;
  data.label_count = names.empty() ? cifar_label_count(kind) : static_cast<int64_t>(names.size());
  const auto file_count = static_cast<int64_t>(files.size());
  ProgressMeter meter(progress, "reading " + shown(files.front().parent_path()), file_count);
  for (int64_t i = 0; i < file_count; ++i) {
    append_records(files[i], kind, &data);
    meter.update(i + 1);
  }
  return data;
}

std::string encode_cifar(const Dataset& data, CifarKind kind, int64_t begin, int64_t end) {
  PG_CHECK(data.height == kCifarSide && data.width == kCifarSide && data.channels == 3, "cifar: images are ",
           data.height, " x ", data.width, " x ", data.channels,
           ", the binary format holds 32 x 32 x 3 only (height, width and channels of the source resize)");
  PG_CHECK(kind != CifarKind::kCifar100Coarse, "cifar: coarse labels cannot be written on their own");
  PG_CHECK(data.label_count <= cifar_label_count(kind), "cifar: labels: got ", data.label_count,
           ", the format holds at most ", cifar_label_count(kind));
  PG_CHECK(0 <= begin && begin <= end && end <= data.size(), "cifar: range: got ", begin, " to ", end, " of ",
           data.size());
  std::string bytes(static_cast<size_t>((end - begin) * record_size(kind)), '\0');
  for (int64_t i = begin; i < end; ++i) {
    char* out = bytes.data() + (i - begin) * record_size(kind);
    out[label_place(kind)] = static_cast<char>(data.labels[i]);
    const std::span<const uint8_t> image = data.image(i);
    for (int64_t p = 0; p < kPlane; ++p)
      for (int64_t c = 0; c < 3; ++c)
        out[label_bytes(kind) + c * kPlane + p] = static_cast<char>(image[3 * p + c]);
  }
  return bytes;
}

}  // namespace pergrad::apps
