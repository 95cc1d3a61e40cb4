// Errors: what was got and what was wanted, in one line.
//
// Error         the caller (in the end: the user) got something wrong; the program prints the line, exits 2
// FormatError   a file or a config is not what it says it is; exits 2
// DeviceError   a device, driver or library refused; exits 2
// PrivacyError  going on would void the guarantee, or a privacy check failed; exits 3
// std::bad_alloc exits 2, too. Anything else that is thrown (std::logic_error) is our fault; exits 1.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace pergrad {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
class FormatError : public Error {
  using Error::Error;
};
class DeviceError : public Error {
  using Error::Error;
};
class PrivacyError : public Error {
  using Error::Error;
};

// The arguments written one after the other, as operator<< writes them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace pergrad

// PG_CHECK(condition, "op: what: got ", a, ", wanted ", b) throws Error; the _AS form another type.
#define PG_CHECK_AS(Type, condition, ...)                         \
  do {                                                            \
    if (!(condition)) throw Type(::pergrad::concat(__VA_ARGS__)); \
  } while (false)
#define PG_CHECK(condition, ...) PG_CHECK_AS(::pergrad::Error, condition, __VA_ARGS__)
