#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "sql/postgres_batches_internal.h"
#include "sql/wire_bytes.h"

namespace gnomon::sql {

namespace {

// A batch ends early when its values are longer.
constexpr int64_t kMaxBatchBytes = int64_t{16} << 20;
constexpr size_t kUuidBytes = 16;
constexpr int64_t kFewestNumbers = 1024;

Status Broken(std::string_view what) { return Error(ErrorKind::kDataLoss, "broken ", what); }

Status Infinite(std::string_view what) {
  return MakeError(ErrorKind::kUser, Concat("an infinite ", what), {},
                   "store NULL instead, or leave such rows out in a `query:`");
}

/// Numbers of one width. Times are moved to 1970.
template <typename Builder, typename Wire, int64_t kEpoch = 0>
class NumberDecoder : public PostgresColumnDecoder {
 public:
  explicit NumberDecoder(const std::shared_ptr<arrow::DataType>& type)
      : builder_(type, arrow::default_memory_pool()) {}
  Status AppendNull() override { return builder_.AppendNull(); }
  Status Append(std::string_view bytes) override {
    if (bytes.size() != sizeof(Wire)) return Broken("number");
    Wire value = ReadBigEndian<Wire>(bytes.data());
    if constexpr (kEpoch != 0) {
      if (value == std::numeric_limits<Wire>::min() || value == std::numeric_limits<Wire>::max())
        return Infinite("time");
      if (__builtin_add_overflow(value, static_cast<Wire>(kEpoch), &value)) return Infinite("time");
    }
    // Few calls need room; Append would look for it, and make a Status, for each number.
    if (builder_.length() == builder_.capacity()) [[unlikely]]
      GNOMON_RETURN_NOT_OK(builder_.Reserve(std::max(kFewestNumbers, builder_.length())));
    builder_.UnsafeAppend(static_cast<typename Builder::value_type>(value));
    return Status::OK();
  }
  Result<std::shared_ptr<arrow::Array>> Finish() override { return builder_.Finish(); }

 private:
  Builder builder_;
};

class BoolDecoder : public PostgresColumnDecoder {
 public:
  Status AppendNull() override { return builder_.AppendNull(); }
  Status Append(std::string_view bytes) override {
    if (bytes.size() != 1) return Broken("bool");
    return builder_.Append(bytes[0] != 0);
  }
  Result<std::shared_ptr<arrow::Array>> Finish() override { return builder_.Finish(); }

 private:
  arrow::BooleanBuilder builder_;
};

class NumericDecoder : public PostgresColumnDecoder {
 public:
  Status AppendNull() override { return builder_.AppendNull(); }
  Status Append(std::string_view bytes) override {
    GNOMON_ASSIGN_OR_RETURN(const double value, DoubleOfNumeric(bytes));
    return builder_.Append(value);
  }
  Result<std::shared_ptr<arrow::Array>> Finish() override { return builder_.Finish(); }

 private:
  arrow::DoubleBuilder builder_;
};

template <typename Builder>
class BytesDecoder : public PostgresColumnDecoder {
 public:
  /// `skipped` bytes stand before the value.
  explicit BytesDecoder(size_t skipped = 0) : skipped_(skipped) {}
  Status AppendNull() override { return builder_.AppendNull(); }
  Status Append(std::string_view bytes) override {
    if (bytes.size() < skipped_) return Broken("text");
    return builder_.Append(bytes.substr(skipped_));
  }
  Result<std::shared_ptr<arrow::Array>> Finish() override { return builder_.Finish(); }

 private:
  size_t skipped_;
  Builder builder_;
};

class UuidDecoder : public PostgresColumnDecoder {
 public:
  Status AppendNull() override { return builder_.AppendNull(); }
  Status Append(std::string_view bytes) override {
    if (bytes.size() != kUuidBytes) return Broken("uuid");
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
      const auto byte = static_cast<unsigned char>(bytes[i]);
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return builder_.Append(text);
  }
  Result<std::shared_ptr<arrow::Array>> Finish() override { return builder_.Finish(); }

 private:
  arrow::StringBuilder builder_;
};

/// Reads lengths and values from front to back.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  template <typename T>
  bool Read(T* value) {
    if (bytes_.size() < sizeof(T)) return false;
    *value = ReadBigEndian<T>(bytes_.data());
    bytes_.remove_prefix(sizeof(T));
    return true;
  }
  bool Take(size_t size, std::string_view* piece) {
    if (bytes_.size() < size) return false;
    *piece = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return true;
  }
  std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
};

class ListDecoder : public PostgresColumnDecoder {
 public:
  ListDecoder(uint32_t element, std::shared_ptr<arrow::DataType> type,
              std::unique_ptr<PostgresColumnDecoder> elements)
      : element_(element), type_(std::move(type)), elements_(std::move(elements)) {}

  Status AppendNull() override {
    GNOMON_RETURN_NOT_OK(offsets_.Append(count_));
    return validity_.Append(false);
  }

  Status Append(std::string_view bytes) override {
    Cursor cursor(bytes);
    int32_t dimensions = 0;
    int32_t has_null = 0;
    uint32_t element = 0;
    if (!cursor.Read(&dimensions) || !cursor.Read(&has_null) || !cursor.Read(&element) ||
        element != element_) {
      return Broken("array");
    }
    if (dimensions > 1) {
      return MakeError(ErrorKind::kUser, "an array of several dimensions", {},
                       "leave such a column out in a `query:`, or cast it to text");
    }
    GNOMON_RETURN_NOT_OK(offsets_.Append(count_));
    GNOMON_RETURN_NOT_OK(validity_.Append(true));
    int32_t size = 0;
    int32_t lower_bound = 0;
    if (dimensions == 1 && (!cursor.Read(&size) || !cursor.Read(&lower_bound) || size < 0))
      return Broken("array");
    for (int32_t i = 0; i < size; ++i) {
      int32_t length = 0;
      std::string_view value;
      if (!cursor.Read(&length)) return Broken("array");
      if (length < 0) {
        GNOMON_RETURN_NOT_OK(elements_->AppendNull());
        continue;
      }
      if (!cursor.Take(static_cast<size_t>(length), &value)) return Broken("array");
      GNOMON_RETURN_NOT_OK(elements_->Append(value));
    }
    count_ += size;
    return cursor.rest().empty() ? Status::OK() : Broken("array");
  }

  Result<std::shared_ptr<arrow::Array>> Finish() override {
    const int64_t length = offsets_.length();
    GNOMON_RETURN_NOT_OK(offsets_.Append(count_));
    count_ = 0;
    GNOMON_ASSIGN_OR_RETURN(auto values, elements_->Finish());
    GNOMON_ASSIGN_OR_RETURN(auto offsets, offsets_.Finish());
    GNOMON_ASSIGN_OR_RETURN(auto validity, validity_.Finish());
    return std::make_shared<arrow::ListArray>(type_, length, std::move(offsets), std::move(values),
                                              std::move(validity));
  }

 private:
  uint32_t element_;
  std::shared_ptr<arrow::DataType> type_;
  std::unique_ptr<PostgresColumnDecoder> elements_;
  arrow::TypedBufferBuilder<int32_t> offsets_;
  arrow::TypedBufferBuilder<bool> validity_;
  int32_t count_ = 0;
};

std::unique_ptr<PostgresColumnDecoder> MakeScalarDecoder(uint32_t type) {
  switch (type) {
    case oid::kBool:
      return std::make_unique<BoolDecoder>();
    case oid::kInt2:
      return std::make_unique<NumberDecoder<arrow::Int32Builder, int16_t>>(arrow::int32());
    case oid::kInt4:
      return std::make_unique<NumberDecoder<arrow::Int32Builder, int32_t>>(arrow::int32());
    case oid::kInt8:
      return std::make_unique<NumberDecoder<arrow::Int64Builder, int64_t>>(arrow::int64());
    case oid::kOid:
      return std::make_unique<NumberDecoder<arrow::Int64Builder, uint32_t>>(arrow::int64());
    case oid::kFloat4:
      return std::make_unique<NumberDecoder<arrow::FloatBuilder, float>>(arrow::float32());
    case oid::kFloat8:
      return std::make_unique<NumberDecoder<arrow::DoubleBuilder, double>>(arrow::float64());
    case oid::kNumeric:
      return std::make_unique<NumericDecoder>();
    case oid::kBytea:
      return std::make_unique<BytesDecoder<arrow::BinaryBuilder>>();
    case oid::kJsonb:
      return std::make_unique<BytesDecoder<arrow::StringBuilder>>(1);
    case oid::kUuid:
      return std::make_unique<UuidDecoder>();
    case oid::kDate:
      return std::make_unique<NumberDecoder<arrow::Date32Builder, int32_t, kPostgresEpochDays>>(
          arrow::date32());
    case oid::kTimestamp:
      return std::make_unique<
          NumberDecoder<arrow::TimestampBuilder, int64_t, kPostgresEpochMicros>>(
          arrow::timestamp(arrow::TimeUnit::MICRO));
    case oid::kTimestamptz:
      return std::make_unique<
          NumberDecoder<arrow::TimestampBuilder, int64_t, kPostgresEpochMicros>>(
          arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"));
    default:
      return std::make_unique<BytesDecoder<arrow::StringBuilder>>();
  }
}

}  // namespace

Result<std::unique_ptr<PostgresColumnDecoder>> MakeDecoder(const PostgresColumn& column) {
  GNOMON_ASSIGN_OR_RETURN(auto type, ArrowTypeOf(column));
  const uint32_t element = ElementOf(column.type);
  if (element == 0 || column.is_label) return MakeScalarDecoder(column.type);
  return std::make_unique<ListDecoder>(element, std::move(type), MakeScalarDecoder(element));
}

PostgresBatchReader::PostgresBatchReader(PostgresCopyOut copy, int64_t batch_rows)
    : copy_(std::move(copy)), batch_rows_(batch_rows) {}
PostgresBatchReader::PostgresBatchReader(PostgresBatchReader&&) noexcept = default;
PostgresBatchReader::~PostgresBatchReader() = default;

Result<PostgresBatchReader> PostgresBatchReader::Open(const Context& context, Postgres* connection,
                                                      const std::string& query,
                                                      const std::vector<PostgresColumn>& columns,
                                                      int64_t batch_rows) {
  arrow::FieldVector fields;
  std::vector<std::unique_ptr<PostgresColumnDecoder>> decoders;
  for (const PostgresColumn& column : columns) {
    GNOMON_ASSIGN_OR_RETURN(auto type, ArrowTypeOf(column));
    GNOMON_ASSIGN_OR_RETURN(auto decoder, MakeDecoder(column));
    fields.push_back(arrow::field(column.name, std::move(type)));
    decoders.push_back(std::move(decoder));
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto copy, PostgresCopyOut::Begin(context, connection,
                                        Concat("COPY (", query, ") TO STDOUT (FORMAT binary)")));
  PostgresBatchReader reader(std::move(copy), batch_rows);
  reader.schema_ = arrow::schema(std::move(fields));
  reader.decoders_ = std::move(decoders);
  return reader;
}

Status PostgresBatchReader::DecodeRow(std::string_view* piece) {
  Cursor cursor(*piece);
  int16_t count = 0;
  if (!cursor.Read(&count)) return Broken("row of COPY");
  if (count < 0) {
    ended_ = true;
    *piece = {};
    return Status::OK();
  }
  if (static_cast<size_t>(count) != decoders_.size())
    return Error(ErrorKind::kDataLoss, "a row with another number of columns: ", count);
  for (size_t i = 0; i < decoders_.size(); ++i) {
    int32_t length = 0;
    std::string_view value;
    if (!cursor.Read(&length)) return Broken("row of COPY");
    Status status;
    if (length < 0) {
      status = decoders_[i]->AppendNull();
    } else if (cursor.Take(static_cast<size_t>(length), &value)) {
      status = decoders_[i]->Append(value);
    } else {
      return Broken("row of COPY");
    }
    if (!status.ok()) {
      return WithContext(
          status, Concat("column ", Quoted(schema_->field(static_cast<int>(i))->name()), ", row ",
                         rows_before_ + rows_));
    }
  }
  bytes_ += static_cast<int64_t>(piece->size() - cursor.rest().size());
  ++rows_;
  *piece = cursor.rest();
  return Status::OK();
}

Status PostgresBatchReader::Decode(std::string_view piece) {
  if (!header_read_) {
    if (piece.size() < kCopyHeaderSize || !piece.starts_with(kCopySignature))
      return Broken("header of COPY");
    const auto extension = ReadBigEndian<uint32_t>(piece.data() + kCopyHeaderSize - 4);
    if (extension != 0) return Broken("header of COPY");
    piece.remove_prefix(kCopyHeaderSize);
    header_read_ = true;
  }
  while (!piece.empty() && !ended_) GNOMON_RETURN_NOT_OK(DecodeRow(&piece));
  return Status::OK();
}

Result<std::shared_ptr<arrow::RecordBatch>> PostgresBatchReader::Next() {
  while (rows_ < batch_rows_ && bytes_ < kMaxBatchBytes) {
    GNOMON_ASSIGN_OR_RETURN(const auto piece, copy_.Next());
    if (!piece.has_value()) {
      if (!ended_) return Broken("end of COPY");
      break;
    }
    GNOMON_RETURN_NOT_OK(Decode(*piece));
  }
  if (rows_ == 0) return nullptr;
  arrow::ArrayVector columns;
  for (const auto& decoder : decoders_) {
    GNOMON_ASSIGN_OR_RETURN(auto column, decoder->Finish());
    columns.push_back(std::move(column));
  }
  rows_before_ += rows_;
  bytes_ = 0;
  return arrow::RecordBatch::Make(schema_, std::exchange(rows_, 0), std::move(columns));
}

}  // namespace gnomon::sql
