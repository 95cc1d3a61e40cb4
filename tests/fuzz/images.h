// What the targets of JPEG and PNG ask of a decoded image.
#pragma once

#include "apps/data_image.h"
#include "tests/fuzz/target.h"

namespace pergrad::fuzz {

// Decodes, and makes it small.
inline void decode(std::string_view bytes) {
  apps::Image image;
  if (!accepts([&] { image = apps::decode_image(bytes, "image"); })) return;
  require(image.height >= 1 && image.width >= 1 && (image.channels == 1 || image.channels == 3) &&
              image.height <= apps::kMaxImageSide && image.width <= apps::kMaxImageSide &&
              static_cast<int64_t>(image.pixels.size()) == image.height * image.width * image.channels,
          "an image of another size than it says");
  if (image.pixels.size() > size_t{1} << 20) return;
  const apps::Image small = apps::fit_image(std::move(image), 3, 5, 1);
  require(small.pixels.size() == 15, "a resized image of another size");
}

}  // namespace pergrad::fuzz
