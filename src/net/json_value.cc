#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/base64.h>
#include <arrow/util/decimal.h>

#include "base/text.h"
#include "base/time.h"
#include "net/json_columns.h"

namespace gnomon::net {
namespace {

template <typename Array>
auto At(const arrow::Array& array, int64_t row) {
  return static_cast<const Array&>(array).Value(row);
}

int64_t Micros(int64_t value, arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return value * kMicrosPerSecond;
    case arrow::TimeUnit::MILLI:
      return value * 1000;
    case arrow::TimeUnit::MICRO:
      return value;
    case arrow::TimeUnit::NANO:
      break;
  }
  return value >= 0 ? value / 1000 : (value - 999) / 1000;
}

}  // namespace

Status AppendJsonValue(const arrow::Array& array, int64_t row, JsonWriter* json) {
  if (array.IsNull(row)) {
    json->Null();
    return Status::OK();
  }
  switch (array.type_id()) {
    case arrow::Type::NA:
      json->Null();
      break;
    case arrow::Type::BOOL:
      json->Bool(At<arrow::BooleanArray>(array, row));
      break;
    case arrow::Type::INT8:
      json->Int(At<arrow::Int8Array>(array, row));
      break;
    case arrow::Type::INT16:
      json->Int(At<arrow::Int16Array>(array, row));
      break;
    case arrow::Type::INT32:
      json->Int(At<arrow::Int32Array>(array, row));
      break;
    case arrow::Type::INT64:
      json->Int(At<arrow::Int64Array>(array, row));
      break;
    case arrow::Type::UINT8:
      json->Int(At<arrow::UInt8Array>(array, row));
      break;
    case arrow::Type::UINT16:
      json->Int(At<arrow::UInt16Array>(array, row));
      break;
    case arrow::Type::UINT32:
      json->Int(At<arrow::UInt32Array>(array, row));
      break;
    case arrow::Type::UINT64:
      json->UInt(At<arrow::UInt64Array>(array, row));
      break;
    case arrow::Type::FLOAT:
      json->Double(static_cast<double>(At<arrow::FloatArray>(array, row)));
      break;
    case arrow::Type::DOUBLE:
      json->Double(At<arrow::DoubleArray>(array, row));
      break;
    case arrow::Type::STRING:
      json->String(static_cast<const arrow::StringArray&>(array).GetView(row));
      break;
    case arrow::Type::LARGE_STRING:
      json->String(static_cast<const arrow::LargeStringArray&>(array).GetView(row));
      break;
    case arrow::Type::BINARY:
      json->String(
          arrow::util::base64_encode(static_cast<const arrow::BinaryArray&>(array).GetView(row)));
      break;
    case arrow::Type::DATE32:
      json->String(
          FormatTimestamp(At<arrow::Date32Array>(array, row) * kMicrosPerDay).substr(0, 10));
      break;
    case arrow::Type::TIMESTAMP:
      json->String(
          FormatTimestamp(Micros(At<arrow::TimestampArray>(array, row),
                                 static_cast<const arrow::TimestampType&>(*array.type()).unit())));
      break;
    case arrow::Type::LIST: {
      const auto& list = static_cast<const arrow::ListArray&>(array);
      json->BeginArray();
      for (int64_t i = list.value_offset(row); i < list.value_offset(row + 1); ++i) {
        GNOMON_RETURN_NOT_OK(AppendJsonValue(*list.values(), i, json));
      }
      json->EndArray();
      break;
    }
    default:
      return Error(ErrorKind::kUnsupported,
                   "values of this type cannot be written as JSON: ", array.type()->ToString());
  }
  return Status::OK();
}

}  // namespace gnomon::net
