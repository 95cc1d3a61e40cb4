// One image: decoding JPEG and PNG, encoding PNG, changing its size and channels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::apps {

// What is larger than this, in pixels, is refused before memory is asked for.
constexpr int64_t kMaxImageSide = 16384;
constexpr int64_t kMaxImagePixels = int64_t{1} << 26;

// Invariant: pixels.size() == height * width * channels; channels is 1 or 3.
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // [H, W, C]
};

// decode_image(bytes, path): a JPEG or PNG file, told apart by its first bytes; `path` is for messages only.
//   JPEG: grey (1 channel) or colour (3); CMYK is refused. Whatever libjpeg warns about (premature end,
//     corrupt data) is an error; bytes behind the end-of-image marker are not looked at. Slow integer DCT,
//     smooth chroma, so that one library version gives the same bytes everywhere. EXIF orientation is not
//     applied.
//   PNG: grey (1 channel) or colour and palette (3), 1 to 16 bits; 16 bits are scaled to 8 by rounding. An
//     alpha channel or a transparent colour is composited on black: round(value * alpha / 255). No gamma or
//     colour profile is applied. A wrong CRC of any chunk is an error.
//   THROWS: FormatError: "PATH: damaged JPEG: ...".
Image decode_image(std::string_view bytes, const std::filesystem::path& path);

// An 8-bit grey or RGB PNG file of the image.
std::string encode_png(const Image& image);

// resize_image(image, height, width): along each axis on its own,
//   shrinking:  area average (each new pixel is the mean of the old ones it covers, weighted by the overlap);
//   enlarging:  bilinear with half-pixel centres (new centre i sits at (i + 0.5) * old / new - 0.5, the
//   border
//               pixel goes on beyond the border);
//   same size:  unchanged.
// Sums are in double over both axes, one rounding at the end (half up).
//   REQUIRES: 1 <= height, width <= kMaxImageSide.
Image resize_image(const Image& image, int64_t height, int64_t width);

// convert_channels(image, channels): 3 -> 1 is luma, round(0.299 R + 0.587 G + 0.114 B) (ITU-R BT.601);
// 1 -> 3 copies the value three times.
//   REQUIRES: channels is 1 or 3.
Image convert_channels(Image image, int64_t channels);

// convert_channels, then resize_image, where 0 means "as it is".
Image fit_image(Image image, int64_t height, int64_t width, int64_t channels);

// Refuses, before memory is asked for, a set of images that is larger than this machine's memory.
//   THROWS: Error.
void check_memory(const std::string& name, int64_t count, int64_t height, int64_t width, int64_t channels);

}  // namespace pergrad::apps
