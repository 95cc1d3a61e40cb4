// Folders of JPEG and PNG images, one folder a class.
#pragma once

#include "apps/progress.h"
#include "core/dataset.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pergrad::apps {

// The shape that images are brought to (apps/data_image.h says how); 0 = as found, and then the same in all.
struct ImageShape {
  int64_t height = 0, width = 0, channels = 0;
};

// The classes of ROOT/<class>/: names of its folders, in the order of their bytes.
//   THROWS: FormatError if there is none or if anything else lies there.
std::vector<std::string> class_names(const std::filesystem::path& root);

// read_image_folder(root, shape): all of ROOT/<class>/*.{jpg,jpeg,png} (endings in any case): the first of
// every class, then the second of every class and so on, so that the first n are of all classes; classes and
// the files of one in the order of their bytes; label = place of the class. What a file is, its content says,
// not its ending. Hidden entries (".*") are left out; anything else that is not such a file is refused by its
// name. Decodes with all threads; the result and the error reported do not depend on their number. No
// fingerprint.
//   THROWS: FormatError for a class without images, a file that is damaged or no image, and, without a
//   configured shape, for the first image whose size or channels differ from those of the first one; Error
//   for what cannot be read.
Dataset read_image_folder(const std::filesystem::path& root, const ImageShape& shape,
                          const Progress& progress = {});

// The same for ROOT/train/ and ROOT/test/, whose classes must be the same. In the order train, test.
//   THROWS: as read_image_folder; FormatError for anything else in ROOT, and for a class of one split only.
std::vector<Dataset> read_image_folder_splits(const std::filesystem::path& root, const ImageShape& shape,
                                              const Progress& progress = {});

}  // namespace pergrad::apps
