#include <limits>

#include <arrow/array/concatenate.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include "base/mutex.h"
#include "base/parallel.h"
#include "table/column.h"
#include "table/parquet_gather_internal.h"
#include "table/parquet_pruned_internal.h"
#include "table/parquet_reader_internal.h"

namespace gnomon::table::internal {

namespace {

Result<std::vector<int>> SelectRowGroups(const ParquetReader& reader, const ScanRequest& request,
                                         ReadStats* stats) {
  const auto metadata = reader.parquet_reader()->metadata();
  std::vector<int> leaves;
  if (request.time_range && request.time_column >= 0)
    leaves = LeavesOf(reader, request.time_column);
  std::vector<int> selected;
  const auto [first, end] = RowGroupsOf(*metadata, request.file_part);
  for (int group = first; group < end; ++group) {
    const auto row_group = metadata->RowGroup(group);
    if (leaves.size() == 1 && LiesOutside(*row_group, leaves[0], *request.time_range)) continue;
    GNOMON_ASSIGN_OR_RETURN(const bool refused, IsRefused(reader, *row_group, request));
    if (!refused) selected.push_back(group);
  }
  stats->row_groups += end - first;
  stats->row_groups_pruned += end - first - static_cast<int64_t>(selected.size());
  return selected;
}

std::shared_ptr<arrow::Schema> SchemaOf(const arrow::Schema& schema,
                                        const std::vector<int>& columns) {
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(schema.field(column));
  return arrow::schema(std::move(fields));
}

/// One decoder a column, so that columns are decoded in parallel; memory is one batch and the
/// compressed chunks.
class ParquetStream : public BatchStream {
 public:
  static Result<std::unique_ptr<BatchStream>> Make(const Context& context, std::string path,
                                                   FileVersion version,
                                                   std::shared_ptr<ParquetReader> reader,
                                                   std::shared_ptr<arrow::Schema> schema,
                                                   const ScanRequest& request,
                                                   const std::vector<int>& groups) {
    auto stream = std::unique_ptr<ParquetStream>(
        new ParquetStream(context, std::move(path), std::move(version), std::move(reader)));
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
    if (rows == 0) {
      GNOMON_RETURN_NOT_OK(version_.RequireNotWritten(path_));
      return nullptr;
    }
    arrow::ArrayVector columns(decoders_.size());
    const Status decoded =
        ParallelFor(context_, static_cast<int64_t>(decoders_.size()), [&](int64_t i) {
          const auto column = static_cast<size_t>(i);
          return GuardedRead(path_, [&] { return Decode(column, rows, &columns[column]); });
        });
    GNOMON_RETURN_NOT_OK(version_.Explain(path_, decoded));
    rows_left_ -= rows;
    return arrow::RecordBatch::Make(schema_, rows, std::move(columns));
  }

 private:
  ParquetStream(const Context& context, std::string path, FileVersion version,
                std::shared_ptr<ParquetReader> reader)
      : context_(context),
        path_(std::move(path)),
        version_(std::move(version)),
        reader_(std::move(reader)) {}

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
  FileVersion version_;
  std::shared_ptr<ParquetReader> reader_;  ///< outlives decoders_
  std::shared_ptr<arrow::Schema> schema_;
  int64_t batch_rows_ = 0;
  int64_t rows_left_ = 0;
  std::vector<std::unique_ptr<arrow::RecordBatchReader>> decoders_;
};

/// Keeps the metadata, not the file. An object, of which nothing is held, keeps its first reader,
/// and each that reads rows has a reader of its own that knows what will be read.
class ParquetSource : public FileSource {
 public:
  ParquetSource(std::string path, FileVersion version, const OpenedParquet& opened,
                std::shared_ptr<arrow::Schema> file_schema)
      : path_(std::move(path)),
        version_(std::move(version)),
        metadata_(opened.reader->parquet_reader()->metadata()),
        first_reader_(opened.object == nullptr ? nullptr : opened.reader),
        file_schema_(std::move(file_schema)),
        schema_(WrittenSchema(*file_schema_, *metadata_)) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_rows() const override { return metadata_->num_rows(); }

  Result<std::unique_ptr<BatchStream>> Scan(const Context& context, const ScanRequest& request,
                                            ReadStats* stats) override {
    return GuardedRead(path_, [&]() -> Result<std::unique_ptr<BatchStream>> {
      GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
      GNOMON_ASSIGN_OR_RETURN(const auto groups, SelectRowGroups(*opened.reader, request, stats));
      if (PrunesPages(request)) {
        return std::make_unique<PrunedStream>(groups, [=, this](int group) {
          return OpenGroup(context, opened, request, group, stats);
        });
      }
      GNOMON_RETURN_NOT_OK(AnnounceChunks(opened, groups, request.columns));
      return ParquetStream::Make(context, path_, version_, opened.reader,
                                 SchemaOf(*file_schema_, request.columns), request, groups);
    });
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const ScanRequest& request,
                                             ReadStats* stats) override {
    auto read = GuardedRead(path_, [&]() -> Result<std::shared_ptr<arrow::Table>> {
      GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
      GNOMON_ASSIGN_OR_RETURN(const auto groups, SelectRowGroups(*opened.reader, request, stats));
      if (PrunesPages(request)) return ReadPruned(context, request, groups, stats);
      GNOMON_RETURN_NOT_OK(AnnounceChunks(opened, groups, request.columns));
      GNOMON_ASSIGN_OR_RETURN(auto table, ReadRowGroups(context, *opened.reader, request, groups));
      GNOMON_RETURN_NOT_OK(version_.RequireNotWritten(path_));
      return table;
    });
    if (!read.ok()) return version_.Explain(path_, read.status());
    return read;
  }

  int64_t num_parts() const override { return metadata_->num_row_groups(); }
  int64_t PartRows(int64_t part) const override { return Group(part)->num_rows(); }
  bool reads_columns_apart() const override { return true; }

  int64_t PartBytes(int64_t part, const std::vector<int>& columns) const override {
    const auto reader = Reader();
    if (!reader.ok()) return -1;
    int64_t bytes = 0;
    for (const int column : columns) {
      for (const int leaf : LeavesOf(**reader, column))
        bytes += std::max<int64_t>(0, Group(part)->ColumnChunk(leaf)->total_uncompressed_size());
    }
    return bytes;
  }

  bool PartLiesOutside(int64_t part, int time_column, const TimeRange& range) const override {
    const auto outside = GuardedRead(path_, [&]() -> Result<bool> {
      GNOMON_ASSIGN_OR_RETURN(const auto reader, Reader());
      const std::vector<int> leaves = LeavesOf(*reader, time_column);
      return leaves.size() == 1 && LiesOutside(*Group(part), leaves[0], range);
    });
    return outside.ok() && *outside;
  }

  Result<std::unique_ptr<BatchStream>> ScanPart(const Context& context, int64_t part,
                                                const ScanRequest& request) override {
    return GuardedRead(path_, [&]() -> Result<std::unique_ptr<BatchStream>> {
      if (PrunesPages(request)) {
        ReadStats unused;
        GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
        return OpenGroup(context, opened, request, static_cast<int>(part), &unused);
      }
      GNOMON_ASSIGN_OR_RETURN(auto reader, ReaderOfPart(part, request.columns));
      return StreamOf(context, part, request, std::move(reader));
    });
  }

  /// Columns of plain numbers are picked from their pages, others from decoded batches.
  Result<arrow::ArrayVector> GatherPart(const Context& context, int64_t part,
                                        const std::vector<int>& columns,
                                        std::span<const int64_t> rows) override {
    auto picked = GuardedRead(path_, [&]() -> Result<arrow::ArrayVector> {
      GNOMON_ASSIGN_OR_RETURN(const auto reader, ReaderOfPart(part, columns));
      const auto group = reader->parquet_reader()->RowGroup(static_cast<int>(part));
      arrow::ArrayVector gathered;
      for (const int column : columns) {
        GNOMON_RETURN_NOT_OK(context.Check());
        const std::vector<int> leaves = LeavesOf(*reader, column);
        const auto& type = file_schema_->field(column)->type();
        if (leaves.size() == 1 && CanPickFromPages(*group, leaves[0], *type)) {
          GNOMON_ASSIGN_OR_RETURN(auto values, PickFromPages(group.get(), leaves[0], type, rows));
          gathered.push_back(std::move(values));
          continue;
        }
        GNOMON_ASSIGN_OR_RETURN(
            const auto stream,
            StreamOf(context, part, {.columns = {column}, .time_column = -1, .time_range = {}},
                     reader));
        GNOMON_ASSIGN_OR_RETURN(
            auto decoded, GatherFromStream(stream.get(), *SchemaOf(*file_schema_, {column}), rows));
        gathered.push_back(std::move(decoded[0]));
      }
      if (first_reader_ != nullptr) GNOMON_RETURN_NOT_OK(version_.RequireNotWritten(path_));
      return gathered;
    });
    if (!picked.ok()) return version_.Explain(path_, picked.status());
    return picked;
  }

 private:
  std::unique_ptr<parquet::RowGroupMetaData> Group(int64_t part) const {
    return metadata_->RowGroup(static_cast<int>(part));
  }

  /// Shared by all who read parts at the same time; the file is closed when the last of them is
  /// done. kConflict when it is no longer the file whose metadata we have. Of an object, for what
  /// the metadata says only.
  Result<std::shared_ptr<ParquetReader>> Reader() const {
    if (first_reader_ != nullptr) return first_reader_;
    const MutexLock lock(mutex_);
    if (auto reader = reader_.lock()) return reader;
    GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
    reader_ = opened.reader;
    return opened.reader;
  }

  /// To read each of the columns once.
  Result<std::shared_ptr<ParquetReader>> ReaderOfPart(int64_t part,
                                                      const std::vector<int>& columns) const {
    if (first_reader_ == nullptr) return Reader();
    GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
    GNOMON_RETURN_NOT_OK(AnnounceChunks(opened, {static_cast<int>(part)}, columns));
    return opened.reader;
  }

  Result<std::unique_ptr<BatchStream>> StreamOf(const Context& context, int64_t part,
                                                const ScanRequest& request,
                                                std::shared_ptr<ParquetReader> reader) const {
    return ParquetStream::Make(context, path_, version_, std::move(reader),
                               SchemaOf(*file_schema_, request.columns), request,
                               {static_cast<int>(part)});
  }

  /// May some pages be left out? Of an object whole chunks are fetched.
  bool PrunesPages(const ScanRequest& request) const {
    const bool by_time = request.time_range && request.time_column >= 0;
    return first_reader_ == nullptr && (by_time || !request.probes.empty());
  }

  Result<std::unique_ptr<GroupScan>> OpenGroup(const Context& context, const OpenedParquet& opened,
                                               const ScanRequest& request, int group,
                                               ReadStats* stats) const {
    return GuardedRead(path_, [&] {
      return GroupScan::Open({.context = context,
                              .path = path_,
                              .version = version_,
                              .opened = opened,
                              .schema = SchemaOf(*file_schema_, request.columns)},
                             request, group, stats);
    });
  }

  Result<std::shared_ptr<arrow::Table>> ReadPruned(const Context& context,
                                                   const ScanRequest& request,
                                                   const std::vector<int>& groups,
                                                   ReadStats* stats) const {
    return ReadRows(
        context, SchemaOf(*file_schema_, request.columns), groups,
        [&](int group, ReadStats* of_group) -> Result<std::unique_ptr<GroupScan>> {
          GNOMON_ASSIGN_OR_RETURN(const auto opened, OpenAgain());
          return OpenGroup(context, opened, request, group, of_group);
        },
        stats);
  }

  /// With the metadata that we have, which says where everything lies.
  Result<OpenedParquet> OpenAgain() const {
    if (first_reader_ == nullptr) GNOMON_RETURN_NOT_OK(version_.RequireSame(path_));
    GNOMON_ASSIGN_OR_RETURN(auto opened, OpenParquet(path_, metadata_));
    if (opened.object != nullptr)
      GNOMON_RETURN_NOT_OK(version_.RequireEqual(opened.object->version(), path_));
    return opened;
  }

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
      return GuardedRead(path_, [&]() -> Status {
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
  FileVersion version_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  std::shared_ptr<ParquetReader> first_reader_;  ///< of an object; null: a local file
  std::shared_ptr<arrow::Schema> file_schema_;
  std::shared_ptr<arrow::Schema> schema_;
  mutable Mutex mutex_;
  mutable std::weak_ptr<ParquetReader> reader_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<FileSource>> OpenParquetFile(const std::string& path) {
  return GuardedRead(path, [&]() -> Result<std::unique_ptr<FileSource>> {
    GNOMON_ASSIGN_OR_RETURN(const OpenedParquet opened, OpenParquet(path, nullptr));
    FileVersion version;
    if (opened.object != nullptr) {
      version = opened.object->version();
    } else {
      GNOMON_ASSIGN_OR_RETURN(version, FileVersion::Of(path));
    }
    std::shared_ptr<arrow::Schema> schema;
    GNOMON_RETURN_NOT_OK(opened.reader->GetSchema(&schema));
    return std::make_unique<ParquetSource>(path, std::move(version), opened, std::move(schema));
  });
}

}  // namespace gnomon::table::internal
