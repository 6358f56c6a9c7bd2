#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "sql/postgres_batches_internal.h"
#include "sql/sqlite.h"
#include "sql/wire_bytes.h"

namespace gnomon::sql {

namespace {

// Bytes that are gathered before they are handed to libpq.
constexpr size_t kChunk = size_t{256} * 1024;

template <typename T>
Status Fixed(T value, std::string* out) {
  AppendBigEndian<int32_t>(out, sizeof(T));
  AppendBigEndian(out, value);
  return Status::OK();
}

Status Bytes(std::string_view value, std::string* out, std::string_view before = {}) {
  const size_t size = value.size() + before.size();
  if (size > std::numeric_limits<int32_t>::max())
    return Error(ErrorKind::kUser, "a value is too long: ", size, " bytes");
  AppendBigEndian(out, static_cast<int32_t>(size));
  out->append(before).append(value);
  return Status::OK();
}

template <typename Array>
auto At(const arrow::Array& array, int64_t i) {
  return static_cast<const Array&>(array).Value(i);
}

Status Uuid(std::string_view text, std::string* out) {
  std::string bytes;
  int half = -1;
  for (const char c : text) {
    if (c == '-') continue;
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return Error(ErrorKind::kUser, "no uuid: ", Quoted(text));
    if (half < 0) {
      half = digit;
    } else {
      bytes.push_back(static_cast<char>(half << 4 | digit));
      half = -1;
    }
  }
  if (bytes.size() != 16 || half >= 0) return Error(ErrorKind::kUser, "no uuid: ", Quoted(text));
  return Bytes(bytes, out);
}

Status Micros(int64_t value, std::string* out) {
  int64_t moved = 0;
  if (__builtin_sub_overflow(value, kPostgresEpochMicros, &moved))
    return Error(ErrorKind::kUser, "a time that PostgreSQL does not have: ", value);
  return Fixed(moved, out);
}

Status List(uint32_t element, const arrow::Array& array, int64_t i, std::string* out) {
  const auto& lists = static_cast<const arrow::ListArray&>(array);
  const arrow::Array& values = *lists.values();
  const int32_t size = lists.value_length(i);
  const size_t start = out->size();
  AppendBigEndian<int32_t>(out, 0);  // the length, when it is known
  AppendBigEndian<int32_t>(out, size == 0 ? 0 : 1);
  AppendBigEndian<int32_t>(out, values.null_count() > 0 ? 1 : 0);
  AppendBigEndian(out, element);
  if (size > 0) {
    AppendBigEndian(out, size);
    AppendBigEndian<int32_t>(out, 1);
  }
  for (int64_t j = lists.value_offset(i); j < lists.value_offset(i) + size; ++j) {
    if (values.IsNull(j)) {
      AppendBigEndian<int32_t>(out, -1);
    } else {
      GNOMON_RETURN_NOT_OK(EncodeValue(element, values, j, out));
    }
  }
  std::string length;
  AppendBigEndian(&length, static_cast<int32_t>(out->size() - start - 4));
  out->replace(start, 4, length);
  return Status::OK();
}

}  // namespace

Status EncodeValue(uint32_t type, const arrow::Array& array, int64_t i, std::string* out) {
  switch (type) {
    case oid::kBool:
      return Bytes(
          At<arrow::BooleanArray>(array, i) ? std::string_view("\1", 1) : std::string_view("\0", 1),
          out);
    case oid::kInt2: {
      const int32_t value = At<arrow::Int32Array>(array, i);
      if (value != static_cast<int16_t>(value))
        return Error(ErrorKind::kUser, "out of range of smallint: ", value);
      return Fixed(static_cast<int16_t>(value), out);
    }
    case oid::kInt4:
      return Fixed(At<arrow::Int32Array>(array, i), out);
    case oid::kInt8:
      return Fixed(At<arrow::Int64Array>(array, i), out);
    case oid::kOid: {
      const int64_t value = At<arrow::Int64Array>(array, i);
      if (value != static_cast<uint32_t>(value))
        return Error(ErrorKind::kUser, "out of range of oid: ", value);
      return Fixed(static_cast<uint32_t>(value), out);
    }
    case oid::kFloat4:
      return Fixed(At<arrow::FloatArray>(array, i), out);
    case oid::kFloat8:
      return Fixed(At<arrow::DoubleArray>(array, i), out);
    case oid::kNumeric:
      return Bytes(NumericOfDouble(At<arrow::DoubleArray>(array, i)), out);
    case oid::kDate:
      return Fixed(At<arrow::Date32Array>(array, i) - kPostgresEpochDays, out);
    case oid::kTimestamp:
    case oid::kTimestamptz:
      return Micros(At<arrow::TimestampArray>(array, i), out);
    case oid::kBytea:
      return Bytes(static_cast<const arrow::BinaryArray&>(array).GetView(i), out);
    case oid::kUuid:
      return Uuid(static_cast<const arrow::BinaryArray&>(array).GetView(i), out);
    case oid::kJsonb:
      return Bytes(static_cast<const arrow::BinaryArray&>(array).GetView(i), out, "\1");
    default:
      break;
  }
  if (const uint32_t element = ElementOf(type); element != 0) return List(element, array, i, out);
  return Bytes(static_cast<const arrow::BinaryArray&>(array).GetView(i), out);
}

PostgresBatchWriter::PostgresBatchWriter(PostgresCopyIn copy, std::vector<PostgresColumn> columns)
    : copy_(std::move(copy)), columns_(std::move(columns)) {
  buffer_ = kCopySignature;
  buffer_.append(8, '\0');
}

Result<PostgresBatchWriter> PostgresBatchWriter::Open(const Context& context, Postgres* connection,
                                                      const std::string& table,
                                                      std::vector<PostgresColumn> columns) {
  std::string names;
  for (const PostgresColumn& column : columns) {
    GNOMON_RETURN_NOT_OK(ArrowTypeOf(column));
    names += Concat(names.empty() ? "" : ", ", QuoteIdentifier(column.name));
  }
  GNOMON_ASSIGN_OR_RETURN(auto copy, PostgresCopyIn::Begin(context, connection,
                                                           Concat("COPY ", table, " (", names,
                                                                  ") FROM STDIN (FORMAT binary)")));
  return PostgresBatchWriter(std::move(copy), std::move(columns));
}

Status PostgresBatchWriter::Write(const arrow::RecordBatch& batch) {
  GNOMON_CHECK(static_cast<size_t>(batch.num_columns()) == columns_.size());
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    AppendBigEndian(&buffer_, static_cast<int16_t>(columns_.size()));
    for (size_t i = 0; i < columns_.size(); ++i) {
      const arrow::Array& array = *batch.column(static_cast<int>(i));
      if (array.IsNull(row)) {
        AppendBigEndian<int32_t>(&buffer_, -1);
        continue;
      }
      const uint32_t type = columns_[i].is_label ? oid::kText : columns_[i].type;
      const Status status = EncodeValue(type, array, row, &buffer_);
      if (!status.ok())
        return WithContext(status,
                           Concat("column ", Quoted(columns_[i].name), ", row ", rows_ + row));
    }
    if (buffer_.size() >= kChunk) {
      GNOMON_RETURN_NOT_OK(copy_.Write(buffer_));
      buffer_.clear();
    }
  }
  rows_ += batch.num_rows();
  return Status::OK();
}

Result<int64_t> PostgresBatchWriter::Finish() {
  AppendBigEndian<int16_t>(&buffer_, -1);
  GNOMON_RETURN_NOT_OK(copy_.Write(buffer_));
  buffer_.clear();
  return copy_.Finish();
}

}  // namespace gnomon::sql
