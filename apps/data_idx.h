// The MNIST family: idx files of images and of labels, plain or gzipped. Format: "The IDX file format" on
// http://yann.lecun.com/exdb/mnist/: big-endian 32-bit numbers, then bytes.
#pragma once

#include "apps/progress.h"
#include "core/dataset.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace pergrad::apps {

constexpr int64_t kIdxLabels = 10;     // L of the family unless the description says otherwise
constexpr int64_t kMaxIdxSide = 4096;  // pixels
constexpr int64_t kMaxIdxImages = 1'000'000'000;

// One split: `images` is an idx3-ubyte file (magic 0x00000803), `labels` an idx1-ubyte file (0x00000801);
// gzip is told by the first two bytes, not by the name. Returns C = 1, L = label_count, no names, no
// fingerprint.
//   THROWS: FormatError for a wrong magic, a truncated file, bytes behind the end, no image at all, sizes out
//   of bounds, a damaged gzip stream (CRC), different numbers of images and labels, a label >= label_count;
//   Error for what cannot be read.
Dataset read_idx(const std::filesystem::path& images, const std::filesystem::path& labels,
                 int64_t label_count = kIdxLabels, const Progress& progress = {});

// The same from the files of a folder: PREFIX-images-idx3-ubyte and PREFIX-labels-idx1-ubyte, each with or
// without .gz (the plain one is taken if both are there). `prefixes` are tried in order.
Dataset read_idx_folder(const std::filesystem::path& folder, std::span<const std::string> prefixes,
                        int64_t label_count = kIdxLabels, const Progress& progress = {});

}  // namespace pergrad::apps
