// Loading a dataset by its description: where it lies, which format it has, what shape its images get.
//
// 1. A loader reads strictly: what is damaged, truncated or contradicts itself is an Error of one line that
//    names the file, what was found and what was wanted. Nothing is repaired, skipped or guessed.
// 2. Nothing that a model or a config needs is computed from the images: the number of labels comes from
//    the format, from its file of names, from the folders' names or from the description.
#pragma once

#include "apps/progress.h"
#include "core/dataset.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pergrad::apps {

// What `[data]` (or the public pool's section) of a config says about images on disk.
struct DataSpec {
  std::string format;    // "idx" | "cifar10" | "cifar100" | "image_folder"
  std::string path;      // folder (for a CIFAR pool also one .bin file); relative to a data root, or absolute
  int64_t height = 0;    // H, pixels; 0 = as found. Given: every image is resized (apps/data_image.h)
  int64_t width = 0;     // W, pixels; 0 = as found
  int64_t channels = 0;  // C, 1 or 3; 0 = as found. Given: luma of colour, or grey copied three times
  int64_t label_count = 0;     // L; 0 = what the format says: idx 10, CIFAR its names, a folder its classes
  bool coarse_labels = false;  // cifar100 only: the 20 coarse labels instead of the 100 fine ones
};

struct Split {
  Dataset train, test;  // same shape, label_count and label_names; fingerprints set
};

// Images that anyone may see, and where they come from.
struct Pool {
  Dataset images;          // fingerprint set
  std::string provenance;  // one line for the ledger and the report
};

// The folders in which a relative path is looked for, in this order: `data_root` (--data-root) and the
// environment's PERGRAD_DATA, each unless empty, then /usr/share/datasets (Debian's packages of datasets).
std::vector<std::filesystem::path> data_roots(const std::string& data_root);

// Where `path` is: itself if absolute, else under the first of data_roots() that has it.
//   THROWS: Error that lists where it looked.
std::filesystem::path find_data(const std::string& path, const std::string& data_root);

// Both splits of a dataset.
//   idx           train-* for training, t10k-* (or test-*) for testing
//   cifar10       data_batch_1..5.bin, test_batch.bin
//   cifar100      train.bin, test.bin
//   image_folder  train/<class>/*, test/<class>/*
//   THROWS: Error, FormatError.
Split load_dataset(const DataSpec& spec, const std::string& data_root = {}, const Progress& progress = {});

// The test split alone: evaluating needs no private data. (image_folder: both are read, to agree on the
// classes.)
Dataset load_test_set(const DataSpec& spec, const std::string& data_root = {}, const Progress& progress = {});

// A pool of public images: ROOT/<class>/* (image_folder), one .bin file or the training files of a folder
// (cifar10, cifar100), or the training files (idx).
//   REQUIRES: `provenance` is one non-empty line.   THROWS: Error, FormatError.
Pool load_pool(const DataSpec& spec, const std::string& provenance, const std::string& data_root = {},
               const Progress& progress = {});

// Refuses a pool whose images or labels are not those of `train`: shape, label count, label names (where both
// have them).
//   THROWS: Error.
void check_pool_matches(const Pool& pool, const Dataset& train);

}  // namespace pergrad::apps
