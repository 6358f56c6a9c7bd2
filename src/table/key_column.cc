#include <limits>
#include <type_traits>
#include <vector>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/extension_type.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "table/column.h"
#include "table/key_column_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

constexpr int64_t kNanosPerSecond = 1'000'000'000;

template <typename Value>
void LoadIntegers(const arrow::ArrayData& data, int64_t begin, int64_t count, uint8_t huge_tag,
                  uint64_t* words, uint8_t* tags) {
  const Value* values = data.GetValues<Value>(1) + begin;
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_signed_v<Value>) {
      words[i] = static_cast<uint64_t>(static_cast<int64_t>(values[i]));
    } else {
      words[i] = values[i];
    }
    if constexpr (std::is_same_v<Value, uint64_t>) {
      if (values[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        tags[i] |= huge_tag;
    }
  }
}

/// Seconds rounded down and the nanoseconds in them: exact for every unit.
template <typename Value>
void LoadInstants(const arrow::ArrayData& data, int64_t begin, int64_t count, uint64_t* seconds,
                  uint64_t* nanos) {
  const Value* values = data.GetValues<Value>(1) + begin;
  const int64_t unit = UnitNanos(*data.type);
  const int64_t seconds_per_value = unit / kNanosPerSecond;
  const int64_t values_per_second = kNanosPerSecond / unit;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = values[i];
    if (seconds_per_value > 0) {
      seconds[i] = static_cast<uint64_t>(value * seconds_per_value);
      nanos[i] = 0;
      continue;
    }
    const int64_t rest = value % values_per_second;
    const int64_t below = rest < 0 ? 1 : 0;
    seconds[i] = static_cast<uint64_t>(value / values_per_second - below);
    nanos[i] = static_cast<uint64_t>((rest + below * values_per_second) * unit);
  }
}

template <typename ArrayType>
void LoadViews(const arrow::Array& array, int64_t begin, int64_t count, std::string_view* bytes) {
  const auto& typed = checked_cast<const ArrayType&>(array);
  for (int64_t i = 0; i < count; ++i) {
    bytes[i] = typed.IsNull(begin + i) ? std::string_view() : typed.GetView(begin + i);
  }
}

Result<std::shared_ptr<arrow::Array>> Decode(const arrow::DictionaryArray& encoded) {
  std::vector<int64_t> indices(static_cast<size_t>(encoded.length()), -1);
  for (int64_t row = 0; row < encoded.length(); ++row) {
    if (encoded.IsValid(row)) indices[static_cast<size_t>(row)] = encoded.GetValueIndex(row);
  }
  return Gather(arrow::ChunkedArray(encoded.dictionary()), indices);
}

}  // namespace

Result<KeyClass> KeyClassOf(const arrow::DataType& type) {
  if (arrow::is_integer(type.id())) return KeyClass::kInteger;
  if (IsTime(type)) return KeyClass::kInstant;
  if (arrow::is_base_binary_like(type.id()) || arrow::is_binary_view_like(type.id()))
    return KeyClass::kBytes;
  switch (type.id()) {
    case arrow::Type::NA:
      return KeyClass::kNothing;
    case arrow::Type::BOOL:
      return KeyClass::kBoolean;
    case arrow::Type::FIXED_SIZE_BINARY:
      return KeyClass::kBytes;
    case arrow::Type::DICTIONARY:
      return KeyClassOf(*checked_cast<const arrow::DictionaryType&>(type).value_type());
    case arrow::Type::EXTENSION:
      return KeyClassOf(*checked_cast<const arrow::ExtensionType&>(type).storage_type());
    default:
      return Error(ErrorKind::kUser,
                   "a column of this type cannot be a join key: ", type.ToString());
  }
}

const char* NameOf(KeyClass key_class) {
  switch (key_class) {
    case KeyClass::kNothing:
      return "null";
    case KeyClass::kBoolean:
      return "boolean";
    case KeyClass::kInteger:
      return "integer";
    case KeyClass::kInstant:
      return "time";
    case KeyClass::kBytes:
      return "string";
  }
  return "?";
}

size_t NumWords(KeyClass key_class) {
  if (key_class == KeyClass::kBytes) return 0;
  return key_class == KeyClass::kInstant ? 2 : 1;
}

Result<KeyColumn> KeyColumn::Make(std::shared_ptr<arrow::Array> array) {
  KeyColumn column;
  GNOMON_ASSIGN_OR_RETURN(column.key_class_, KeyClassOf(*array->type()));
  while (true) {
    if (array->type_id() == arrow::Type::EXTENSION) {
      array = checked_cast<const arrow::ExtensionArray&>(*array).storage();
    } else if (array->type_id() == arrow::Type::DICTIONARY) {
      GNOMON_ASSIGN_OR_RETURN(array, Decode(checked_cast<const arrow::DictionaryArray&>(*array)));
    } else {
      break;
    }
  }
  column.array_ = std::move(array);
  return column;
}

void KeyColumn::LoadNulls(int64_t begin, int64_t count, uint8_t* tags) const {
  if (array_->null_count() == 0) return;
  for (int64_t i = 0; i < count; ++i) {
    if (array_->IsNull(begin + i)) tags[i] |= kNullTag;
  }
}

void KeyColumn::LoadWords(int64_t begin, int64_t count, uint64_t* first, uint64_t* second,
                          uint8_t huge_tag, uint8_t* tags) const {
  const arrow::ArrayData& data = *array_->data();
  switch (array_->type_id()) {
    case arrow::Type::INT8:
      LoadIntegers<int8_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::INT16:
      LoadIntegers<int16_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::INT32:
      LoadIntegers<int32_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::INT64:
      LoadIntegers<int64_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::UINT8:
      LoadIntegers<uint8_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::UINT16:
      LoadIntegers<uint16_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::UINT32:
      LoadIntegers<uint32_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::UINT64:
      LoadIntegers<uint64_t>(data, begin, count, huge_tag, first, tags);
      break;
    case arrow::Type::DATE32:
      LoadInstants<int32_t>(data, begin, count, first, second);
      break;
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP:
      LoadInstants<int64_t>(data, begin, count, first, second);
      break;
    case arrow::Type::BOOL:
      for (int64_t i = 0; i < count; ++i) {
        first[i] = checked_cast<const arrow::BooleanArray&>(*array_).Value(begin + i) ? 1 : 0;
      }
      break;
    default:
      GNOMON_CHECK(array_->type_id() == arrow::Type::NA, "no words: ", array_->type()->ToString());
      for (int64_t i = 0; i < count; ++i) first[i] = second[i] = 0;
  }
  LoadNulls(begin, count, tags);
}

void KeyColumn::LoadBytes(int64_t begin, int64_t count, std::string_view* bytes,
                          uint8_t* tags) const {
  switch (array_->type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      LoadViews<arrow::BinaryArray>(*array_, begin, count, bytes);
      break;
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      LoadViews<arrow::LargeBinaryArray>(*array_, begin, count, bytes);
      break;
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      LoadViews<arrow::BinaryViewArray>(*array_, begin, count, bytes);
      break;
    case arrow::Type::FIXED_SIZE_BINARY:
      LoadViews<arrow::FixedSizeBinaryArray>(*array_, begin, count, bytes);
      break;
    default:
      GNOMON_CHECK(array_->type_id() == arrow::Type::NA, "no bytes: ", array_->type()->ToString());
  }
  LoadNulls(begin, count, tags);
}

}  // namespace gnomon::table::internal
