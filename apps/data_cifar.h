// CIFAR-10 and CIFAR-100 in their binary version. Format: https://www.cs.toronto.edu/~kriz/cifar.html:
// records of one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100), then 3072 bytes: 32 x 32
// red, green, blue planes. A file holds as many records as its size says.
#pragma once

#include "apps/progress.h"
#include "core/dataset.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pergrad::apps {

enum class CifarKind { kCifar10, kCifar100Fine, kCifar100Coarse };

constexpr int64_t kCifarSide = 32;
constexpr int64_t kCifarPixels = 3 * kCifarSide * kCifarSide;

// 10, 100 or 20: the labels that the kind has, and the most that its records may use.
int64_t cifar_label_count(CifarKind kind);

// data_batch_1.bin ... data_batch_5.bin or train.bin; test_batch.bin or test.bin.
std::vector<std::string> cifar_train_files(CifarKind kind);
std::vector<std::string> cifar_test_files(CifarKind kind);

// batches.meta.txt, fine_label_names.txt or coarse_label_names.txt.
std::string cifar_names_file(CifarKind kind);

// The label names beside the records: one a line, blank lines left out; none if there is no such file.
//   THROWS: FormatError for more names than the kind has labels, a name twice, or none in the file.
std::vector<std::string> read_cifar_names(const std::filesystem::path& folder, CifarKind kind);

// All records of the files, one after the other, as [N, 32, 32, 3]. L is the number of `names`, or what the
// kind has if there are none. No fingerprint.
//   THROWS: FormatError for an empty file, a size that is not a multiple of the record, a label >= L (with
//   the record's number, from 0); Error for what cannot be read.
Dataset read_cifar(const std::vector<std::filesystem::path>& files, CifarKind kind,
                   const std::vector<std::string>& names, const Progress& progress = {});

// Images begin .. end - 1 as the bytes of one file; the coarse label of CIFAR-100 is 0.
//   REQUIRES: 32 x 32 x 3, label_count <= cifar_label_count(kind), kind is not kCifar100Coarse.
//   THROWS: Error.
std::string encode_cifar(const Dataset& data, CifarKind kind, int64_t begin, int64_t end);

}  // namespace pergrad::apps
