// safetensors: what is accepted lies in the file and is written again to a file that says the same.
#include "apps/safetensors.h"
#include "tests/fuzz/target.h"

#include <cstring>

namespace pergrad::fuzz {

std::vector<std::string> seeds() {
  const std::string data(96, 'x');
  const auto part = [&](size_t size) { return std::string_view(data).substr(0, size); };
  using apps::ArrayType;
  return {apps::safetensors_bytes({}, {}),
          apps::safetensors_bytes({{"a", ArrayType::f32, {2, 3}, part(24)}}, {{"k", "v"}}),
          apps::safetensors_bytes({{"d", ArrayType::f64, {}, part(8)},
                                   {"i", ArrayType::i64, {3}, part(24)},
                                   {"u", ArrayType::u8, {7}, part(7)},
                                   {"none", ArrayType::f32, {0, 9223372036854775807}, ""}},
                                  {{"text", "\"\\ \n \xC3\xA9"}, {"", ""}})};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  const auto read = [](std::string bytes) {
    // Mutations change the header's length: it is made right where it cannot be.
    if (bytes.size() >= 8 && bytes.size() < 1u << 20) {
      uint64_t length = 0;
      std::memcpy(&length, bytes.data(), 8);
      const size_t end = bytes.rfind('}');
      if (length > bytes.size() && end != std::string::npos && end > 8) {
        length = end - 7;
        std::memcpy(bytes.data(), &length, 8);
      }
    }
    return apps::Safetensors(std::move(bytes), "model");
  };
  std::vector<apps::NamedArray> arrays;
  const std::string bytes(fuzz::text_of(data, size));
  fuzz::accepts([&] { apps::Safetensors(bytes, "model"); });
  fuzz::accepts([&] {
    const apps::Safetensors file = read(bytes);
    for (const auto& entry : file.entries())
      arrays.push_back({entry.name, entry.type, entry.shape, file.bytes_of(entry)});
    const apps::Safetensors again(apps::safetensors_bytes(arrays, file.metadata()), "again");
    fuzz::require(again.metadata() == file.metadata() && again.entries().size() == file.entries().size(),
                  "what was read is written as something else");
    for (const auto& entry : file.entries())
      fuzz::require(again.bytes_of(*again.find(entry.name)) == file.bytes_of(entry), "other bytes");
  });
  return 0;
}
