// JPEG by libjpeg-turbo, PNG by libpng, and the resampling between sizes.
#include "apps/data_image.h"

#include "apps/atomic_file.h"
#include "core/error.h"

#include <png.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

namespace pergrad::apps {
namespace {

// Both C libraries report errors by a function that must not return: it keeps the message and jumps back to
// the frame that called the library. Frames that are jumped over hold nothing that has a destructor.
constexpr size_t kMessageSize = 256;
static_assert(JMSG_LENGTH_MAX <= kMessageSize);

enum class Decoded { kDone, kDamaged, kTooLarge, kTooShort, kCmyk };

// Notes the size that a file claims; false if it is more than we take.
bool claim(Image* image, uint64_t height, uint64_t width) {
  image->height = static_cast<int64_t>(height);
  image->width = static_cast<int64_t>(width);
  return image->height <= kMaxImageSide && image->width <= kMaxImageSide &&
         image->height * image->width <= kMaxImagePixels;
}

void make_room(Image* image, int64_t channels) {
  image->channels = channels;
  image->pixels.resize(static_cast<size_t>(image->height * image->width * channels));
}

// ---- JPEG ----

struct JpegErrors {
  jpeg_error_mgr base;  // first: libjpeg hands back a pointer to it
  std::jmp_buf back;
  char message[kMessageSize];
};

[[noreturn]] void jpeg_fail(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}

void jpeg_note(j_common_ptr info, int level) {
  if (level < 0) jpeg_fail(info);  // below 0: a warning, the data are corrupt; from 0 on: a trace
}

// `info`, `errors` and `image` belong to the caller, so that nothing here is lost by the jump.
Decoded run_jpeg(std::string_view bytes, jpeg_decompress_struct* info, JpegErrors* errors, Image* image) {
  if (setjmp(errors->back)) return Decoded::kDamaged;
  jpeg_create_decompress(info);
  jpeg_mem_src(info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(info, TRUE);
  if (!claim(image, info->image_height, info->image_width)) return Decoded::kTooLarge;
  if (info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK) return Decoded::kCmyk;
  info->out_color_space = info->jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
  info->dct_method = JDCT_ISLOW;
  info->do_fancy_upsampling = TRUE;
  jpeg_start_decompress(info);
  image->channels = info->output_components;
  const size_t row_size =
      static_cast<size_t>(info->output_width) * static_cast<size_t>(info->output_components);
  // Memory grows with the rows that are really there, so that a head that lies cannot ask for more.
  while (info->output_scanline < info->output_height) {
    image->pixels.resize((info->output_scanline + 1) * row_size);
    JSAMPROW row = image->pixels.data() + info->output_scanline * row_size;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return Decoded::kDone;
}

Decoded decode_jpeg(std::string_view bytes, Image* image, std::string* message) {
  jpeg_decompress_struct info{};
  JpegErrors errors{};
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = jpeg_fail;
  errors.base.emit_message = jpeg_note;
  struct Cleanup {
    jpeg_decompress_struct* info;
    ~Cleanup() { jpeg_destroy_decompress(info); }
  } cleanup{&info};
  const Decoded result = run_jpeg(bytes, &info, &errors, image);
  *message = errors.message;
  return result;
}

// ---- PNG ----

// Deflate makes at most 1032 bytes of one (zlib, "Technical Details"), so that a file cannot hold more.
constexpr uint64_t kMostInflation = 1032;

struct PngInput {
  std::string_view rest;
  uint64_t size;  // bytes of the file
  char message[kMessageSize];
  int64_t found_channels;       // with alpha
  std::vector<uint8_t> pixels;  // [H, W, found_channels]
  std::vector<png_bytep> rows;
};

[[noreturn]] void png_fail(png_structp png, png_const_charp text) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::snprintf(input->message, sizeof input->message, "%s", text);
  png_longjmp(png, 1);
}

void png_note(png_structp, png_const_charp) {}  // warnings are about profiles and the like, not about pixels

void png_take(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  if (size > input->rest.size()) png_error(png, "premature end of file");
  std::copy_n(input->rest.data(), size, reinterpret_cast<char*>(out));
  input->rest.remove_prefix(size);
}

Decoded run_png(png_structp png, png_infop info, PngInput* input, Image* image) {
  if (setjmp(png_jmpbuf(png))) return Decoded::kDamaged;
  png_set_read_fn(png, input, png_take);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);  // our own limit says more clearly what is wrong
  png_read_info(png, info);
  const uint64_t height = png_get_image_height(png, info), width = png_get_image_width(png, info);
  if (!claim(image, height, width)) return Decoded::kTooLarge;
  if (height * png_get_rowbytes(png, info) > kMostInflation * input->size) return Decoded::kTooShort;
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  input->found_channels = png_get_channels(png, info);
  const size_t row_size = png_get_rowbytes(png, info);
  input->pixels.resize(height * row_size);
  input->rows.resize(height);
  for (size_t y = 0; y < height; ++y) input->rows[y] = input->pixels.data() + y * row_size;
  png_read_image(png, input->rows.data());
  png_read_end(png, nullptr);
  make_room(image, input->found_channels >= 3 ? 3 : 1);
  return Decoded::kDone;
}

Decoded decode_png(std::string_view bytes, Image* image, std::string* message) {
  PngInput input{};
  input.rest = bytes;
  input.size = bytes.size();
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, png_fail, png_note);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  struct Cleanup {
    png_structp* png;
    png_infop* info;
    ~Cleanup() { png_destroy_read_struct(png, info, nullptr); }
  } cleanup{&png, &info};
  if (!info) throw std::bad_alloc();
  const Decoded result = run_png(png, info, &input, image);
  *message = input.message;
  if (result != Decoded::kDone) return result;
  const int64_t found = input.found_channels, channels = image->channels;
  for (int64_t p = 0; p < image->height * image->width; ++p) {
    const uint8_t* in = input.pixels.data() + p * found;
    const int alpha = found == channels ? 255 : in[channels];
    for (int64_t c = 0; c < channels; ++c)
      image->pixels[p * channels + c] = static_cast<uint8_t>((in[c] * alpha + 127) / 255);
  }
  return result;
}

struct PngOutput {
  std::string bytes;
  std::vector<png_bytep> rows;
};

void png_give(png_structp png, png_bytep bytes, size_t size) {
  static_cast<PngOutput*>(png_get_io_ptr(png))->bytes.append(reinterpret_cast<const char*>(bytes), size);
}

void png_flush_nothing(png_structp) {}

bool run_png_writer(png_structp png, png_infop info, PngOutput* output, const Image* image) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_write_fn(png, output, png_give, png_flush_nothing);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image->width), static_cast<png_uint_32>(image->height), 8,
               image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  png_write_image(png, output->rows.data());
  png_write_end(png, info);
  return true;
}

// ---- size ----

// New pixel i is the sum over k of weight[k] * old pixel (first + k).
struct Tap {
  int64_t first = 0;
  std::vector<double> weight;
};

std::vector<Tap> axis_taps(int64_t old_size, int64_t new_size) {
  std::vector<Tap> taps(static_cast<size_t>(new_size));
  const double scale = static_cast<double>(old_size) / static_cast<double>(new_size);
  for (int64_t i = 0; i < new_size; ++i) {
    Tap& tap = taps[i];
    if (new_size == old_size) {
      tap = {i, {1.0}};
    } else if (new_size < old_size) {
      // Pixel i covers [i, i + 1) * old / new; in units of 1 / new all ends are whole numbers.
      const int64_t begin = i * old_size, end = begin + old_size;
      tap.first = begin / new_size;
      for (int64_t j = tap.first; j * new_size < end; ++j) {
        const int64_t overlap = std::min(end, (j + 1) * new_size) - std::max(begin, j * new_size);
        tap.weight.push_back(static_cast<double>(overlap) / static_cast<double>(old_size));
      }
    } else {
      const double place = (static_cast<double>(i) + 0.5) * scale - 0.5;
      const double inside = std::clamp(place, 0.0, static_cast<double>(old_size - 1));
      tap.first = std::min(static_cast<int64_t>(inside), std::max<int64_t>(old_size - 2, 0));
      const double fraction = inside - static_cast<double>(tap.first);
      tap.weight = {1.0 - fraction};
      if (old_size > 1) tap.weight.push_back(fraction);
    }
  }
  return taps;
}

uint8_t to_byte(double value) {
  return static_cast<uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0));
}

}  // namespace

Image decode_image(std::string_view bytes, const std::filesystem::path& path) {
  Image image;
  std::string message;
  const bool jpeg = bytes.starts_with("\xFF\xD8\xFF"), png = bytes.starts_with("\x89PNG\r\n\x1A\n");
  PG_CHECK_AS(FormatError, !bytes.empty(), shown(path), ": is empty, wanted a JPEG or PNG image");
  PG_CHECK_AS(FormatError, jpeg || png, shown(path), ": is neither JPEG nor PNG: begins with ",
              printable(bytes.substr(0, 8)));
  const Decoded result = jpeg ? decode_jpeg(bytes, &image, &message) : decode_png(bytes, &image, &message);
  PG_CHECK_AS(FormatError, result != Decoded::kDamaged, shown(path), ": damaged ", jpeg ? "JPEG" : "PNG",
              ": ", printable(message));
  PG_CHECK_AS(FormatError, result != Decoded::kTooLarge, shown(path), ": image is ", image.height, " x ",
              image.width, " pixels, wanted at most ", kMaxImageSide, " a side and ", kMaxImagePixels,
              " in all");
  PG_CHECK_AS(FormatError, result != Decoded::kTooShort, shown(path), ": ", bytes.size(),
              " bytes cannot hold a PNG image of ", image.height, " x ", image.width, " pixels");
  PG_CHECK_AS(FormatError, result != Decoded::kCmyk, shown(path), ": JPEG is CMYK, wanted grey or colour");
  return image;
}

std::string encode_png(const Image& image) {
  PngOutput output;
  for (int64_t y = 0; y < image.height; ++y)
    output.rows.push_back(const_cast<png_bytep>(image.pixels.data()) + y * image.width * image.channels);
  PngInput errors{};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &errors, png_fail, png_note);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  struct Cleanup {
    png_structp* png;
    png_infop* info;
    ~Cleanup() { png_destroy_write_struct(png, info); }
  } cleanup{&png, &info};
  if (!info) throw std::bad_alloc();
  PG_CHECK(run_png_writer(png, info, &output, &image), "encode_png: ", printable(errors.message));
  return std::move(output.bytes);
}

Image resize_image(const Image& image, int64_t height, int64_t width) {
  PG_CHECK(height >= 1 && height <= kMaxImageSide && width >= 1 && width <= kMaxImageSide,
           "resize_image: size: got ", height, " x ", width, ", wanted 1 to ", kMaxImageSide, " a side");
  if (height == image.height && width == image.width) return image;
  const std::vector<Tap> down = axis_taps(image.height, height), across = axis_taps(image.width, width);
  const int64_t channels = image.channels;
  Image out{height, width, channels, {}};
  out.pixels.resize(static_cast<size_t>(height * width * channels));
  std::vector<double> row(static_cast<size_t>(image.width * channels));  // one new row at the old width
  for (int64_t y = 0; y < height; ++y) {
    std::fill(row.begin(), row.end(), 0.0);
    for (size_t k = 0; k < down[y].weight.size(); ++k) {
      const uint8_t* old_row =
          image.pixels.data() + (down[y].first + static_cast<int64_t>(k)) * image.width * channels;
      for (size_t j = 0; j < row.size(); ++j) row[j] += down[y].weight[k] * old_row[j];
    }
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (size_t k = 0; k < across[x].weight.size(); ++k)
          sum += across[x].weight[k] * row[(across[x].first + static_cast<int64_t>(k)) * channels + c];
        out.pixels[(y * width + x) * channels + c] = to_byte(sum);
      }
    }
  }
  return out;
}

Image convert_channels(Image image, int64_t channels) {
  PG_CHECK(channels == 1 || channels == 3, "convert_channels: got ", channels, ", wanted 1 or 3");
  if (channels == image.channels) return image;
  const int64_t count = image.height * image.width;
  std::vector<uint8_t> pixels(static_cast<size_t>(count * channels));
  for (int64_t p = 0; p < count; ++p) {
    if (channels == 3) {
      std::fill_n(pixels.begin() + 3 * p, 3, image.pixels[p]);
    } else {
      const uint8_t* rgb = image.pixels.data() + 3 * p;
      pixels[p] = static_cast<uint8_t>((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
    }
  }
  image.pixels = std::move(pixels);
  image.channels = channels;
  return image;
}

Image fit_image(Image image, int64_t height, int64_t width, int64_t channels) {
  if (channels) image = convert_channels(std::move(image), channels);
  return resize_image(image, height ? height : image.height, width ? width : image.width);
}

void check_memory(const std::string& name, int64_t count, int64_t height, int64_t width, int64_t channels) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  const double needed = static_cast<double>(count) * static_cast<double>(height * width * channels) / kGib;
  const double there =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / kGib;
  PG_CHECK(needed <= there, name, ": ", count, " images of ", height, " x ", width, " x ", channels, " need ",
           needed, " GiB, this machine has ", there);
}

}  // namespace pergrad::apps
