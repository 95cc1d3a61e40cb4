// What the fuzz targets share: what a reader may do with bytes from anywhere, and files that are made of
// them.
//
// A target is one file: LLVMFuzzerTestOneInput, which gives bytes to one reader, and seeds(), sound files
// from which mutations start. driver.cpp runs it with mutations of its own, libFuzzer with those of clang.
#pragma once

#include "apps/atomic_file.h"
#include "core/error.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace pergrad::fuzz {

// Inputs of the target that its reader accepts, and some that once went wrong.
std::vector<std::string> seeds();

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the program: a reader did what it must not.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

// Runs a reader: it returns, or refuses by an Error of one printable line that is not endless. Whatever else
// it throws goes through and is a finding.   Returns whether it accepted.
template <class Reader>
bool accepts(const Reader& reader) {
  constexpr size_t kLongest = 20000;
  try {
    reader();
    return true;
  } catch (const Error& error) {
    const std::string_view line = error.what();
    if (line.empty() || line.size() > kLongest || apps::printable(line) != line)
      fail("a refusal that is not one printable line: " + apps::printable(line.substr(0, kLongest)));
    return false;
  }
}

// A folder in memory, where there is one, that is gone with the program.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::is_directory("/dev/shm") ? std::filesystem::path("/dev/shm")
                                                                  : std::filesystem::temp_directory_path()) /
                       "pergrad-fuzz-XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  // The path of a file that holds these bytes.
  std::filesystem::path file(const std::string& name, std::string_view bytes) const {
    std::filesystem::path path = path_ / name;
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush())
      throw std::runtime_error("cannot write " + path.string());
    return path;
  }
  std::string text(const std::string& name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

 private:
  std::filesystem::path path_;
};

// One for the whole program.
inline const Folder& folder() {
  static const Folder one;
  return one;
}

}  // namespace pergrad::fuzz
