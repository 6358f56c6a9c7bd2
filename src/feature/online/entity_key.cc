#include "feature/online/entity_key.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"

namespace gnomon::feature {
namespace {

constexpr std::string_view kEntitylessKey = "__dummy_id";

void AppendU32(uint32_t value, std::string* out) {
  const std::array<char, 4> bytes = {static_cast<char>(value), static_cast<char>(value >> 8),
                                     static_cast<char>(value >> 16),
                                     static_cast<char>(value >> 24)};
  out->append(bytes.data(), bytes.size());
}

void AppendU64(uint64_t value, std::string* out) {
  AppendU32(static_cast<uint32_t>(value), out);
  AppendU32(static_cast<uint32_t>(value >> 32), out);
}

void AppendInteger(ValueType::Base type, int64_t value, std::string* out) {
  AppendU32(static_cast<uint32_t>(type), out);
  if (type == ValueType::kInt32) {
    AppendU32(4, out);
    AppendU32(static_cast<uint32_t>(value), out);
  } else {
    AppendU32(8, out);
    AppendU64(static_cast<uint64_t>(value), out);
  }
}

void AppendBytes(ValueType::Base type, std::string_view bytes, std::string* out) {
  AppendU32(static_cast<uint32_t>(type), out);
  AppendU32(static_cast<uint32_t>(bytes.size()), out);
  out->append(bytes);
}

bool IsKeyType(ValueType type) {
  if (type.list) return false;
  switch (type.base) {
    case ValueType::kBytes:
    case ValueType::kString:
    case ValueType::kInt32:
    case ValueType::kInt64:
    case ValueType::kUnixTimestamp:
      return true;
    default:
      return false;
  }
}

/// The integer at `row`, of any width and sign. False when it is no integer column.
bool IntegerAt(const arrow::Array& array, int64_t row, int64_t* value, bool* fits) {
  *fits = true;
  switch (array.type_id()) {
    case arrow::Type::INT64:
      *value = static_cast<const arrow::Int64Array&>(array).Value(row);
      return true;
    case arrow::Type::INT32:
      *value = static_cast<const arrow::Int32Array&>(array).Value(row);
      return true;
    case arrow::Type::INT16:
      *value = static_cast<const arrow::Int16Array&>(array).Value(row);
      return true;
    case arrow::Type::INT8:
      *value = static_cast<const arrow::Int8Array&>(array).Value(row);
      return true;
    case arrow::Type::UINT32:
      *value = static_cast<const arrow::UInt32Array&>(array).Value(row);
      return true;
    case arrow::Type::UINT16:
      *value = static_cast<const arrow::UInt16Array&>(array).Value(row);
      return true;
    case arrow::Type::UINT8:
      *value = static_cast<const arrow::UInt8Array&>(array).Value(row);
      return true;
    case arrow::Type::UINT64: {
      const uint64_t wide = static_cast<const arrow::UInt64Array&>(array).Value(row);
      *fits = wide <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      *value = static_cast<int64_t>(wide);
      return true;
    }
    default:
      return false;
  }
}

bool BytesAt(const arrow::Array& array, int64_t row, std::string_view* value) {
  switch (array.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      *value = static_cast<const arrow::BinaryArray&>(array).GetView(row);
      return true;
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      *value = static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
      return true;
    default:
      return false;
  }
}

/// Whole seconds of a timestamp or date; `fits` is false when it has a fraction. False for other
/// columns.
bool SecondsAt(const arrow::Array& array, int64_t row, int64_t* value, bool* fits) {
  *fits = true;
  if (array.type_id() == arrow::Type::DATE32) {
    *value = int64_t{static_cast<const arrow::Date32Array&>(array).Value(row)} *
             (kMicrosPerDay / kMicrosPerSecond);
    return true;
  }
  if (array.type_id() != arrow::Type::TIMESTAMP) return false;
  static constexpr std::array<int64_t, 4> kPerSecond = {1, 1'000, 1'000'000, 1'000'000'000};
  const auto unit = static_cast<const arrow::TimestampType&>(*array.type()).unit();
  const int64_t per_second = kPerSecond[static_cast<size_t>(unit)];
  const int64_t raw = static_cast<const arrow::TimestampArray&>(array).Value(row);
  *fits = raw % per_second == 0;
  *value = raw / per_second;
  return true;
}

Status DoesNotFit(const std::string& name, ValueType type, int64_t row, std::string_view why) {
  return MakeError(
      ErrorKind::kUser,
      Concat("entity key ", Quoted(name), " is ", type.ToString(), ": ", why, " in row ", row),
      {.file = {}, .line = 0, .column = 0, .row = row});
}

Status WrongType(const std::string& name, ValueType type, const arrow::DataType& given) {
  return Error(ErrorKind::kUser, "entity key ", Quoted(name), " is ", type.ToString(),
               ", its column cannot hold that: ", given.ToString());
}

std::string Hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    hex += kDigits[value >> 4];
    hex += kDigits[value & 15];
  }
  return hex;
}

/// Reads (type, length, bytes), false at the end of the bytes.
bool TakePart(std::string_view* bytes, uint32_t* type, std::string_view* part) {
  const auto load = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 4; i > 0; --i)
      value = value << 8 | static_cast<unsigned char>((*bytes)[at + i - 1]);
    return value;
  };
  if (bytes->size() < 8) return false;
  *type = load(0);
  const size_t length = load(4);
  if (length > bytes->size() - 8) return false;
  *part = bytes->substr(8, length);
  bytes->remove_prefix(8 + length);
  return true;
}

std::string DescribeValue(uint32_t type, std::string_view bytes) {
  if (type == ValueType::kString) return Quoted(bytes);
  if (type == ValueType::kBytes || bytes.empty() || bytes.size() > 8)
    return Concat("0x", Hex(bytes));
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  if (type == ValueType::kInt32) return Concat(static_cast<int32_t>(value));
  const auto integer = static_cast<int64_t>(value);
  int64_t micros = 0;
  if (type == ValueType::kUnixTimestamp &&
      !__builtin_mul_overflow(integer, kMicrosPerSecond, &micros))
    return FormatTimestamp(micros);
  return Concat(integer);
}

}  // namespace

std::string DescribeEntityKey(std::string_view key) {
  std::string_view rest = key.substr(std::min<size_t>(4, key.size()));
  std::vector<std::string_view> names;
  std::string text;
  uint32_t type = 0;
  std::string_view part;
  // As many names as the first number says, then as many values.
  const size_t num_names = key.size() < 4 ? 0 : static_cast<unsigned char>(key[0]);
  while (names.size() < num_names && TakePart(&rest, &type, &part) && type == ValueType::kString)
    names.push_back(part);
  bool whole = !names.empty() && names.size() == num_names;
  for (size_t i = 0; whole && i < names.size(); ++i) {
    whole = TakePart(&rest, &type, &part);
    if (whole) text += Concat(i == 0 ? "" : ", ", names[i], " = ", DescribeValue(type, part));
  }
  return whole && rest.empty() ? text : Concat("entity key 0x", Hex(key));
}

Result<EntityKeyEncoder> EntityKeyEncoder::Make(std::vector<std::string> join_keys,
                                                std::vector<ValueType> types, int version) {
  if (version != 2 && version != 3) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("entity key serialization version is not supported: ", version), {},
                     "versions 2 and 3 are");
  }
  if (join_keys.size() != types.size()) {
    return Error(ErrorKind::kInternal, "join keys and types differ in number: ", join_keys.size(),
                 ", ", types.size());
  }
  EntityKeyEncoder encoder;
  for (size_t i = 0; i < join_keys.size(); ++i) {
    if (!IsKeyType(types[i])) {
      return Error(ErrorKind::kUser, "entity key ", Quoted(join_keys[i]),
                   " has a type that no key can have: ", types[i].ToString());
    }
    encoder.keys_.push_back({i, std::move(join_keys[i]), types[i]});
  }
  std::ranges::sort(encoder.keys_, {}, &Key::name);
  const auto twice = std::ranges::adjacent_find(encoder.keys_, {}, &Key::name);
  if (twice != encoder.keys_.end()) {
    return Error(ErrorKind::kUser, "entity key stands twice: ", Quoted(twice->name));
  }

  const auto append_name = [&](std::string_view name) {
    AppendU32(ValueType::kString, &encoder.prefix_);
    if (version >= 3) AppendU32(static_cast<uint32_t>(name.size()), &encoder.prefix_);
    encoder.prefix_.append(name);
  };
  const bool entityless = encoder.keys_.empty();
  if (version >= 3) {
    AppendU32(entityless ? 1 : static_cast<uint32_t>(encoder.keys_.size()), &encoder.prefix_);
  }
  for (const Key& key : encoder.keys_) append_name(key.name);
  if (entityless) {
    append_name(kEntitylessKey);
    AppendBytes(ValueType::kString, "", &encoder.prefix_);
  }
  return encoder;
}

Result<bool> EntityKeyEncoder::Encode(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                                      int64_t row, std::string* out) const {
  GNOMON_CHECK(columns.size() == keys_.size(), "entity key columns: ", columns.size());
  const size_t begin = out->size();
  out->append(prefix_);
  for (const Key& key : keys_) {
    const arrow::Array* array = columns[key.column].get();
    int64_t index = row;
    if (!array->IsNull(index) && array->type_id() == arrow::Type::DICTIONARY) {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(*array);
      index = dictionary.GetValueIndex(row);
      array = dictionary.dictionary().get();
    }
    if (array->type_id() == arrow::Type::NA || array->IsNull(index)) {
      out->resize(begin);
      return false;
    }
    bool fits = true;
    bool known = false;
    int64_t integer = 0;
    std::string_view bytes;
    std::string_view why = "the value is out of range";
    switch (key.type.base) {
      case ValueType::kInt32:
        known = IntegerAt(*array, index, &integer, &fits);
        fits = fits && std::in_range<int32_t>(integer);
        break;
      case ValueType::kInt64:
        known = IntegerAt(*array, index, &integer, &fits);
        break;
      case ValueType::kUnixTimestamp:
        known = SecondsAt(*array, index, &integer, &fits);
        why = "the value has a fraction of a second";
        break;
      default:
        known = BytesAt(*array, index, &bytes);
        fits = std::in_range<uint32_t>(bytes.size());
    }
    if (!known || !fits) {
      out->resize(begin);
      if (!known) return WrongType(key.name, key.type, *array->type());
      return DoesNotFit(key.name, key.type, row, why);
    }
    if (key.type.base == ValueType::kString || key.type.base == ValueType::kBytes) {
      AppendBytes(key.type.base, bytes, out);
    } else {
      AppendInteger(key.type.base, integer, out);
    }
  }
  return true;
}

}  // namespace gnomon::feature
