// A private training that takes half a second, as a user would start it: data, config, and the program.
#pragma once

#include "core/rng.h"

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pergrad::audit {

inline constexpr const char* kToyData = "pergrad-toy-data";

// Four classes of grey images 12 x 12, a bright quarter each, on noise: so many to train with and 48 to test,
// as plain idx files in ROOT/pergrad-toy-data. The config names no root: with --data-root the same config has
// other data.
void write_toy_data(const std::filesystem::path& root, const Key& random, int64_t images);
// Changes one pixel in each of the first so many training images.
void change_images(const std::filesystem::path& root, int64_t images);

struct ToySettings {
  int64_t images = 200;
  int64_t expected_batch = 20;
  int64_t steps = 80;
  int64_t checkpoint_every = 4;
  uint64_t seed = 1;
  std::string noise_source = "reproducible";
  std::string optimizer = "sgd";  // with momentum, or "adam"
};
// The text of a config: a small convolutional net, several views, an average of the weights, one thread.
std::string toy_config(const ToySettings& settings);

// How a process of the program ended, and what it printed.
struct Outcome {
  int status = -1;           // exit status; -1 if a signal ended it
  int signal = 0;            // that ended it, or 0
  bool late = false;         // it took longer than it may, and was killed for that
  std::string output;        // standard output and error
  std::string text() const;  // all of it in one line, for messages
};

// A process of the program. Whatever happens it is gone, and waited for, when the object is.
class Child {
 public:
  // `log`: the file for its output. file_limit: no file of it grows beyond so many bytes, as on a full disk.
  // traced: it waits for kill_before_change.
  Child(const std::filesystem::path& program, const std::vector<std::string>& arguments,
        std::filesystem::path log, std::optional<uint64_t> file_limit = {}, bool traced = false);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) const;
  bool ended();  // does not wait
  // Lets it run until it is about to change its files for the n-th time (from 0: a write, a sync, a rename,
  // ...), and kills it there.   Returns: n, or how many changes it made if it ended before.
  //   REQUIRES: traced; the thread that started it.   THROWS: Error where processes cannot be traced.
  int64_t kill_before_change(int64_t n);
  // Waits; after kPatience since the start it is killed.
  Outcome wait();

  static constexpr std::chrono::seconds kPatience{30};

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
  int state_ = 0;
  std::filesystem::path log_;
  std::chrono::steady_clock::time_point begin_;
};

// Small helpers: "" and an empty list where there is no such file.
std::string text_of_file(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);
std::vector<std::string> lines_of(const std::string& text);  // whole ones, each with its newline
void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace pergrad::audit
