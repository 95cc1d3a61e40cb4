// F14: a system without entropy. The C library's getrandom is replaced for this test program.
#include "core/rng.h"
#include "tests/apps/run_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>

namespace {
bool entropy_fails = false;
int entropy_error = 0;      // errno, or
ssize_t entropy_given = 0;  // so few bytes
}  // namespace

extern "C" ssize_t getrandom(void* to, size_t size, unsigned flags) {
  if (!entropy_fails) return syscall(SYS_getrandom, to, size, flags);
  errno = entropy_error;
  return entropy_error ? -1 : entropy_given;
}

namespace pergrad::apps {
namespace {

// Every way in which it can fail: no key, no file that looks like one, and a run that starts later.
TEST(Entropy, WithoutItNothingStarts) {
  struct Case {
    int error;
    ssize_t given;
  };
  for (const Case c : {Case{ENOSYS, 0},
                       {EINTR, 0},
                       {EAGAIN, 0},
                       {EFAULT, 0},
                       {EPERM, 0},
                       {EINVAL, 0},
                       {0, 0},
                       {0, 1},
                       {0, 16},
                       {0, 31}}) {
    const TempFolder tmp;
    {
      RunFolder run = kept_run(tmp / "run", good_config("secure"));
      entropy_fails = true, entropy_error = c.error, entropy_given = c.given;
      EXPECT_THROW(key_from_entropy(), PrivacyError) << c.error << ' ' << c.given;
      EXPECT_THROW(run.run_key("data"), PrivacyError) << c.error << ' ' << c.given;
      entropy_fails = false;
      EXPECT_FALSE(fs::exists(tmp / "run/run.key"));
      EXPECT_FALSE(fs::exists(tmp / "run/run.json"));
      EXPECT_NO_THROW(run.run_key("data"));
    }
    // A reproducible run asks for none.
    entropy_fails = true;
    EXPECT_NO_THROW(kept_run(tmp / "other", good_config()).run_key("data"));
    entropy_fails = false;
  }
}

}  // namespace
}  // namespace pergrad::apps
