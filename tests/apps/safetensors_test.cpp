// safetensors: the bytes that are written, and that nothing malformed is read.
#include "apps/safetensors.h"
#include "core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace pergrad::apps {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// A file with this header and so many bytes of data.
std::string file_of(const std::string& header, size_t data, std::optional<uint64_t> claimed = {}) {
  const uint64_t length = claimed.value_or(header.size());
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + std::string(data, 'x');
}

std::string_view bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// The format's own words: length, header, data; the header is padded with spaces to a multiple of 8.
TEST(Safetensors, KnownBytes) {
  const std::vector<float> values = {1.0f, -2.0f};
  const std::string bytes = safetensors_bytes({{"a", ArrayType::f32, {2}, bytes_of(values)}}, {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(bytes, std::string({static_cast<char>(padded.size()), 0, 0, 0, 0, 0, 0, 0}) + padded +
                       std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
}

TEST(Safetensors, RoundTrip) {
  const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
  const double pi = 3.14159;
  const int64_t big = -7;
  const std::string doubles(reinterpret_cast<const char*>(&pi), 8);
  const std::string integers(reinterpret_cast<const char*>(&big), 8);
  const Safetensors file(safetensors_bytes({{"bytes", ArrayType::u8, {3}, "abc"},
                                            {"floats", ArrayType::f32, {2, 3}, bytes_of(floats)},
                                            {"none", ArrayType::f32, {0, 5}, ""},
                                            {"scalar", ArrayType::f64, {}, doubles},
                                            {"integers", ArrayType::i64, {1}, integers}},
                                           {{"text", "\"quoted\" and\nlines, \xC3\xA9"}, {"empty", ""}}),
                         "x");
  EXPECT_EQ(file.metadata().at("text"), "\"quoted\" and\nlines, \xC3\xA9");
  EXPECT_EQ(file.metadata().size(), 2u);
  ASSERT_EQ(file.entries().size(), 5u);
  EXPECT_EQ(file.entries()[0].name, "scalar");  // 8-byte elements first
  EXPECT_EQ(file.bytes_of(*file.find("bytes")), "abc");
  EXPECT_EQ(file.bytes_of(*file.find("floats")), bytes_of(floats));
  EXPECT_EQ(file.bytes_of(*file.find("scalar")), doubles);
  EXPECT_EQ(file.bytes_of(*file.find("integers")), integers);
  EXPECT_EQ(file.find("floats")->shape, (Shape{2, 3}));
  EXPECT_EQ(file.find("none")->shape, (Shape{0, 5}));
  EXPECT_EQ(file.find("absent"), nullptr);
  for (const auto& entry : file.entries()) EXPECT_EQ(entry.begin % size_of(entry.type), 0u) << entry.name;
}

TEST(Safetensors, Empty) {
  const Safetensors file(safetensors_bytes({}, {}), "x");
  EXPECT_TRUE(file.entries().empty());
  EXPECT_TRUE(file.metadata().empty());
}

TEST(Safetensors, RefusesToWrite) {
  const auto write = [](const std::vector<NamedArray>& arrays, const std::string& text = "") {
    return [=] { (void)safetensors_bytes(arrays, {{"t", text}}); };
  };
  EXPECT_THAT(write({{"a", ArrayType::f32, {2}, "1234"}}),
              ThrowsMessage<Error>(HasSubstr("4 bytes for shape")));
  EXPECT_THAT(write({{"a", ArrayType::u8, {1}, "1"}, {"a", ArrayType::u8, {1}, "1"}}),
              ThrowsMessage<Error>(HasSubstr("twice")));
  EXPECT_THAT(write({{"a", ArrayType::u8, {-1}, "1"}}), ThrowsMessage<Error>(HasSubstr("1 bytes for shape")));
  EXPECT_THAT(write({}, "\xFF"), ThrowsMessage<Error>(HasSubstr("not UTF-8")));
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* message;
};

TEST(Safetensors, RefusesToRead) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = good;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  ASSERT_NO_THROW(Safetensors(file_of(good, 8), "x"));
  const std::vector<BadFile> cases = {
      {"nothing", "", "0 bytes, wanted at least 8"},
      {"seven bytes", "1234567", "7 bytes, wanted at least 8"},
      {"length beyond the file", file_of(good, 8, 1000), "header of 1000 bytes in a file of"},
      {"length that overflows", file_of(good, 8, UINT64_MAX), "wanted at most"},
      {"length near overflow", file_of(good, 8, UINT64_MAX - 7), "wanted at most"},
      {"length cuts the header", file_of(good, 8, 20), "not JSON"},
      {"length zero", file_of("", 0), "does not start with {"},
      {"not JSON", file_of("{nonsense", 0), "not JSON"},
      {"not UTF-8", file_of("{\"\xFF\":1}", 0), "not JSON"},
      {"an array", file_of("[1]", 0), "does not start with {"},
      {"a space first", file_of(" " + good, 8), "does not start with {"},
      {"text behind the JSON", file_of(good + "x", 8), "not JSON"},
      {"nested deeply", file_of(R"({"a":[[[[[[1]]]]]]})", 0), "nested too deeply"},
      {"name twice", file_of(R"({"a":1,"a":2})", 0), "\"a\" is there twice"},
      {"key twice", file_of(with("\"shape\":[2]", "\"shape\":[2],\"shape\":[2]"), 8),
       "\"shape\" is there twice"},
      {"not an object", file_of(R"({"a":1})", 0), "\"a\" is not an object"},
      {"no dtype", file_of(with("\"dtype\":\"F32\",", ""), 8), "has no dtype"},
      {"no shape", file_of(with("\"shape\":[2],", ""), 8), "has no shape"},
      {"no offsets", file_of(with(",\"data_offsets\":[0,8]", ""), 8), "has no data_offsets"},
      {"one member more", file_of(with("\"shape\"", "\"more\":1,\"shape\""), 8), "more than dtype"},
      {"dtype a number", file_of(with("\"F32\"", "32"), 8), "dtype is not a string"},
      {"dtype unknown", file_of(with("F32", "BF16"), 8), "dtype is BF16, wanted F32"},
      {"shape a number", file_of(with("[2]", "2"), 8), "shape is not a list"},
      {"shape negative", file_of(with("[2]", "[-2]"), 8), "shape is not a list"},
      {"shape a fraction", file_of(with("[2]", "[2.0]"), 8), "shape is not a list"},
      {"shape too large", file_of(with("[2]", "[18446744073709551615]"), 8), "shape is not a list"},
      {"shape overflows", file_of(with("[2]", "[4294967296,4294967296]"), 8), "8 bytes for shape"},
      {"shape overflows to fit", file_of(with("[2]", "[4611686018427387906]"), 8), "8 bytes for shape"},
      {"shape does not fit", file_of(with("[2]", "[3]"), 8), "8 bytes for shape [3]"},
      {"rank 17", file_of(with("[2]", "[2,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"), 8), "shape is not a list"},
      {"offsets reversed", file_of(with("[0,8]", "[8,0]"), 8), "data_offsets [8, 0] do not fit"},
      {"offsets beyond the end", file_of(with("[0,8]", "[0,16]"), 8), "do not fit into 8 bytes"},
      {"offsets negative", file_of(with("[0,8]", "[-8,0]"), 8), "data_offsets are not two numbers"},
      {"three offsets", file_of(with("[0,8]", "[0,8,9]"), 8), "data_offsets are not two numbers"},
      {"offsets huge", file_of(with("[0,8]", "[0,18446744073709551615]"), 8), "do not fit"},
      {"gap at the start", file_of(with("[0,8]", "[4,12]"), 12), "gap or overlap"},
      {"not aligned", file_of(with("[0,8]", "[2,10]"), 10), "wanted a multiple of 4"},
      {"bytes behind", file_of(good, 9), "1 bytes behind the last array"},
      {"bytes missing", file_of(good, 7), "do not fit into 7 bytes"},
      {"overlap",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
               6),
       "gap or overlap"},
      {"same bytes twice",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
               4),
       "gap or overlap"},
      {"metadata a list", file_of(R"({"__metadata__":[]})", 0), "__metadata__ is not an object"},
      {"metadata a number", file_of(R"({"__metadata__":{"a":1}})", 0), "\"a\" is not a string"},
  };
  for (const BadFile& bad : cases)
    EXPECT_THAT(
        [&] { Safetensors(bad.bytes, "model.x"); },
        ThrowsMessage<FormatError>(testing::AllOf(testing::StartsWith("model.x: not a safetensors file: "),
                                                  HasSubstr(bad.message), testing::Not(HasSubstr("\n")))))
        << bad.name;
}

// Any one byte changed, or the end cut off: read as something or refused, never worse.
TEST(Safetensors, SurvivesDamage) {
  const std::vector<float> values(8, 1.0f);
  const std::string good = safetensors_bytes(
      {{"a", ArrayType::f32, {2, 2}, bytes_of({1, 2, 3, 4})}, {"b", ArrayType::f32, {8}, bytes_of(values)}},
      {{"k", "v"}});
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string bad = good;
    bad[random() % bad.size()] = static_cast<char>(random());
    if (i % 3 == 0) bad.resize(random() % bad.size());
    try {
      const Safetensors file(bad, "x");
      for (const auto& entry : file.entries()) EXPECT_LE(file.bytes_of(entry).size(), bad.size());
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
}

}  // namespace
}  // namespace pergrad::apps
