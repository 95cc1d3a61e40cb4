// Writing, and reading with suspicion.
#include "apps/safetensors.h"

#include "apps/atomic_file.h"
#include "core/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <set>

static_assert(std::endian::native == std::endian::little, "safetensors are little endian");

namespace pergrad::apps {
namespace {

using Json = nlohmann::ordered_json;

struct TypeRow {
  ArrayType type;
  const char* name;
  size_t size;
};
constexpr std::array<TypeRow, 4> kTypes = {{{ArrayType::f32, "F32", 4},
                                            {ArrayType::f64, "F64", 8},
                                            {ArrayType::i64, "I64", 8},
                                            {ArrayType::u8, "U8", 1}}};

const TypeRow& row_of(ArrayType type) { return kTypes.at(static_cast<size_t>(type)); }

constexpr size_t kLengthBytes = 8;
// The reference implementation's own limit.
constexpr uint64_t kMostHeader = 100'000'000;

// Bytes of an array; nothing if that is more than `most`.
std::optional<size_t> bytes_within(const Shape& shape, size_t element, size_t most) {
  size_t bytes = element;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    const auto factor = static_cast<size_t>(extent);
    if (factor == 0) return 0;  // extents behind it cannot matter
    if (bytes > most / factor) return std::nullopt;
    bytes *= factor;
  }
  return bytes;
}

// Reads the header; every refusal names the file and the array.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  template <class... Parts>
  void check(bool condition, const Parts&... parts) const {
    PG_CHECK_AS(FormatError, condition, file_, ": not a safetensors file: ", parts...);
  }

  Json parse(std::string_view text) const {
    // Depth 2 is the deepest there is; a name twice would silently hide the first one.
    std::vector<std::set<std::string>> names;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
      check(depth <= 4, "the header is nested too deeply");
      if (event == Json::parse_event_t::object_start) names.emplace_back();
      if (event == Json::parse_event_t::object_end) names.pop_back();
      if (event == Json::parse_event_t::key) {
        const auto key = value.get<std::string>();
        check(names.back().insert(key).second, "\"", printable(key), "\" is there twice");
      }
      return true;
    };
    try {
      return Json::parse(text, watch);
    } catch (const Json::exception&) {
      check(false, "the header is not JSON");
      throw;
    }
  }

  Safetensors::Entry entry(const std::string& name, const Json& json, size_t data_begin,
                           size_t data_size) const {
    const std::string shown_name = printable(name);
    check(json.is_object(), '"', shown_name, "\" is not an object");
    const auto member = [&](const char* key) -> const Json& {
      const auto found = json.find(key);
      check(found != json.end(), '"', shown_name, "\" has no ", key);
      return *found;
    };
    const Json &dtype = member("dtype"), &shape = member("shape"), &offsets = member("data_offsets");
    check(json.size() == 3, '"', shown_name, "\" has more than dtype, shape and data_offsets");
    Safetensors::Entry entry{name, ArrayType::f32, {}, 0, 0};

    check(dtype.is_string(), '"', shown_name, "\": dtype is not a string");
    const auto* row = std::ranges::find_if(kTypes, [&](const TypeRow& r) { return dtype == r.name; });
    check(row != kTypes.end(), '"', shown_name, "\": dtype is ", printable(dtype.get<std::string>()),
          ", wanted F32, F64, I64 or U8");
    entry.type = row->type;

    check(shape.is_array() && shape.size() <= Shape::kMost, '"', shown_name,
          "\": shape is not a list of at most ", Shape::kMost, " numbers");
    for (const Json& extent : shape) {
      check(extent.is_number_unsigned() && extent.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX), '"',
            shown_name, "\": shape is not a list of numbers >= 0");
      entry.shape.push_back(extent.get<int64_t>());
    }

    check(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
              offsets[1].is_number_unsigned(),
          '"', shown_name, "\": data_offsets are not two numbers >= 0");
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    check(begin <= end && end <= data_size, '"', shown_name, "\": data_offsets [", begin, ", ", end,
          "] do not fit into ", data_size, " bytes");
    const std::optional<size_t> bytes = bytes_within(entry.shape, row->size, data_size);
    check(bytes && *bytes == end - begin, '"', shown_name, "\": ", end - begin, " bytes for shape ",
          to_string(entry.shape), " of ", row->name);
    check(begin % row->size == 0, '"', shown_name, "\": starts at byte ", begin, ", wanted a multiple of ",
          row->size);
    entry.begin = data_begin + begin;
    entry.end = data_begin + end;
    return entry;
  }

 private:
  const std::string& file_;
};

}  // namespace

size_t size_of(ArrayType type) { return row_of(type).size; }
const char* name_of(ArrayType type) { return row_of(type).name; }

std::string safetensors_bytes(std::vector<NamedArray> arrays,
                              const std::map<std::string, std::string>& metadata) {
  std::ranges::stable_sort(arrays, std::ranges::greater{}, [](const auto& a) { return size_of(a.type); });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t size = 0;
  for (const NamedArray& array : arrays) {
    PG_CHECK(array.name != "__metadata__" && !header.contains(array.name), "safetensors: \"",
             printable(array.name), "\" twice, or not a name");
    const auto bytes = bytes_within(array.shape, size_of(array.type), array.bytes.size());
    PG_CHECK(bytes && *bytes == array.bytes.size(), "safetensors: \"", printable(array.name), "\" has ",
             array.bytes.size(), " bytes for shape ", to_string(array.shape));
    header[array.name] = {{"dtype", name_of(array.type)},
                          {"shape", array.shape},
                          {"data_offsets", {size, size + array.bytes.size()}}};
    size += array.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw Error("safetensors: a name or text is not UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');  // arrays start at a multiple of 8
  PG_CHECK(text.size() <= kMostHeader, "safetensors: header of ", text.size(), " bytes, wanted at most ",
           kMostHeader);
  std::string out(kLengthBytes, '\0');
  const auto length = static_cast<uint64_t>(text.size());
  std::memcpy(out.data(), &length, kLengthBytes);
  out.reserve(kLengthBytes + text.size() + size);
  out += text;
  for (const NamedArray& array : arrays) out += array.bytes;
  return out;
}

Safetensors::Safetensors(std::string bytes, const std::string& name) : bytes_(std::move(bytes)), name_(name) {
  const HeaderReader reader(name);
  reader.check(bytes_.size() >= kLengthBytes, bytes_.size(), " bytes, wanted at least ", kLengthBytes);
  uint64_t length = 0;
  std::memcpy(&length, bytes_.data(), kLengthBytes);
  reader.check(length <= kMostHeader, "header of ", length, " bytes, wanted at most ", kMostHeader);
  reader.check(length <= bytes_.size() - kLengthBytes, "header of ", length, " bytes in a file of ",
               bytes_.size());
  const std::string_view text(bytes_.data() + kLengthBytes, length);
  reader.check(text.starts_with('{'), "the header does not start with {");
  const Json header = reader.parse(text);

  const size_t data_begin = kLengthBytes + length, data_size = bytes_.size() - data_begin;
  for (const auto& [key, value] : header.items()) {
    if (key != "__metadata__") {
      entries_.push_back(reader.entry(key, value, data_begin, data_size));
      continue;
    }
    reader.check(value.is_object(), "__metadata__ is not an object");
    for (const auto& [name_of_text, entry] : value.items()) {
      reader.check(entry.is_string(), "__metadata__: \"", printable(name_of_text), "\" is not a string");
      metadata_[name_of_text] = entry.get<std::string>();
    }
  }
  std::ranges::stable_sort(entries_, {}, [](const Entry& e) { return std::pair(e.begin, e.end); });
  size_t expected = data_begin;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    reader.check(entry.begin == expected, '"', printable(entry.name), "\" starts at byte ",
                 entry.begin - data_begin, " of the data, wanted ", expected - data_begin,
                 " (gap or overlap)");
    expected = entry.end;
    index_[entry.name] = i;
  }
  reader.check(expected == bytes_.size(), bytes_.size() - expected, " bytes behind the last array");
}

const Safetensors::Entry* Safetensors::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

std::vector<float> Safetensors::floats(const std::string& name, const Shape& shape) const {
  const Entry* entry = find(name);
  PG_CHECK_AS(FormatError, entry, name_, ": \"", name, "\" is missing, wanted ", to_string(shape));
  PG_CHECK_AS(FormatError, entry->type == ArrayType::f32, name_, ": \"", name, "\" is ", name_of(entry->type),
              ", wanted F32");
  PG_CHECK_AS(FormatError, entry->shape == shape, name_, ": \"", name, "\" is ", to_string(entry->shape),
              ", the model has ", to_string(shape));
  const std::string_view bytes = bytes_of(*entry);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace pergrad::apps
