// info.
#include "apps/info.h"

#include "core/conv.h"
#include "core/device.h"

#include <CLI/Version.hpp>
#include <fmt/format.h>
#include <jpeglib.h>
#include <omp.h>
#include <openssl/crypto.h>
#include <png.h>
#include <toml++/toml.h>
#include <zlib.h>

namespace pergrad::apps {

InfoResult info() {
  InfoResult result;
  result.json = {
      {"version", PG_VERSION},
      {"compiler", __VERSION__},
      {"cuda", false},
      {"devices", nlohmann::ordered_json::array({{{"name", "cpu"},
                                                  {"threads", omp_get_num_procs()},
                                                  {"instruction_set", conv_instruction_set()}}})},
      {"libraries",
       {{"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
        {"nlohmann_json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                      NLOHMANN_JSON_VERSION_PATCH)},
        {"tomlplusplus", fmt::format("{}.{}.{}", TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH)},
        {"cli11", CLI11_VERSION},
        {"zlib", zlibVersion()},
        {"libpng", png_get_libpng_ver(nullptr)},
        {"libjpeg", fmt::format("{}", JPEG_LIB_VERSION)},
        {"openssl", OpenSSL_version(OPENSSL_VERSION)}}}};
  result.text = fmt::format(
      "pergrad {} (g++ {})\n  cpu        {} threads, {} kernels\n  cuda       not in this build\n",
      PG_VERSION, __VERSION__, omp_get_num_procs(), conv_instruction_set());
  for (const auto& [name, version] : result.json["libraries"].items())
    result.text += fmt::format("  {:<13} {}\n", name, version.get<std::string>());
  return result;
}

}  // namespace pergrad::apps
