#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/entity_column_internal.h"
#include "table/column.h"

namespace gnomon::feature::internal {
namespace {

Result<std::shared_ptr<arrow::Array>> ParseTimes(const arrow::StringArray& texts,
                                                 const std::shared_ptr<arrow::DataType>& type) {
  arrow::TimestampBuilder builder(type, arrow::default_memory_pool());
  for (int64_t row = 0; row < texts.length(); ++row) {
    if (texts.IsNull(row)) {
      GNOMON_RETURN_NOT_OK(builder.AppendNull());
      continue;
    }
    const auto micros = ParseTimestamp(texts.GetView(row));
    if (!micros.ok())
      return WithLocation(micros.status(), {.file = {}, .line = 0, .column = 0, .row = row});
    GNOMON_RETURN_NOT_OK(builder.Append(*micros));
  }
  return builder.Finish();
}

Result<std::shared_ptr<arrow::Array>> RoundToFloat(const arrow::DoubleArray& values) {
  arrow::FloatBuilder builder;
  for (int64_t row = 0; row < values.length(); ++row) {
    GNOMON_RETURN_NOT_OK(values.IsNull(row)
                             ? builder.AppendNull()
                             : builder.Append(static_cast<float>(values.Value(row))));
  }
  return builder.Finish();
}

Result<std::shared_ptr<arrow::Array>> Cast(const std::shared_ptr<arrow::Array>& column,
                                           ValueType type) {
  const auto wanted = type.ToArrow();
  if (wanted->id() == arrow::Type::TIMESTAMP && column->type_id() == arrow::Type::STRING) {
    return ParseTimes(static_cast<const arrow::StringArray&>(*column), wanted);
  }
  if (wanted->id() == arrow::Type::FLOAT && column->type_id() == arrow::Type::DOUBLE) {
    return RoundToFloat(static_cast<const arrow::DoubleArray&>(*column));
  }
  return table::CastLossless(column, wanted);
}

bool EncodesAsIs(arrow::Type::type given, ValueType::Base type) {
  switch (type) {
    case ValueType::kInt32:
    case ValueType::kInt64:
      return arrow::is_integer(given);
    case ValueType::kString:
    case ValueType::kBytes:
      return arrow::is_base_binary_like(given);
    case ValueType::kUnixTimestamp:
      return given == arrow::Type::TIMESTAMP || given == arrow::Type::DATE32;
    default:
      return false;
  }
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> CastInput(const std::string& name,
                                                const std::shared_ptr<arrow::Array>& column,
                                                ValueType type) {
  auto cast = Cast(column, type);
  if (!cast.ok())
    return WithContext(cast.status(), Concat("column ", Quoted(name), " is ", type.ToString()));
  return cast;
}

Result<std::shared_ptr<arrow::Array>> CastKey(const std::string& name,
                                              const std::shared_ptr<arrow::Array>& column,
                                              ValueType type) {
  if (EncodesAsIs(column->type_id(), type.base)) return column;
  return CastInput(name, column, type);
}

}  // namespace gnomon::feature::internal
