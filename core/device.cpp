// Names of devices.
#include "core/device.h"

#include "core/error.h"

#include <charconv>

namespace pergrad {

std::string Device::name() const {
  switch (kind) {
    case Kind::cpu:
      return "cpu";
    case Kind::emulated:
      return "emulated";
    case Kind::planning:
      return "planning";
    case Kind::cuda:
      break;
  }
  return concat("cuda:", index);
}

Device Device::parse(const std::string& text) {
  if (text == "cpu") return {};
  if (text == "emulated") return {Kind::emulated, 0};
  if (text == "planning") return {Kind::planning, 0};
  if (text == "cuda") return {Kind::cuda, 0};
  if (text.starts_with("cuda:")) {
    int index = -1;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + 5, end, index);
    if (error == std::errc() && rest == end && index >= 0) return {Kind::cuda, index};
  }
  throw Error(concat("device: got \"", text, "\", wanted cpu, cuda, cuda:<index> or emulated"));
}

}  // namespace pergrad
