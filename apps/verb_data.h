// `pergrad data`: what a dataset holds, and image folders to CIFAR binary and back.
#pragma once

#include "apps/data_load.h"

#include <nlohmann/json.hpp>

#include <string>

namespace pergrad::apps {

// What a verb hands to the program: the JSON of --json, and the same for people (ends in a newline).
struct DataReport {
  nlohmann::ordered_json json;
  std::string text;
};

struct DataInspectOptions {
  DataSpec spec;  // an existing spec.path relative to the current folder is taken before the data roots
  std::string data_root;  // --data-root
  bool pool = false;      // one set of images (ROOT/<class>/*, one .bin) instead of train and test
};

// Sizes, shape, labels, fingerprints, statistics and duplicates of a dataset. What is computed from the
// images or labels is named nonprivate_*: of private data it may be looked at only by those who may see the
// data, and must not find its way into a config (mean, std) or a report.
//   JSON: {"format", "path", "splits": [{"name", "split", "examples", "fingerprint",
//   "nonprivate_label_counts": [L], "nonprivate_duplicates": images equal to an earlier one of the split}],
//   "height", "width", "channels", "label_count", "label_names": [L] or [],
//   "nonprivate_mean": [C], "nonprivate_std": [C] (of the first split, pixels / 255),
//   "nonprivate_shared": test images that are also in train (not for a pool), "nonprivate_note"}.
//   THROWS: Error, FormatError.
DataReport data_inspect(const DataInspectOptions& options, const Progress& progress = {});

struct DataConvertOptions {
  DataSpec from;           // any format; height, width, channels resize on the way
  std::string data_root;   // --data-root, for `from`
  std::string to_format;   // "cifar10" | "cifar100" | "image_folder"
  std::string to_path;     // a folder that is made; relative to the current folder
  bool overwrite = false;  // replace an existing folder, if it holds nothing but such a dataset
};

// Writes both splits in another format. The target appears whole and at once or not at all.
//   cifar10, cifar100: 32 x 32 x 3 only, at most 10 or 100 labels; order and label names are kept, so that
//     the fingerprint is that of the source. cifar100's coarse label is written as 0.
//   image_folder: train|test/<label name or number>/NNNNN.png, numbered in order within the class.
//   JSON: {"from": {"format", "path"}, "to": {"format", "path"}, "train_examples", "test_examples",
//     "train_fingerprint", "test_fingerprint" (of what was read), "labels_renumbered": the names are not in
//     order, so that a reader of the folder numbers them anew, "files", "bytes"}.
//   THROWS: Error (an existing target without `overwrite`, a shape or a label that the format cannot hold).
DataReport data_convert(const DataConvertOptions& options, const Progress& progress = {});

}  // namespace pergrad::apps
