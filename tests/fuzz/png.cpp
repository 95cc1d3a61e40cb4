// PNG files, as they are and with the checksum of every chunk made right, so that mutations reach what is in
// them.
#include "tests/apps/data_fixture.h"
#include "tests/fuzz/images.h"

namespace pergrad::fuzz {
namespace {

constexpr size_t kHead = 8;  // bytes of the signature

// Its size says 4096 x 16384 pixels of 16 bits with alpha; its data are those of 8 x 12.
std::string claims_much(std::string png) {
  png.replace(kHead + 8, 10, test::big_endian(4096) + test::big_endian(16384) + "\x10\x06");
  return test::png_with_right_checksums(png);
}

}  // namespace

std::vector<std::string> seeds() {
  const std::vector<uint8_t> bytes(200, 0x5A);
  const std::vector<png_color> palette = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, 12}};
  return {test::noise_png(8, 12, 3),
          test::noise_png(5, 3, 1),
          test::png_of(5, 4, 2, PNG_COLOR_TYPE_PALETTE, bytes, palette, {0, 128}),
          test::png_of(5, 4, 1, PNG_COLOR_TYPE_GRAY, bytes),
          test::png_of(5, 4, 16, PNG_COLOR_TYPE_RGB_ALPHA, bytes, {}, {}, PNG_INTERLACE_ADAM7),
          test::png_of(5, 4, 8, PNG_COLOR_TYPE_GRAY_ALPHA, bytes),
          claims_much(test::noise_png(8, 12, 3))};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad::fuzz;
  decode(text_of(data, size));
  if (size > kHead) decode(pergrad::test::png_with_right_checksums(std::string(text_of(data, size))));
  return 0;
}
