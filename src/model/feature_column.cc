#include "model/feature_column.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>

#include "base/text.h"
#include "table/column.h"

namespace gnomon::model {

namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// value(row) for rows that are not null.
template <typename Value>
std::vector<double> Collect(const arrow::Array& array, const Value& value) {
  std::vector<double> numbers(static_cast<size_t>(array.length()), kMissing);
  const bool has_nulls = array.null_count() > 0;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (has_nulls && array.IsNull(row)) continue;
    const double number = value(row);
    if (std::isfinite(number)) numbers[static_cast<size_t>(row)] = number;
  }
  return numbers;
}

template <typename ArrayType>
std::vector<double> CollectPlain(const arrow::Array& array) {
  const auto& typed = static_cast<const ArrayType&>(array);
  return Collect(array, [&](int64_t row) { return static_cast<double>(typed.Value(row)); });
}

template <typename ArrayType, typename Decimal>
std::vector<double> CollectDecimals(const arrow::Array& array) {
  const auto& typed = static_cast<const ArrayType&>(array);
  const int32_t scale = static_cast<const arrow::DecimalType&>(*array.type()).scale();
  return Collect(array, [&](int64_t row) { return Decimal(typed.GetValue(row)).ToDouble(scale); });
}

template <typename ArrayType>
std::vector<std::optional<std::string_view>> CollectTexts(const arrow::Array& array) {
  const auto& typed = static_cast<const ArrayType&>(array);
  std::vector<std::optional<std::string_view>> texts(static_cast<size_t>(array.length()));
  for (int64_t row = 0; row < array.length(); ++row) {
    if (!array.IsNull(row)) texts[static_cast<size_t>(row)] = typed.GetView(row);
  }
  return texts;
}

// The value of each row's dictionary entry; `missing` where the row or the entry is null.
template <typename Value>
std::vector<Value> Lookup(const arrow::DictionaryArray& array, const std::vector<Value>& entries,
                          Value missing) {
  std::vector<Value> values(static_cast<size_t>(array.length()), missing);
  for (int64_t row = 0; row < array.length(); ++row) {
    if (!array.IsNull(row))
      values[static_cast<size_t>(row)] = entries[static_cast<size_t>(array.GetValueIndex(row))];
  }
  return values;
}

Status WrongType(const arrow::DataType& type) {
  return Error(ErrorKind::kUser, "no feature has the type ", type.ToString());
}

}  // namespace

Result<FeatureKind> FeatureKindOf(const arrow::DataType& type, std::string_view name) {
  switch (type.id()) {
    case arrow::Type::NA:
      return FeatureKind::kNothing;
    case arrow::Type::BOOL:
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP:
      return FeatureKind::kNumber;
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return FeatureKind::kText;
    case arrow::Type::DICTIONARY:
      return FeatureKindOf(*static_cast<const arrow::DictionaryType&>(type).value_type(), name);
    default:
      return Error(ErrorKind::kUser, "column ", Quoted(name),
                   " cannot be an input of a model: its type is ", type.ToString());
  }
}

Result<std::vector<double>> NumberColumn(const arrow::Array& array) {
  switch (array.type_id()) {
    case arrow::Type::NA:
      return std::vector<double>(static_cast<size_t>(array.length()), kMissing);
    case arrow::Type::BOOL:
      return CollectPlain<arrow::BooleanArray>(array);
    case arrow::Type::INT8:
      return CollectPlain<arrow::Int8Array>(array);
    case arrow::Type::INT16:
      return CollectPlain<arrow::Int16Array>(array);
    case arrow::Type::INT32:
      return CollectPlain<arrow::Int32Array>(array);
    case arrow::Type::INT64:
      return CollectPlain<arrow::Int64Array>(array);
    case arrow::Type::UINT8:
      return CollectPlain<arrow::UInt8Array>(array);
    case arrow::Type::UINT16:
      return CollectPlain<arrow::UInt16Array>(array);
    case arrow::Type::UINT32:
      return CollectPlain<arrow::UInt32Array>(array);
    case arrow::Type::UINT64:
      return CollectPlain<arrow::UInt64Array>(array);
    case arrow::Type::FLOAT:
      return CollectPlain<arrow::FloatArray>(array);
    case arrow::Type::DOUBLE:
      return CollectPlain<arrow::DoubleArray>(array);
    case arrow::Type::HALF_FLOAT: {
      const auto& halves = static_cast<const arrow::HalfFloatArray&>(array);
      return Collect(array, [&](int64_t row) {
        return static_cast<double>(arrow::util::Float16::FromBits(halves.Value(row)).ToFloat());
      });
    }
    case arrow::Type::DECIMAL128:
      return CollectDecimals<arrow::Decimal128Array, arrow::Decimal128>(array);
    case arrow::Type::DECIMAL256:
      return CollectDecimals<arrow::Decimal256Array, arrow::Decimal256>(array);
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP: {
      GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> times, table::TimesAsMicros(array));
      return Collect(
          array, [&](int64_t row) { return static_cast<double>(times[static_cast<size_t>(row)]); });
    }
    case arrow::Type::DICTIONARY: {
      const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
      GNOMON_ASSIGN_OR_RETURN(const std::vector<double> entries,
                              NumberColumn(*encoded.dictionary()));
      return Lookup(encoded, entries, kMissing);
    }
    default:
      return WrongType(*array.type());
  }
}

Result<std::vector<std::optional<std::string_view>>> TextColumn(const arrow::Array& array) {
  using Text = std::optional<std::string_view>;
  switch (array.type_id()) {
    case arrow::Type::NA:
      return std::vector<Text>(static_cast<size_t>(array.length()));
    case arrow::Type::STRING:
      return CollectTexts<arrow::StringArray>(array);
    case arrow::Type::LARGE_STRING:
      return CollectTexts<arrow::LargeStringArray>(array);
    case arrow::Type::STRING_VIEW:
      return CollectTexts<arrow::StringViewArray>(array);
    case arrow::Type::DICTIONARY: {
      const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
      GNOMON_ASSIGN_OR_RETURN(const std::vector<Text> entries, TextColumn(*encoded.dictionary()));
      return Lookup(encoded, entries, Text());
    }
    default:
      return WrongType(*array.type());
  }
}

}  // namespace gnomon::model
