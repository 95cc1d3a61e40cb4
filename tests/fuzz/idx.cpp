// idx files. Input: a byte n, n bytes of labels file, the rest images file; either may be gzipped.
#include "apps/data_idx.h"
#include "tests/apps/data_fixture.h"
#include "tests/fuzz/target.h"

namespace pergrad::fuzz {
namespace {

std::string pair(const std::string& labels, const std::string& images) {
  return static_cast<char>(labels.size()) + labels + images;
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string labels = test::idx_labels(std::string("\0\1\2\3\4\5", 6));
  const std::string images = test::idx_images(6, 4, 5, test::noise(120));
  const std::string huge = test::big_endian(0x803) + test::big_endian(1'000'000'000) +
                           test::big_endian(4096) + test::big_endian(4096);
  return {pair(labels, images), pair(labels, test::gzip(images)),
          pair(test::gzip(labels), test::gzip(images.substr(0, 50)) + test::gzip(images.substr(50))),
          pair(test::big_endian(0x801) + test::big_endian(1'000'000'000) + "abc", huge),
          pair(labels, test::gzip(test::idx_images(6, 64, 64, std::string(6 * 64 * 64, '\0'))))};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  if (size < 1) return 0;
  const std::string_view all = fuzz::text_of(data, size), rest = all.substr(1);
  const size_t length = std::min<size_t>(data[0], rest.size());
  const auto labels = fuzz::folder().file("labels", rest.substr(0, length));
  const auto images = fuzz::folder().file("images", rest.substr(length));
  Dataset read;
  if (!fuzz::accepts([&] { read = apps::read_idx(images, labels); })) return 0;
  fuzz::require(
      read.size() >= 1 && static_cast<int64_t>(read.pixels.size()) == read.size() * read.image_size(),
      "pixels that do not fit the labels");
  for (const int32_t label : read.labels) fuzz::require(0 <= label && label < 10, "a label out of range");
  return 0;
}
