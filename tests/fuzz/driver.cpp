// Runs one fuzz target without clang: its seeds, then mutations of them, the same ones every time.
//   fuzz_TARGET [RUNS [FIRST]]     mutations FIRST, FIRST + 1, ... (2000 from 0)
//   fuzz_TARGET --seeds FOLDER     writes the seeds as files, for libFuzzer
// A target that goes wrong ends the program; the input is left in fuzz-TARGET.input, and the line that was
// printed last says which one it was.
#include "core/philox.h"
#include "tests/fuzz/target.h"

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>

namespace pergrad::fuzz {
namespace {

constexpr size_t kLongest = 1 << 16;             // bytes of an input
#if !defined(PG_SANITIZED)                       // sanitizers map and keep much more than the target uses
constexpr rlim_t kMostMemory = rlim_t{2} << 30;  // bytes that the program may map, libraries included
constexpr int64_t kMostResident = int64_t{700} << 10;  // KiB that it may have used at most, when it is done
#endif
constexpr unsigned kMostSeconds = 20;  // of one input, however slow the machine

std::string input_file;
const std::string* current = nullptr;  // the input that runs now

// Leaves the input; only calls what a signal handler may.
void leave_input(int signal) {
  std::signal(signal, SIG_DFL);
  if (current) {
    if (std::FILE* out = std::fopen(input_file.c_str(), "wb")) {
      std::fwrite(current->data(), 1, current->size(), out);
      std::fclose(out);
    }
    std::fprintf(stderr, "fuzz: the input is in %s\n", input_file.c_str());
  }
  std::raise(signal);
}

// A number at which readers go wrong, in bytes of one of several forms.
std::string boundary(PhiloxStream& random) {
  constexpr std::array<uint64_t, 14> kNumbers = {0,
                                                 1,
                                                 2,
                                                 0x7F,
                                                 0x80,
                                                 0xFF,
                                                 0x7FFF,
                                                 0xFFFF,
                                                 0x7FFFFFFF,
                                                 0x80000000,
                                                 0xFFFFFFFF,
                                                 0x100000000,
                                                 0x7FFFFFFFFFFFFFFF,
                                                 0xFFFFFFFFFFFFFFFF};
  const uint64_t number = kNumbers[random.below(kNumbers.size())] - (random.below(4) == 0 ? 1 : 0);
  constexpr std::array<const char*, 12> kWords = {"nan", "-1",   "inf",  "1e999", "-0.0",    "{}",
                                                  "[[[", "null", "\"\"", "\n\n",  "\\u0000", "0.1"};
  const uint32_t form = random.below(6);
  if (form == 0) return std::to_string(number);
  if (form == 1) return kWords[random.below(kWords.size())];
  const size_t width = size_t{1} << random.below(4);
  std::string bytes(reinterpret_cast<const char*>(&number), sizeof number);
  bytes.resize(width);
  return form < 4 ? bytes : std::string(bytes.rbegin(), bytes.rend());
}

void mutate(std::string& input, const std::vector<std::string>& all, PhiloxStream& random) {
  const auto place = [&](size_t end) { return random.below(static_cast<uint32_t>(end) + 1); };
  const size_t at = place(input.size()), left = input.size() - at;
  const size_t length = std::min<size_t>(left, random.below(random.below(4) == 0 ? 512 : 16) + 1);
  switch (random.below(8)) {
    case 0:  // a bit
    case 1:
      if (left) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      break;
    case 2:  // a byte
      if (left) input[at] = static_cast<char>(random.next_u32());
      break;
    case 3:  // cut out, or cut off
      random.below(3) ? input.erase(at, length) : input.erase(at);
      break;
    case 4:  // a number in the place of what was there, or between
      input.replace(at, random.below(2) ? length : 0, boundary(random));
      break;
    case 5:  // once more, somewhere
      input.insert(place(input.size()), input.substr(at, length));
      break;
    case 6: {  // a piece of another seed
      const std::string& other = all[random.below(static_cast<uint32_t>(all.size()))];
      const size_t from = place(other.size());
      input.insert(at, other.substr(from, random.below(64)));
      break;
    }
    default:  // the same byte many times
      input.insert(at, random.below(200), static_cast<char>(random.next_u32()));
  }
  if (input.size() > kLongest) input.resize(kLongest);
}

void run_one(const std::string& input) {
  current = &input;
  ::alarm(kMostSeconds);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  ::alarm(0);
  current = nullptr;
}

void write_seeds(const std::filesystem::path& where) {
  std::filesystem::create_directories(where);
  const std::vector<std::string> all = seeds();
  for (size_t i = 0; i < all.size(); ++i)
    std::ofstream(where / ("seed-" + std::to_string(i)), std::ios::binary) << all[i];
}

int drive(int64_t runs, int64_t first) {
  for (const int signal : {SIGABRT, SIGALRM, SIGSEGV, SIGFPE, SIGILL, SIGBUS})
    std::signal(signal, leave_input);
#if !defined(PG_SANITIZED)
  const rlimit memory{kMostMemory, kMostMemory};
  require(::setrlimit(RLIMIT_AS, &memory) == 0, "no limit of memory");
#endif
  const std::vector<std::string> all = seeds();
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& seed : all) run_one(seed);
  for (int64_t i = first; i < first + runs; ++i) {
    PhiloxStream random(20261126, static_cast<uint64_t>(i));
    std::string input = all[random.below(static_cast<uint32_t>(all.size()))];
    for (uint32_t changes = random.below(4) + 1; changes > 0; --changes) mutate(input, all, random);
    run_one(input);
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "%zu seeds, %lld mutations, %.1f s, at most %ld MiB\n", all.size(), static_cast<long long>(runs),
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), usage.ru_maxrss >> 10);
#if !defined(PG_SANITIZED)
  require(usage.ru_maxrss <= kMostResident, "too much memory was used");
#endif
  return 0;
}

}  // namespace
}  // namespace pergrad::fuzz

int main(int argc, char** argv) {
  using namespace pergrad::fuzz;
  input_file = std::filesystem::path(argv[0]).filename().string() + ".input";
  if (argc == 3 && std::strcmp(argv[1], "--seeds") == 0) {
    write_seeds(argv[2]);
    return 0;
  }
  return drive(argc > 1 ? std::atoll(argv[1]) : 2000, argc > 2 ? std::atoll(argv[2]) : 0);
}
