// ScratchFolder: an empty folder that goes with its owner.
#pragma once

#include "core/error.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace pergrad::apps {

// In memory if there is such a place: an audit writes a million ledger lines and syncs each. With
// Where::disk it is in the folder for temporary files, where syncing costs what it costs a run.
class ScratchFolder {
 public:
  enum class Where { memory, disk };
  explicit ScratchFolder(Where where = Where::memory) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const bool memory =
        where == Where::memory && fs::is_directory("/dev/shm", ignored) && ::access("/dev/shm", W_OK) == 0;
    std::string name =
        ((memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "pergrad-XXXXXX").string();
    PG_CHECK(::mkdtemp(name.data()) != nullptr, "no folder can be made at ", name);
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace pergrad::apps
