// safetensors: named arrays in one file. 8 bytes little endian: length of the header; the header: JSON; the
// bytes of the arrays, one after the other, without gaps.
//
// Strict both ways: what is not exactly this is refused in one line, and no memory is asked for a size that
// a file merely claims.   Source: github.com/huggingface/safetensors, README, "Format".
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pergrad::apps {

enum class ArrayType { f32, f64, i64, u8 };
size_t size_of(ArrayType type);
const char* name_of(ArrayType type);  // "F32"

// An array to be written; `bytes` little endian, in row-major order.
struct NamedArray {
  std::string name;
  ArrayType type = ArrayType::f32;
  Shape shape;
  std::string_view bytes;
};

// The bytes of a file. Arrays of 8-byte elements come first, then 4, then 1 (so that all are aligned), else
// in the order given.
//   THROWS: Error for a name twice, a size that does not fit the shape, text that is not UTF-8.
std::string safetensors_bytes(std::vector<NamedArray> arrays,
                              const std::map<std::string, std::string>& metadata);

// A file that was read.
class Safetensors {
 public:
  struct Entry {
    std::string name;
    ArrayType type;
    Shape shape;
    size_t begin, end;  // in the bytes of the file
  };
  // `name` stands for the file in messages.   THROWS: FormatError.
  Safetensors(std::string bytes, const std::string& name);

  const std::string& name() const { return name_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // In the order of their bytes.
  const std::vector<Entry>& entries() const { return entries_; }
  // nullptr if there is none.
  const Entry* find(const std::string& name) const;
  std::string_view bytes_of(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.begin, entry.end - entry.begin);
  }
  // An array of F32 of exactly this shape.   THROWS: FormatError saying what is there instead.
  std::vector<float> floats(const std::string& name, const Shape& shape) const;
  // The whole file.
  const std::string& file() const { return bytes_; }

 private:
  std::string bytes_, name_;
  std::map<std::string, std::string> metadata_;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> index_;
};

}  // namespace pergrad::apps
