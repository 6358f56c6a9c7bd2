#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>

#include "tests/support/status.h"

/// Random columns for the property tests of this module.
namespace gnomon::table::test {

using gnomon::test::ValueOf;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  uint64_t Bits() { return engine_(); }
  /// Bytes that are valid UTF-8, with quotes, separators, newlines and letters of several bytes.
  std::string Text() {
    static const std::vector<std::string> kLetters = {"a",  "b", "Z", "0",  "\"", ",", "\n",
                                                      "\\", " ", "é", "日", "😀", "NA"};
    std::string text;
    for (int64_t i = Int(0, 6); i > 0; --i) text += kLetters[static_cast<size_t>(Int(0, 12))];
    return text;
  }

 private:
  std::mt19937_64 engine_;
};

/// A JSON value of the type for arrow::json::ArrayFromJSONString.
inline std::string RandomJson(const arrow::DataType& type, Random* random) {
  if (type.id() == arrow::Type::NA || random->Chance(0.2)) return "null";
  const auto quote = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out.push_back('\\');
      if (c == '\n') {
        out += "\\n";
      } else {
        out.push_back(c);
      }
    }
    return out + "\"";
  };
  if (arrow::is_list(type.id())) {
    std::string out = "[";
    for (int64_t i = random->Int(0, 3), first = 1; i > 0; --i, first = 0) {
      out += (first != 0 ? "" : ",") + RandomJson(*type.field(0)->type(), random);
    }
    return out + "]";
  }
  switch (type.id()) {
    case arrow::Type::BOOL:
      return random->Chance(0.5) ? "true" : "false";
    case arrow::Type::UINT64:
      return std::to_string(random->Chance(0.5) ? random->Bits() : random->Bits() % 10);
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
      return std::to_string(random->Int(0, 255));
    case arrow::Type::TIME32:
      return std::to_string(random->Int(0, 86'399));
    case arrow::Type::INT8:
      return std::to_string(random->Int(-128, 127));
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
      return std::to_string(static_cast<double>(random->Int(-1'000'000, 1'000'000)) / 1024);
    case arrow::Type::DECIMAL128:
      return "\"" + std::to_string(random->Int(-9999, 9999)) + ".25\"";
    case arrow::Type::DATE64:
      return std::to_string(random->Int(-9999, 99999) * 86'400'000);
    case arrow::Type::STRUCT: {
      std::string out = "[";
      for (int i = 0; i < type.num_fields(); ++i) {
        out += (i > 0 ? "," : "") + RandomJson(*type.field(i)->type(), random);
      }
      return out + "]";
    }
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
      return quote(random->Text());
    case arrow::Type::FIXED_SIZE_BINARY:
      return "\"" +
             std::string(static_cast<size_t>(type.byte_width()),
                         static_cast<char>('a' + random->Int(0, 25))) +
             "\"";
    default:
      return std::to_string(random->Int(-30'000, 30'000));
  }
}

inline std::shared_ptr<arrow::Array> RandomArray(const std::shared_ptr<arrow::DataType>& type,
                                                 int64_t length, Random* random) {
  std::string json = "[";
  for (int64_t i = 0; i < length; ++i) json += (i > 0 ? "," : "") + RandomJson(*type, random);
  return ValueOf(arrow::json::ArrayFromJSONString(type, json + "]"));
}

/// The array in chunks that are slices with an offset, some of them empty.
inline std::shared_ptr<arrow::ChunkedArray> InRandomChunks(
    const std::shared_ptr<arrow::Array>& array, Random* random) {
  arrow::ArrayVector chunks;
  for (int64_t begin = 0; begin < array->length();) {
    const int64_t length = std::min(random->Int(0, std::max<int64_t>(3, array->length() / 4)),
                                    array->length() - begin);
    chunks.push_back(array->Slice(begin, length));
    begin += length;
  }
  return std::make_shared<arrow::ChunkedArray>(std::move(chunks), array->type());
}

}  // namespace gnomon::table::test
