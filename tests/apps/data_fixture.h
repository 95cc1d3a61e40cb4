// Small datasets made on the spot: the bytes of idx, CIFAR, PNG, JPEG and gzip files.
#pragma once

#include "apps/data_cifar.h"
#include "apps/data_image.h"
#include "core/dataset.h"
#include "tests/apps/temp_folder.h"

#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <jpeglib.h>  // wants <cstdio> before it

namespace pergrad::test {

// Pixels and labels that differ everywhere.
inline Dataset some_images(int64_t count, int64_t height, int64_t width, int64_t channels, int64_t labels,
                           int seed) {
  Dataset data;
  data.height = height;
  data.width = width;
  data.channels = channels;
  data.label_count = labels;
  for (int64_t i = 0; i < count; ++i) data.labels.push_back(static_cast<int32_t>(i % labels));
  for (int64_t i = 0; i < count * data.image_size(); ++i)
    data.pixels.push_back(static_cast<uint8_t>((i + seed) * 2654435761u >> 13));
  return data;
}

inline std::string noise(size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>((i + 7) * 2654435761u >> 11);
  return bytes;
}

// One member of a gzip file.
inline std::string gzip(const std::string& bytes) {
  std::string out(bytes.size() + 1000, '\0');
  z_stream stream{};
  bool good = deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  good = good && deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (!good) throw std::runtime_error("gzip");
  return out;
}

// ---- idx

// 32 bits as idx has them.
inline std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

inline std::string idx_images(uint32_t count, uint32_t height, uint32_t width, const std::string& pixels) {
  return big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width) + pixels;
}

inline std::string idx_images(const Dataset& data) {
  return idx_images(static_cast<uint32_t>(data.size()), static_cast<uint32_t>(data.height),
                    static_cast<uint32_t>(data.width), {data.pixels.begin(), data.pixels.end()});
}

// A byte per label.
inline std::string idx_labels(const std::string& labels) {
  return big_endian(0x801) + big_endian(static_cast<uint32_t>(labels.size())) + labels;
}

inline std::string idx_labels(const Dataset& data) {
  std::string labels;
  for (int32_t label : data.labels) labels += static_cast<char>(label);
  return idx_labels(labels);
}

// ---- CIFAR

// Four records of noise, labels 0 to 3; of CIFAR-100 if `coarse` is the byte that goes before each.
inline std::string cifar_noise(const std::string& coarse = "") {
  std::string file;
  for (char label = 0; label < 4; ++label) file += coarse + label + noise(3072);
  return file;
}

// The six files of CIFAR-10.
inline void write_cifar10(const std::filesystem::path& folder, const Dataset& train, const Dataset& test) {
  for (int64_t i = 0; i < 5; ++i)
    spill(folder / ("data_batch_" + std::to_string(i + 1) + ".bin"),
          apps::encode_cifar(train, apps::CifarKind::kCifar10, train.size() * i / 5,
                             train.size() * (i + 1) / 5));
  spill(folder / "test_batch.bin", apps::encode_cifar(test, apps::CifarKind::kCifar10, 0, test.size()));
}

// ---- PNG

// An image of one value.
inline std::string flat_png(int64_t height, int64_t width, int64_t channels, uint8_t value) {
  return apps::encode_png(
      {height, width, channels, std::vector<uint8_t>(static_cast<size_t>(height * width * channels), value)});
}

inline std::string noise_png(int64_t height, int64_t width, int64_t channels) {
  const std::string pixels = noise(static_cast<size_t>(height * width * channels));
  return apps::encode_png({height, width, channels, {pixels.begin(), pixels.end()}});
}

// The file with the checksum of every chunk made right.
inline std::string png_with_right_checksums(std::string png) {
  constexpr size_t kSignature = 8, kRest = 12;  // bytes; of a chunk besides its data
  const auto bytes = [&](size_t at) { return reinterpret_cast<Bytef*>(png.data()) + at; };
  for (size_t at = kSignature; at + kRest <= png.size();) {
    const size_t length = size_t{bytes(at)[0]} << 24 | size_t{bytes(at)[1]} << 16 |
                          size_t{bytes(at)[2]} << 8 | size_t{bytes(at)[3]};
    if (length > png.size() - at - kRest) break;
    const uLong sum = crc32(0, bytes(at + 4), static_cast<uInt>(length + 4));
    png.replace(at + 8 + length, 4, big_endian(static_cast<uint32_t>(sum)));
    at += kRest + length;
  }
  return png;
}

// A PNG file of rows given as libpng wants them (so of any depth and colour type).
inline std::string png_of(int width, int height, int depth, int colour, const std::vector<uint8_t>& bytes,
                          const std::vector<png_color>& palette = {},
                          const std::vector<uint8_t>& transparent = {}, int interlace = PNG_INTERLACE_NONE) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep data, size_t size) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), size);
      },
      [](png_structp) {});
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), depth, colour,
               interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  if (!transparent.empty())
    png_set_tRNS(png, info, transparent.data(), static_cast<int>(transparent.size()), nullptr);
  png_write_info(png, info);
  std::vector<png_bytep> rows;
  const size_t row_size = png_get_rowbytes(png, info);
  for (int y = 0; y < height; ++y)
    rows.push_back(const_cast<png_bytep>(bytes.data()) + static_cast<size_t>(y) * row_size);
  png_write_image(png, rows.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

// ---- JPEG

inline std::string jpeg_of(const apps::Image& image, J_COLOR_SPACE space, int quality = 100) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = static_cast<int>(image.channels);
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  for (int64_t y = 0; y < image.height; ++y) {
    JSAMPROW row = const_cast<JSAMPROW>(image.pixels.data()) + y * image.width * image.channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string bytes(reinterpret_cast<char*>(buffer), size);
  jpeg_destroy_compress(&info);
  std::free(buffer);
  return bytes;
}

// The same row of noise again and again, in colour.
inline std::string noise_jpeg(int64_t height, int64_t width) {
  const std::string row = noise(static_cast<size_t>(3 * width));
  apps::Image image{height, width, 3, {}};
  for (int64_t y = 0; y < height; ++y) image.pixels.insert(image.pixels.end(), row.begin(), row.end());
  return jpeg_of(image, JCS_RGB, 75);  // libjpeg's own quality
}

}  // namespace pergrad::test
