// Atomic files: old or new, never half; nothing left behind; one line that says why.
#include "apps/atomic_file.h"
#include "core/error.h"
#include "tests/apps/temp_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>

namespace fs = std::filesystem;
using testing::HasSubstr;

namespace pergrad::apps {
namespace {

using namespace test;

class AtomicFile : public testing::Test {
 protected:
  int64_t entries() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }
  static std::string message_of(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  const TempFolder folder_;
};

TEST_F(AtomicFile, WritesAndReplaces) {
  const fs::path path = folder_ / "a";
  const std::string bytes("one\0two\n", 8);
  write_file_atomically(path, bytes);
  EXPECT_EQ(read_file(path), bytes);
  write_file_atomically(path, std::string_view{});
  EXPECT_EQ(read_file(path), "");
  const std::vector<uint8_t> numbers = {0, 255, 10};
  write_file_atomically(path, numbers);
  EXPECT_EQ(read_file(path), std::string("\0\xFF\n", 3));
  EXPECT_EQ(entries(), 1);
}

TEST_F(AtomicFile, KeepsModeAndFollowsLinks) {
  const fs::path path = folder_ / "a", link = folder_ / "link";
  write_file_atomically(path, std::string_view("old"));
  fs::permissions(path, fs::perms{0640});
  fs::create_symlink("a", link);
  write_file_atomically(link, std::string_view("new"));
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms{0640});
}

// A limit on the size of files stands in for a full disk: write() fails after a part was written.
TEST_F(AtomicFile, KeepsOldFileWhenThereIsNoRoom) {
  const fs::path path = folder_ / "a";
  write_file_atomically(path, std::string_view("old"));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of([&] { write_file_atomically(path, std::string(5000, 'x')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, "cannot write " + path.native() + ": File too large");
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(AtomicFile, SaysWhyItCannot) {
  const fs::path file = folder_ / "file", sub = folder_ / "sub";
  write_file_atomically(file, std::string_view("x"));
  fs::create_directory(sub);
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "no" / "a", std::string_view("x")); }),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(message_of([&] { write_file_atomically(file / "a", std::string_view("x")); }),
              HasSubstr("Not a directory"));
  EXPECT_THAT(message_of([&] { write_file_atomically(sub, std::string_view("x")); }),
              HasSubstr("is not a regular file"));
  EXPECT_EQ(message_of([&] { read_file(folder_ / "none"); }),
            "cannot open " + (folder_ / "none").native() + ": No such file or directory");
  EXPECT_EQ(message_of([&] { read_file(sub); }), "cannot read " + sub.native() + ": Is a directory");
  EXPECT_EQ(message_of([&] { read_file("/dev/zero"); }),
            "/dev/zero: is a device, which may have no end; wanted a file");
  EXPECT_THAT(message_of([&] { write_new_file(file, "y"); }), HasSubstr("File exists"));
  EXPECT_EQ(read_file(file), "x");
  EXPECT_EQ(entries(), 2);
}

TEST_F(AtomicFile, SaysThatItMayNot) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(folder_.path(), fs::perms{0500});
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "a", std::string_view("x")); }),
              HasSubstr("Permission denied"));
  fs::permissions(folder_.path(), fs::perms{0700});
}

TEST(DataPrintable, IsOneLineOfUtf8) {
  EXPECT_EQ(printable("plain \xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82"),
            "plain \xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82");
  EXPECT_EQ(printable("a\nb\tc\x7F"), "a\\x0ab\\x09c\\x7f");
  EXPECT_EQ(printable("\xFF\xC3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xC0\xAF"), "\\xc0\\xaf");                             // overlong
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");                    // surrogate
  EXPECT_EQ(printable("\xC2\x85\xE2\x80\xA8"), "\\xc2\\x85\\xe2\\x80\\xa8");  // line ends of Unicode
}

}  // namespace
}  // namespace pergrad::apps
