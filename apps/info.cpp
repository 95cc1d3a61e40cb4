// info.
#include "apps/info.h"

#include "apps/console.h"
#include "core/cpu.h"
#include "core/device.h"
#include "core/gpu/gpu.h"

#include <CLI/Version.hpp>
#include <fmt/format.h>
#include <jpeglib.h>
#include <omp.h>
#include <openssl/crypto.h>
#include <png.h>
#include <toml++/toml.h>
#include <zlib.h>

namespace pergrad::apps {

using Json = nlohmann::ordered_json;

InfoResult info() {
  InfoResult result;
  result.json = {
      {"version", PG_VERSION},
      {"compiler", __VERSION__},
      {"cuda", cuda_versions()},
      {"devices", nlohmann::ordered_json::array({{{"name", "cpu"},
                                                  {"threads", omp_get_num_procs()},
                                                  {"instruction_set", instruction_set_name()}}})},
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
  result.text = fmt::format("pergrad {} (g++ {})\n  {:<13} {} threads, {} kernels\n  {:<13} {}\n", PG_VERSION,
                            __VERSION__, "cpu", omp_get_num_procs(), instruction_set_name(), "cuda",
                            cuda_versions() == "none" ? "not in this build" : cuda_versions());
  for (int i = 0; i < cuda_device_count(); ++i) {
    Json device{{"name", Device{Device::Kind::cuda, i}.name()}};
    try {
      const Gpu& gpu = Gpu::of({Device::Kind::cuda, i});
      device["title"] = gpu.title();
      device["memory_bytes"] = gpu.memory().total;
      result.text += fmt::format("  {:<13} {}, {}\n", gpu.device().name(), gpu.title(),
                                 bytes_text(static_cast<double>(gpu.memory().total)));
    } catch (const DeviceError& error) {
      device["refused"] = error.what();
      result.text += fmt::format("  {:<13} {}\n", device["name"].get<std::string>(), error.what());
    }
    result.json["devices"].push_back(device);
  }
  if (cuda_versions() != "none" && cuda_device_count() == 0)
    result.text += fmt::format("  {:<13} no NVIDIA GPU is found\n", "");
  for (const auto& [name, version] : result.json["libraries"].items())
    result.text += fmt::format("  {:<13} {}\n", name, version.get<std::string>());
  return result;
}

}  // namespace pergrad::apps
