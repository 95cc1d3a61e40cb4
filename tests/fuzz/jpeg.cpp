// JPEG files.
#include "tests/apps/data_fixture.h"
#include "tests/fuzz/images.h"

namespace pergrad::fuzz {
namespace {

// Its size says 16384 x 4096 pixels, the largest that is taken; its data are those of 8 x 12.
std::string claims_much(std::string jpeg) {
  const size_t frame = jpeg.find("\xFF\xC0");
  return jpeg.replace(frame + 5, 4, std::string("\x40\x00\x10\x00", 4));
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string colour = test::noise_jpeg(8, 12);
  const apps::Image grey{9, 7, 1, std::vector<uint8_t>(63, 100)};
  return {colour, test::noise_jpeg(33, 17), test::jpeg_of(grey, JCS_GRAYSCALE, 80), claims_much(colour)};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pergrad::fuzz::decode(pergrad::fuzz::text_of(data, size));
  return 0;
}
