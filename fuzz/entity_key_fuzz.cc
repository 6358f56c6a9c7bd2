// Reads any bytes as an entity key, of version 3 as docs/formats/entity_key.md draws it. Nothing
// may crash; what is a key is encoded again to the same bytes, in version 2 to those without the
// lengths of its names, and every key that is encoded has the shape of one.

#include "feature/online/entity_key.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>

#include "feature/online/entity_key_shape_internal.h"
#include "fuzz/fuzz_check.h"

namespace {

using gnomon::feature::EntityKeyEncoder;
using gnomon::feature::ValueType;
using gnomon::fuzz::Require;

struct Part {
  uint32_t type = 0;
  std::string_view bytes;
};

struct Key {
  std::vector<std::string> names;
  std::vector<Part> values;
};

class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : rest_(bytes) {}

  bool Number(uint32_t* value) {
    if (rest_.size() < 4) return false;
    *value = 0;
    for (size_t i = 4; i > 0; --i) *value = *value << 8 | static_cast<unsigned char>(rest_[i - 1]);
    rest_.remove_prefix(4);
    return true;
  }
  /// (type, length, bytes)
  bool Sized(Part* part) {
    uint32_t length = 0;
    if (!Number(&part->type) || !Number(&length) || length > rest_.size()) return false;
    part->bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool IsValue(const Part& part) {
  switch (part.type) {
    case ValueType::kString:
    case ValueType::kBytes:
      return true;
    case ValueType::kInt32:
      return part.bytes.size() == 4;
    case ValueType::kInt64:
    case ValueType::kUnixTimestamp:
      return part.bytes.size() == 8;
    default:
      return false;
  }
}

/// Absent when the bytes are no key of version 3 that an encoder would write.
std::optional<Key> Decode(std::string_view bytes) {
  Cursor cursor(bytes);
  uint32_t count = 0;
  if (!cursor.Number(&count) || count == 0 || count > bytes.size() / 16) return std::nullopt;
  Key key;
  for (uint32_t i = 0; i < count; ++i) {
    Part name;
    if (!cursor.Sized(&name) || name.type != ValueType::kString || name.bytes.empty()) {
      return std::nullopt;
    }
    if (i > 0 && std::string_view(key.names.back()) >= name.bytes) return std::nullopt;
    key.names.emplace_back(name.bytes);
  }
  for (uint32_t i = 0; i < count; ++i) {
    Part value;
    if (!cursor.Sized(&value) || !IsValue(value)) return std::nullopt;
    key.values.push_back(value);
  }
  if (!cursor.at_end()) return std::nullopt;
  return key;
}

int64_t Integer(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  return bytes.size() == 4 ? int64_t{static_cast<int32_t>(value)} : static_cast<int64_t>(value);
}

std::shared_ptr<arrow::Array> ColumnOf(const Part& part) {
  const ValueType type{static_cast<ValueType::Base>(part.type)};
  if (type.base == ValueType::kString || type.base == ValueType::kBytes) {
    arrow::BinaryBuilder builder(type.ToArrow(), arrow::default_memory_pool());
    Require(builder.Append(part.bytes).ok());
    return *builder.Finish();
  }
  if (type.base == ValueType::kUnixTimestamp) {
    arrow::TimestampBuilder builder(arrow::timestamp(arrow::TimeUnit::SECOND, "UTC"),
                                    arrow::default_memory_pool());
    Require(builder.Append(Integer(part.bytes)).ok());
    return *builder.Finish();
  }
  // Any width of integers will do.
  arrow::Int64Builder builder;
  Require(builder.Append(Integer(part.bytes)).ok());
  return *builder.Finish();
}

std::string Encode(const Key& key, int version) {
  std::vector<std::string> names = key.names;
  std::vector<ValueType> types;
  arrow::ArrayVector columns;
  for (const Part& part : key.values) {
    types.push_back({static_cast<ValueType::Base>(part.type)});
    columns.push_back(ColumnOf(part));
  }
  // The encoder sorts them again.
  std::ranges::reverse(names);
  std::ranges::reverse(types);
  std::ranges::reverse(columns);
  const auto encoder = EntityKeyEncoder::Make(std::move(names), std::move(types), version);
  Require(encoder.ok());
  std::string encoded = "before";
  const auto whole = encoder->Encode(columns, 0, &encoded);
  Require(whole.ok() && *whole && encoded.starts_with("before"));
  return encoded.substr(6);
}

/// `bytes`, a key of version 3, without the number of names and their lengths.
std::string InVersion2(const Key& key, std::string_view bytes) {
  std::string shorter;
  size_t at = 4;
  for (const std::string& name : key.names) {
    shorter += bytes.substr(at, 4);
    shorter += name;
    at += 8 + name.size();
  }
  return shorter.append(bytes.substr(at));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy without padding, so that a read past the end is seen.
  const std::vector<char> copy(data, data + size);
  const std::string_view bytes(copy.data(), copy.size());
  const bool has_shape = gnomon::feature::internal::IsEntityKey(bytes);
  const auto key = Decode(bytes);
  if (!key) return 0;
  Require(has_shape);
  Require(Encode(*key, 3) == bytes);
  const std::string older = Encode(*key, 2);
  Require(older == InVersion2(*key, bytes));
  Require(gnomon::feature::internal::IsEntityKey(older));
  return 0;
}
