#include "table/partitioned_table.h"

#include <algorithm>

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/parallel.h"
#include "table/column.h"
#include "table/file_internal.h"
#include "table/file_schema_internal.h"

namespace gnomon::table {

namespace internal {

Result<arrow::ArrayVector> GatherFromStream(BatchStream* stream, const arrow::Schema& schema,
                                            std::span<const int64_t> rows) {
  std::vector<arrow::ArrayVector> pieces(static_cast<size_t>(schema.num_fields()));
  int64_t begin = 0;
  for (size_t next = 0; next < rows.size();) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, stream->Next());
    if (batch == nullptr) return Error(ErrorKind::kDataLoss, "a row is gone: ", rows[next]);
    std::vector<int64_t> wanted;
    for (; next < rows.size() && rows[next] < begin + batch->num_rows(); ++next)
      wanted.push_back(rows[next] - begin);
    begin += batch->num_rows();
    if (wanted.empty()) continue;
    for (int column = 0; column < schema.num_fields(); ++column) {
      GNOMON_ASSIGN_OR_RETURN(auto piece,
                              Gather(arrow::ChunkedArray(batch->column(column)), wanted));
      pieces[static_cast<size_t>(column)].push_back(std::move(piece));
    }
  }
  arrow::ArrayVector columns;
  for (size_t column = 0; column < pieces.size(); ++column) {
    if (pieces[column].empty()) {
      GNOMON_ASSIGN_OR_RETURN(
          auto empty, arrow::MakeEmptyArray(schema.field(static_cast<int>(column))->type()));
      columns.push_back(std::move(empty));
    } else {
      GNOMON_ASSIGN_OR_RETURN(auto whole, SingleChunk(arrow::ChunkedArray(pieces[column])));
      columns.push_back(std::move(whole));
    }
  }
  return columns;
}

Result<std::unique_ptr<BatchStream>> FileSource::ScanPart(const Context& context, int64_t /*part*/,
                                                          const ScanRequest& request) {
  ReadStats unused;
  return Scan(context, request, &unused);
}

Result<arrow::ArrayVector> FileSource::GatherPart(const Context& context, int64_t part,
                                                  const std::vector<int>& columns,
                                                  std::span<const int64_t> rows) {
  GNOMON_ASSIGN_OR_RETURN(
      const auto stream,
      ScanPart(context, part, {.columns = columns, .time_column = -1, .time_range = {}}));
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(schema()->field(column));
  return GatherFromStream(stream.get(), *arrow::schema(std::move(fields)), rows);
}

}  // namespace internal

namespace {

using internal::FilePlan;
using internal::FileSource;
using internal::FolderColumns;
using internal::OpenSource;

/// One file. Text is opened anew by each who reads it, so that no file's first block stays in
/// memory.
struct PartitionFile {
  std::string path;
  FileFormat format = FileFormat::kParquet;
  std::shared_ptr<FileSource> source;  ///< null: text
  FilePlan plan;
};

struct Partition {
  size_t file;
  int64_t part;
};

/// Turns the columns that a file gave into those of the table.
class AdaptedStream : public PartitionStream {
 public:
  AdaptedStream(std::shared_ptr<FileSource> source, std::unique_ptr<PartitionStream> stream,
                std::vector<int> places, std::shared_ptr<arrow::Schema> schema,
                std::shared_ptr<const FolderColumns> folders, size_t file, std::string path)
      : source_(std::move(source)),
        stream_(std::move(stream)),
        places_(std::move(places)),
        schema_(std::move(schema)),
        folders_(std::move(folders)),
        file_(file),
        path_(std::move(path)) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, stream_->Next());
    if (batch == nullptr) return nullptr;
    arrow::ArrayVector columns;
    for (size_t i = 0; i < places_.size(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(
          auto column,
          folders_->Adapt(file_, places_[i] < 0 ? nullptr : batch->column(places_[i]),
                          batch->num_rows(), *schema_->field(static_cast<int>(i)), path_));
      columns.push_back(std::move(column));
    }
    return arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(columns));
  }
  int64_t first_row() const override { return stream_->first_row(); }
  PageCounts pages() const override { return stream_->pages(); }

 private:
  std::shared_ptr<FileSource> source_;  ///< outlives stream_
  std::unique_ptr<PartitionStream> stream_;
  std::vector<int> places_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<const FolderColumns> folders_;
  size_t file_;
  std::string path_;
};

class PartitionedFiles : public PartitionedTable {
 public:
  PartitionedFiles(std::string name, std::vector<std::string> required_columns)
      : name_(std::move(name)), options_{.required_columns = std::move(required_columns)} {}

  Status Prepare(const Context& context, std::optional<FileFormat> format) {
    GNOMON_ASSIGN_OR_RETURN(const auto paths, ListDataFiles(name_));
    files_.resize(paths.size());
    for (size_t i = 0; i < paths.size(); ++i) {
      files_[i].path = paths[i];
      GNOMON_ASSIGN_OR_RETURN(files_[i].format,
                              format ? Result<FileFormat>(*format) : FormatOfPath(paths[i]));
    }
    GNOMON_RETURN_NOT_OK(OpenFiles(context));
    GNOMON_ASSIGN_OR_RETURN(auto folders, FolderColumns::Find(name_, paths, *first_schema_));
    GNOMON_ASSIGN_OR_RETURN(schema_,
                            internal::TableSchema(*folders.AddTo(first_schema_), paths[0], {}));
    folders_ = std::make_shared<const FolderColumns>(std::move(folders));
    GNOMON_RETURN_NOT_OK(ParallelFor(context, static_cast<int64_t>(files_.size()), [&](int64_t i) {
      return PlanOpened(&files_[static_cast<size_t>(i)]);
    }));
    for (size_t file = 0; file < files_.size(); ++file) {
      const int64_t parts = files_[file].source == nullptr ? 1 : files_[file].source->num_parts();
      for (int64_t part = 0; part < parts; ++part) partitions_.push_back({file, part});
    }
    return Status::OK();
  }

  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return static_cast<int64_t>(partitions_.size()); }

  int64_t num_rows(int64_t partition) const override {
    const FileSource* source = SourceOf(partition);
    return source == nullptr ? -1 : source->PartRows(At(partition).part);
  }

  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    const FileSource* source = SourceOf(partition);
    if (source == nullptr) return -1;
    std::vector<int> stored;
    for (const int column : columns) {
      const int place = StoredColumn(partition, column);
      if (place >= 0) stored.push_back(place);
    }
    return source->PartBytes(At(partition).part, stored);
  }

  bool reads_columns_apart(int64_t partition) const override {
    const FileSource* source = SourceOf(partition);
    return source != nullptr && source->reads_columns_apart();
  }

  bool LiesOutside(int64_t partition, int time_column, const TimeRange& range) const override {
    const FileSource* source = SourceOf(partition);
    const int stored = source == nullptr ? -1 : StoredColumn(partition, time_column);
    return stored >= 0 && source->PartLiesOutside(At(partition).part, stored, range);
  }

  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    return ScanRows(context, partition, columns, batch_rows, -1, {});
  }

  Result<std::unique_ptr<PartitionStream>> ScanTimes(const Context& context, int64_t partition,
                                                     const std::vector<int>& columns,
                                                     int64_t batch_rows, int time_column,
                                                     const TimeRange& range) const override {
    return ScanRows(context, partition, columns, batch_rows, time_column, range);
  }

  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    GNOMON_ASSIGN_OR_RETURN(const Opened opened, OpenPartition(partition));
    std::vector<int> stored;
    for (const int column : columns) {
      const int place = StoredIn(*opened.plan, column);
      if (place >= 0) stored.push_back(place);
    }
    GNOMON_ASSIGN_OR_RETURN(auto values,
                            opened.source->GatherPart(context, At(partition).part, stored, rows));
    arrow::ArrayVector adapted;
    size_t next = 0;
    for (const int column : columns) {
      const bool missing = StoredIn(*opened.plan, column) < 0;
      GNOMON_ASSIGN_OR_RETURN(
          auto array, folders_->Adapt(At(partition).file, missing ? nullptr : values[next++],
                                      static_cast<int64_t>(rows.size()), *schema_->field(column),
                                      FileOf(partition).path));
      adapted.push_back(std::move(array));
    }
    return adapted;
  }

 private:
  struct Opened {
    std::shared_ptr<FileSource> source;
    std::shared_ptr<const FilePlan> plan;
  };

  /// Opens the first file and those whose schema is known without reading them.
  Status OpenFiles(const Context& context) {
    std::vector<std::shared_ptr<arrow::Schema>> schemas(files_.size());
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context, static_cast<int64_t>(files_.size()), [&](int64_t i) -> Status {
          PartitionFile& file = files_[static_cast<size_t>(i)];
          const bool has_footer = internal::HasFooter(file.format);
          if (i > 0 && !has_footer) return Status::OK();
          GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<FileSource> source,
                                  OpenSource(file.path, file.format, nullptr));
          schemas[static_cast<size_t>(i)] = source->schema();
          if (has_footer) file.source = std::move(source);
          return Status::OK();
        }));
    first_schema_ = internal::WidenSchema(schemas);
    return Status::OK();
  }

  Status PlanOpened(PartitionFile* opened) const {
    PartitionFile& file = *opened;
    if (file.source == nullptr) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(file.plan, internal::PlanFile(*file.source->schema(), file.path,
                                                          *schema_, *folders_, options_));
    return Status::OK();
  }

  Result<std::unique_ptr<PartitionStream>> ScanRows(const Context& context, int64_t partition,
                                                    const std::vector<int>& columns,
                                                    int64_t batch_rows, int time_column,
                                                    std::optional<TimeRange> range) const {
    GNOMON_ASSIGN_OR_RETURN(const Opened opened, OpenPartition(partition));
    internal::ScanRequest request;
    request.batch_rows = batch_rows;
    request.time_range = range;
    if (time_column >= 0) request.time_column = StoredIn(*opened.plan, time_column);
    arrow::FieldVector fields;
    std::vector<int> places;
    for (const int column : columns) {
      const int stored = StoredIn(*opened.plan, column);
      places.push_back(stored < 0 ? -1 : static_cast<int>(request.columns.size()));
      if (stored >= 0) request.columns.push_back(stored);
      fields.push_back(schema_->field(column));
    }
    GNOMON_ASSIGN_OR_RETURN(auto stream,
                            opened.source->ScanPart(context, At(partition).part, request));
    return std::make_unique<AdaptedStream>(opened.source, std::move(stream), std::move(places),
                                           arrow::schema(std::move(fields)), folders_,
                                           At(partition).file, FileOf(partition).path);
  }

  const Partition& At(int64_t partition) const {
    return partitions_[static_cast<size_t>(partition)];
  }
  const PartitionFile& FileOf(int64_t partition) const { return files_[At(partition).file]; }
  const FileSource* SourceOf(int64_t partition) const { return FileOf(partition).source.get(); }

  /// A column of the table as a column of the file, -1 where the file lacks it.
  static int StoredIn(const FilePlan& plan, int column) {
    const int place = plan.places[static_cast<size_t>(column)];
    return place < 0 ? -1 : plan.request.columns[static_cast<size_t>(place)];
  }
  int StoredColumn(int64_t partition, int column) const {
    return StoredIn(FileOf(partition).plan, column);
  }

  Result<Opened> OpenPartition(int64_t partition) const {
    GNOMON_RETURN_NOT_OK(FaultPoint("file.before_scan"));
    const PartitionFile& file = FileOf(partition);
    if (file.source != nullptr) {
      return Opened{file.source, std::shared_ptr<const FilePlan>(file.source, &file.plan)};
    }
    GNOMON_ASSIGN_OR_RETURN(
        std::shared_ptr<FileSource> source,
        OpenSource(file.path, file.format, At(partition).file == 0 ? nullptr : first_schema_));
    GNOMON_ASSIGN_OR_RETURN(
        auto plan, internal::PlanFile(*source->schema(), file.path, *schema_, *folders_, options_));
    return Opened{std::move(source), std::make_shared<const FilePlan>(std::move(plan))};
  }

  std::string name_;
  ReadOptions options_;
  std::vector<PartitionFile> files_;
  std::vector<Partition> partitions_;
  std::shared_ptr<arrow::Schema> first_schema_;
  std::shared_ptr<const FolderColumns> folders_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

Result<std::shared_ptr<PartitionedTable>> PartitionedTable::Open(
    const Context& context, const std::string& path, std::optional<FileFormat> format,
    std::vector<std::string> required_columns) {
  auto files = std::make_shared<PartitionedFiles>(path, std::move(required_columns));
  GNOMON_RETURN_NOT_OK(files->Prepare(context, format));
  return files;
}

}  // namespace gnomon::table
