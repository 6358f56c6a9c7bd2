#include "table/column.h"

#include <limits>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

namespace gnomon::table {

namespace {

constexpr int64_t kNanosPerDay = int64_t{86'400} * 1'000'000'000;
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinInt64 = std::numeric_limits<int64_t>::min();

int64_t FloorDivide(int64_t value, int64_t divisor) {
  const int64_t quotient = value / divisor;
  return value % divisor < 0 ? quotient - 1 : quotient;
}

int64_t CeilDivide(int64_t value, int64_t divisor) {
  const int64_t quotient = value / divisor;
  return value % divisor > 0 ? quotient + 1 : quotient;
}

int64_t SaturatingMultiply(int64_t value, int64_t factor) {
  int64_t product = 0;
  if (__builtin_mul_overflow(value, factor, &product)) return value < 0 ? kMinInt64 : kMaxInt64;
  return product;
}

Status NotATime(const arrow::DataType& type) {
  return Error(ErrorKind::kUser, "expected a timestamp or date column, got ", type.ToString());
}

Result<std::vector<int64_t>> MultipliedTimes(std::vector<int64_t> times, int64_t factor) {
  for (size_t row = 0; row < times.size(); ++row) {
    if (__builtin_mul_overflow(times[row], factor, &times[row])) {
      return MakeError(ErrorKind::kUser,
                       Concat("time is out of the range of microseconds: row ", row),
                       {.file = {}, .row = static_cast<int64_t>(row)});
    }
  }
  return times;
}

template <typename Value>
std::vector<int64_t> ValuesOrZero(const arrow::ArrayData& data) {
  const auto* values = data.GetValues<Value>(1);
  std::vector<int64_t> times(values, values + data.length);
  if (data.GetNullCount() > 0) {
    for (int64_t row = 0; row < data.length; ++row) {
      if (data.IsNull(row)) times[static_cast<size_t>(row)] = 0;
    }
  }
  return times;
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> SingleChunk(const arrow::ChunkedArray& column) {
  if (column.num_chunks() == 1) return column.chunk(0);
  if (column.num_chunks() == 0) return arrow::MakeEmptyArray(column.type());
  return arrow::Concatenate(column.chunks());
}

Result<std::shared_ptr<arrow::RecordBatch>> SingleBatch(const arrow::Table& table) {
  arrow::ArrayVector columns;
  columns.reserve(static_cast<size_t>(table.num_columns()));
  for (const auto& column : table.columns()) {
    GNOMON_ASSIGN_OR_RETURN(auto array, SingleChunk(*column));
    columns.push_back(std::move(array));
  }
  return arrow::RecordBatch::Make(table.schema(), table.num_rows(), std::move(columns));
}

bool IsTime(const arrow::DataType& type) {
  return type.id() == arrow::Type::TIMESTAMP || type.id() == arrow::Type::DATE32 ||
         type.id() == arrow::Type::DATE64;
}

int64_t UnitNanos(const arrow::DataType& type) {
  GNOMON_CHECK(IsTime(type), "not a time type: ", type.ToString());
  if (type.id() == arrow::Type::DATE32) return kNanosPerDay;
  if (type.id() == arrow::Type::DATE64) return 1'000'000;
  switch (arrow::internal::checked_cast<const arrow::TimestampType&>(type).unit()) {
    case arrow::TimeUnit::SECOND:
      return 1'000'000'000;
    case arrow::TimeUnit::MILLI:
      return 1'000'000;
    case arrow::TimeUnit::MICRO:
      return 1'000;
    case arrow::TimeUnit::NANO:
      return 1;
  }
  return 1;
}

Result<std::vector<int64_t>> RawTimes(const arrow::Array& times) {
  if (!IsTime(*times.type())) return NotATime(*times.type());
  if (times.type_id() == arrow::Type::DATE32) return ValuesOrZero<int32_t>(*times.data());
  return ValuesOrZero<int64_t>(*times.data());
}

Result<std::vector<int64_t>> TimesAsMicros(const arrow::Array& times) {
  GNOMON_ASSIGN_OR_RETURN(auto values, RawTimes(times));
  const int64_t nanos = UnitNanos(*times.type());
  if (nanos > 1'000) return MultipliedTimes(std::move(values), nanos / 1'000);
  if (nanos == 1) {
    for (int64_t& value : values) value = FloorDivide(value, 1'000);
  }
  return values;
}

int64_t MicrosToUnitFloor(int64_t micros, const arrow::DataType& type) {
  const int64_t nanos = UnitNanos(type);
  return nanos == 1 ? SaturatingMultiply(micros, 1'000) : FloorDivide(micros, nanos / 1'000);
}

int64_t MicrosToUnitCeil(int64_t micros, const arrow::DataType& type) {
  const int64_t nanos = UnitNanos(type);
  return nanos == 1 ? SaturatingMultiply(micros, 1'000) : CeilDivide(micros, nanos / 1'000);
}

}  // namespace gnomon::table
