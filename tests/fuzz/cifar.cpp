// CIFAR files. Input: a byte whose lowest bits say which kind, then as many bytes of label names as the next
// byte says, then records.
#include "apps/data_cifar.h"
#include "tests/apps/data_fixture.h"
#include "tests/fuzz/target.h"

namespace pergrad::fuzz {

std::vector<std::string> seeds() {
  const std::string names = "cat\ndog\r\n\n a b \nfrog";
  return {std::string("\0\0", 2) + test::cifar_noise(), std::string("\1\0", 2) + test::cifar_noise("\3"),
          std::string("\2\0", 2) + test::cifar_noise("\3"),
          std::string("\0", 1) + static_cast<char>(names.size()) + names + test::cifar_noise(),
          std::string("\1", 1) + static_cast<char>(names.size()) + names + test::cifar_noise("\2")};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  if (size < 2) return 0;
  constexpr apps::CifarKind kinds[] = {apps::CifarKind::kCifar10, apps::CifarKind::kCifar100Fine,
                                       apps::CifarKind::kCifar100Coarse};
  const apps::CifarKind kind = kinds[data[0] % 3];
  const std::string_view rest = fuzz::text_of(data, size).substr(2);
  const size_t length = std::min<size_t>(data[1], rest.size());
  const auto names_file = fuzz::folder().file(apps::cifar_names_file(kind), rest.substr(0, length));
  const auto records = fuzz::folder().file("records.bin", rest.substr(length));
  if (length == 0) std::filesystem::remove(names_file);
  Dataset read;
  if (!fuzz::accepts([&] {
        read = apps::read_cifar({records}, kind, apps::read_cifar_names(names_file.parent_path(), kind));
      }))
    return 0;
  fuzz::require(static_cast<int64_t>(read.pixels.size()) == read.size() * apps::kCifarPixels,
                "pixels that do not fit the labels");
  for (const int32_t label : read.labels)
    fuzz::require(0 <= label && label < read.label_count, "a label out of range");
  return 0;
}
