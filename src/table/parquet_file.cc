#include <array>
#include <cstring>
#include <exception>
#include <new>

#include <arrow/array/concatenate.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/util/base64.h>
#include <arrow/util/checked_cast.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/statistics.h>

#include "base/parallel.h"
#include "table/column.h"
#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;
using ParquetReader = parquet::arrow::FileReader;

constexpr std::string_view kMagic = "PAR1";
constexpr std::string_view kEncryptedMagic = "PARE";
/// Magic, a footer's length and magic again.
constexpr int64_t kSmallestFile = 12;

Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

/// Runs body, which gives a Status or Result, and turns exceptions and Arrow's errors into ours
/// that name the file.
template <typename Body>
auto Guarded(const std::string& path, Body&& body) -> decltype(body()) {
  try {
    auto result = body();
    if (result.ok()) return result;
    return FileError(StatusOf(result), path, ErrorKind::kDataLoss);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory while reading ", path);
  } catch (const std::exception& error) {
    return Error(ErrorKind::kDataLoss, path, ": ", error.what());
  }
}

Status CheckMagic(arrow::io::RandomAccessFile* file, const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t size, file->GetSize());
  std::array<char, 4> bytes = {};
  GNOMON_RETURN_NOT_OK(file->ReadAt(0, 4, bytes.data()).status());
  const std::string_view magic(bytes.data(), bytes.size());
  if (magic == kEncryptedMagic)
    return Error(ErrorKind::kUnsupported, "encrypted Parquet file: ", path);
  if (magic != kMagic) return Error(ErrorKind::kUser, "not a Parquet file: ", path);
  if (size >= kSmallestFile) GNOMON_RETURN_NOT_OK(file->ReadAt(size - 4, 4, bytes.data()).status());
  if (size < kSmallestFile || magic != kMagic)
    return Error(ErrorKind::kDataLoss, "truncated Parquet file: ", path);
  return Status::OK();
}

/// `metadata` null: read from the file.
Result<std::shared_ptr<ParquetReader>> OpenParquetReader(
    const std::string& path, const std::shared_ptr<parquet::FileMetaData>& metadata) {
  GNOMON_ASSIGN_OR_RETURN(auto file, OpenInput(path));
  if (metadata == nullptr) GNOMON_RETURN_NOT_OK(CheckMagic(file.get(), path));
  parquet::ArrowReaderProperties properties;
  properties.set_use_threads(false);
  // Pre-buffering changes the reader, which several threads share here.
  properties.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  GNOMON_RETURN_NOT_OK(builder.Open(file, parquet::default_reader_properties(), metadata));
  builder.properties(properties);
  GNOMON_ASSIGN_OR_RETURN(auto reader, builder.Build());
  return std::shared_ptr<ParquetReader>(std::move(reader));
}

void AddLeaves(const parquet::arrow::SchemaField& field, std::vector<int>* leaves) {
  if (field.is_leaf()) leaves->push_back(field.column_index);
  for (const auto& child : field.children) AddLeaves(child, leaves);
}

std::vector<int> LeavesOf(const ParquetReader& reader, int column) {
  std::vector<int> leaves;
  AddLeaves(reader.manifest().schema_fields[static_cast<size_t>(column)], &leaves);
  return leaves;
}

int64_t ScalarTime(const arrow::Scalar& scalar) {
  if (scalar.type->id() == arrow::Type::DATE32)
    return checked_cast<const arrow::Date32Scalar&>(scalar).value;
  if (scalar.type->id() == arrow::Type::DATE64)
    return checked_cast<const arrow::Date64Scalar&>(scalar).value;
  return checked_cast<const arrow::TimestampScalar&>(scalar).value;
}

/// Do the statistics show that no row's time lies in the range? False when they do not say.
bool LiesOutside(const parquet::RowGroupMetaData& group, int leaf, const TimeRange& range) {
  const auto chunk = group.ColumnChunk(leaf);
  const auto statistics = chunk->is_stats_set() ? chunk->statistics() : nullptr;
  if (statistics == nullptr || !statistics->HasMinMax()) return false;
  std::shared_ptr<arrow::Scalar> min;
  std::shared_ptr<arrow::Scalar> max;
  if (!parquet::arrow::StatisticsAsScalars(*statistics, &min, &max).ok()) return false;
  if (!IsTime(*min->type) || !min->is_valid || !max->is_valid) return false;
  // One microsecond of slack above, for nanoseconds that are floored later.
  const int64_t above =
      range.max == std::numeric_limits<int64_t>::max() ? range.max : range.max + 1;
  return ScalarTime(*max) < MicrosToUnitCeil(range.min, *min->type) ||
         ScalarTime(*min) > MicrosToUnitFloor(above, *min->type);
}

std::vector<int> SelectRowGroups(const ParquetReader& reader, const ScanRequest& request,
                                 ReadStats* stats) {
  const auto metadata = reader.parquet_reader()->metadata();
  std::vector<int> leaves;
  if (request.time_range && request.time_column >= 0)
    leaves = LeavesOf(reader, request.time_column);
  std::vector<int> selected;
  for (int group = 0; group < metadata->num_row_groups(); ++group) {
    if (leaves.size() != 1 ||
        !LiesOutside(*metadata->RowGroup(group), leaves[0], *request.time_range)) {
      selected.push_back(group);
    }
  }
  stats->row_groups += metadata->num_row_groups();
  stats->row_groups_pruned += metadata->num_row_groups() - static_cast<int64_t>(selected.size());
  return selected;
}

std::shared_ptr<arrow::Schema> SchemaOf(const arrow::Schema& schema,
                                        const std::vector<int>& columns) {
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(schema.field(column));
  return arrow::schema(std::move(fields));
}

/// The Arrow schema that Arrow's writers store; null when there is none.
std::shared_ptr<arrow::Schema> StoredSchema(const parquet::FileMetaData& metadata) {
  if (metadata.key_value_metadata() == nullptr) return nullptr;
  const auto text = metadata.key_value_metadata()->Get("ARROW:schema");
  if (!text.ok()) return nullptr;
  const auto bytes = arrow::util::base64_decode(*text);
  if (!bytes.ok()) return nullptr;
  arrow::io::BufferReader stream(arrow::Buffer::FromString(*bytes));
  arrow::ipc::DictionaryMemo dictionaries;
  return arrow::ipc::ReadSchema(&stream, &dictionaries).ValueOr(nullptr);
}

/// Parquet knows neither seconds nor date64: the columns have the types that they were written
/// with, to which the caller casts.
std::shared_ptr<arrow::Schema> WrittenSchema(const arrow::Schema& file,
                                             const parquet::FileMetaData& metadata) {
  arrow::FieldVector fields = file.fields();
  const auto stored = StoredSchema(metadata);
  if (stored == nullptr || stored->num_fields() != file.num_fields()) return arrow::schema(fields);
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& written = stored->field(static_cast<int>(i));
    const bool is_time = IsTime(*fields[i]->type()) && IsTime(*written->type());
    if (is_time && written->name() == fields[i]->name()) {
      fields[i] = fields[i]->WithType(written->type());
    }
  }
  return arrow::schema(fields);
}

Status TooFewRows(const std::string& path, const std::string& column) {
  return Error(ErrorKind::kDataLoss, path,
               ": column has other rows than its row group says: ", column);
}

/// One decoder a column, so that columns are decoded in parallel; memory is one batch and the
/// compressed chunks.
class ParquetStream : public BatchStream {
 public:
  static Result<std::unique_ptr<BatchStream>> Make(const Context& context, std::string path,
                                                   std::shared_ptr<ParquetReader> reader,
                                                   std::shared_ptr<arrow::Schema> schema,
                                                   const ScanRequest& request, ReadStats* stats) {
    auto stream = std::unique_ptr<ParquetStream>(
        new ParquetStream(context, std::move(path), std::move(reader)));
    const std::vector<int> groups = SelectRowGroups(*stream->reader_, request, stats);
    for (const int group : groups) {
      stream->rows_left_ +=
          stream->reader_->parquet_reader()->metadata()->RowGroup(group)->num_rows();
    }
    stream->schema_ = std::move(schema);
    stream->batch_rows_ = request.batch_rows;
    stream->reader_->set_batch_size(request.batch_rows);
    for (const int column : request.columns) {
      GNOMON_ASSIGN_OR_RETURN(auto decoder, stream->reader_->GetRecordBatchReader(
                                                groups, LeavesOf(*stream->reader_, column)));
      stream->decoders_.push_back(std::move(decoder));
    }
    return stream;
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    const int64_t rows = std::min(rows_left_, batch_rows_);
    if (rows == 0) return nullptr;
    arrow::ArrayVector columns(decoders_.size());
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, static_cast<int64_t>(decoders_.size()), [&](int64_t i) {
          const auto column = static_cast<size_t>(i);
          return Guarded(path_, [&] { return Decode(column, rows, &columns[column]); });
        }));
    rows_left_ -= rows;
    return arrow::RecordBatch::Make(schema_, rows, std::move(columns));
  }

 private:
  ParquetStream(const Context& context, std::string path, std::shared_ptr<ParquetReader> reader)
      : context_(context), path_(std::move(path)), reader_(std::move(reader)) {}

  /// A decoder gives a batch in pieces when strings do not fit one array.
  Status Decode(size_t column, int64_t rows, std::shared_ptr<arrow::Array>* out) {
    arrow::ArrayVector pieces;
    for (int64_t decoded = 0; decoded < rows; decoded += pieces.back()->length()) {
      std::shared_ptr<arrow::RecordBatch> piece;
      GNOMON_RETURN_NOT_OK(decoders_[column]->ReadNext(&piece));
      if (piece == nullptr || piece->num_rows() == 0 || piece->num_rows() > rows - decoded) {
        return TooFewRows(path_, schema_->field(static_cast<int>(column))->name());
      }
      pieces.push_back(piece->column(0));
    }
    if (pieces.size() == 1) {
      *out = pieces[0];
    } else {
      GNOMON_ASSIGN_OR_RETURN(*out, arrow::Concatenate(pieces));
    }
    return Status::OK();
  }

  Context context_;
  std::string path_;
  std::shared_ptr<ParquetReader> reader_;  ///< outlives decoders_
  std::shared_ptr<arrow::Schema> schema_;
  int64_t batch_rows_ = 0;
  int64_t rows_left_ = 0;
  std::vector<std::unique_ptr<arrow::RecordBatchReader>> decoders_;
};

/// Keeps the metadata, not the file.
class ParquetSource : public FileSource {
 public:
  ParquetSource(std::string path, std::shared_ptr<parquet::FileMetaData> metadata,
                std::shared_ptr<arrow::Schema> file_schema)
      : path_(std::move(path)),
        metadata_(std::move(metadata)),
        file_schema_(std::move(file_schema)),
        schema_(WrittenSchema(*file_schema_, *metadata_)) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_rows() const override { return metadata_->num_rows(); }

  Result<std::unique_ptr<BatchStream>> Scan(const Context& context, const ScanRequest& request,
                                            ReadStats* stats) override {
    return Guarded(path_, [&]() -> Result<std::unique_ptr<BatchStream>> {
      GNOMON_ASSIGN_OR_RETURN(auto reader, OpenParquetReader(path_, metadata_));
      return ParquetStream::Make(context, path_, std::move(reader),
                                 SchemaOf(*file_schema_, request.columns), request, stats);
    });
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const ScanRequest& request,
                                             ReadStats* stats) override {
    return Guarded(path_, [&]() -> Result<std::shared_ptr<arrow::Table>> {
      GNOMON_ASSIGN_OR_RETURN(const auto reader, OpenParquetReader(path_, metadata_));
      return ReadRowGroups(context, *reader, request, SelectRowGroups(*reader, request, stats));
    });
  }

 private:
  /// One task a row group and column.
  Result<std::shared_ptr<arrow::Table>> ReadRowGroups(const Context& context, ParquetReader& reader,
                                                      const ScanRequest& request,
                                                      const std::vector<int>& groups) const {
    const size_t num_columns = request.columns.size();
    std::vector<arrow::ArrayVector> decoded(groups.size() * num_columns);
    GNOMON_RETURN_NOT_OK(ParallelFor(context, static_cast<int64_t>(decoded.size()), [&](int64_t i) {
      const auto task = static_cast<size_t>(i);
      const int group = groups[task / num_columns];
      const int column = request.columns[task % num_columns];
      return Guarded(path_, [&]() -> Status {
        GNOMON_ASSIGN_OR_RETURN(const auto table,
                                reader.ReadRowGroup(group, LeavesOf(reader, column)));
        if (table->num_rows() != metadata_->RowGroup(group)->num_rows()) {
          return TooFewRows(path_, schema_->field(column)->name());
        }
        decoded[task] = table->column(0)->chunks();
        return Status::OK();
      });
    }));
    int64_t num_rows = 0;
    for (const int group : groups) num_rows += metadata_->RowGroup(group)->num_rows();
    const auto schema = SchemaOf(*file_schema_, request.columns);
    std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
    for (size_t column = 0; column < num_columns; ++column) {
      arrow::ArrayVector chunks;
      for (size_t group = 0; group < groups.size(); ++group) {
        for (auto& chunk : decoded[group * num_columns + column]) {
          chunks.push_back(std::move(chunk));
        }
      }
      columns.push_back(std::make_shared<arrow::ChunkedArray>(
          std::move(chunks), schema->field(static_cast<int>(column))->type()));
    }
    return arrow::Table::Make(schema, std::move(columns), num_rows);
  }

  std::string path_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  std::shared_ptr<arrow::Schema> file_schema_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

Result<std::unique_ptr<FileSource>> OpenParquetFile(const std::string& path) {
  return Guarded(path, [&]() -> Result<std::unique_ptr<FileSource>> {
    GNOMON_ASSIGN_OR_RETURN(const auto reader, OpenParquetReader(path, nullptr));
    std::shared_ptr<arrow::Schema> schema;
    GNOMON_RETURN_NOT_OK(reader->GetSchema(&schema));
    return std::make_unique<ParquetSource>(path, reader->parquet_reader()->metadata(),
                                           std::move(schema));
  });
}

}  // namespace gnomon::table::internal
