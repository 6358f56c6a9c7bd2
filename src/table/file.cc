#include "table/file.h"

#include <algorithm>

#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/parallel.h"
#include "table/file_internal.h"
#include "table/file_schema_internal.h"

namespace gnomon::table {

namespace internal {

Result<std::unique_ptr<FileSource>> OpenSource(const std::string& path, FileFormat format,
                                               const std::shared_ptr<arrow::Schema>& like) {
  switch (format) {
    case FileFormat::kParquet:
      return OpenParquetFile(path);
    case FileFormat::kCsv:
      return OpenCsvFile(path, like);
    case FileFormat::kJson:
      return OpenJsonFile(path, like);
    case FileFormat::kIpc:
      return OpenIpcFile(path);
  }
  return Error(ErrorKind::kInternal, "unknown file format: ", static_cast<int>(format));
}

}  // namespace internal

namespace {

using internal::FilePlan;
using internal::FileSource;
using internal::HasFooter;
using internal::OpenSource;

/// The files of a table. Files with a footer are all opened at once; of text only the first, the
/// others when they are reached, because their columns take the first one's types.
struct FileSet {
  std::vector<std::string> paths;
  std::vector<FileFormat> formats;
  std::vector<std::unique_ptr<FileSource>> sources;
  std::vector<FilePlan> plans;
  std::shared_ptr<arrow::Schema> first_schema;
  internal::FolderColumns folders;
  std::shared_ptr<arrow::Schema> schema;
  ReadOptions options;

  static Result<FileSet> Open(const Context& context, const std::string& path,
                              const ReadOptions& options) {
    if (options.batch_rows <= 0)
      return Error(ErrorKind::kUser, "batch_rows is not positive: ", options.batch_rows);
    FileSet set;
    set.options = options;
    GNOMON_ASSIGN_OR_RETURN(set.paths, ListDataFiles(path));
    for (const std::string& file : set.paths) {
      GNOMON_ASSIGN_OR_RETURN(const FileFormat format, options.format
                                                           ? Result<FileFormat>(*options.format)
                                                           : FormatOfPath(file));
      set.formats.push_back(format);
    }
    set.sources.resize(set.paths.size());
    set.plans.resize(set.paths.size());
    GNOMON_ASSIGN_OR_RETURN(set.sources[0],
                            OpenSource(set.paths[0], set.formats[0], options.schema));
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context, static_cast<int64_t>(set.paths.size()), [&](int64_t i) {
          const auto file = static_cast<size_t>(i);
          return HasFooter(set.formats[file]) ? set.OpenFile(file) : Status::OK();
        }));
    set.first_schema = options.schema != nullptr ? options.schema : set.WidenedSchema();
    GNOMON_ASSIGN_OR_RETURN(set.folders,
                            internal::FolderColumns::Find(path, set.paths, *set.first_schema));
    GNOMON_ASSIGN_OR_RETURN(set.schema, internal::TableSchema(*set.folders.AddTo(set.first_schema),
                                                              set.paths[0], options));
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context, static_cast<int64_t>(set.paths.size()), [&](int64_t i) {
          const auto file = static_cast<size_t>(i);
          return file == 0 || HasFooter(set.formats[file]) ? set.Prepare(file) : Status::OK();
        }));
    return set;
  }

  Status OpenFile(size_t i) {
    if (sources[i] != nullptr) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(sources[i], OpenSource(paths[i], formats[i], first_schema));
    return Status::OK();
  }

  /// Of the files that are open.
  std::shared_ptr<arrow::Schema> WidenedSchema() const {
    std::vector<std::shared_ptr<arrow::Schema>> schemas;
    for (const auto& source : sources)
      schemas.push_back(source == nullptr ? nullptr : source->schema());
    return internal::WidenSchema(schemas);
  }

  /// Opens and plans file `i` unless it is done. Different files may be prepared in parallel.
  Status Prepare(size_t i) {
    GNOMON_RETURN_NOT_OK(OpenFile(i));
    if (plans[i].places.empty()) {
      GNOMON_ASSIGN_OR_RETURN(
          plans[i], internal::PlanFile(*sources[i]->schema(), paths[i], *schema, folders, options));
    }
    return Status::OK();
  }

  int64_t num_rows() const {
    int64_t rows = 0;
    for (const auto& source : sources) {
      if (source == nullptr || source->num_rows() < 0) return -1;
      rows += source->num_rows();
    }
    return rows;
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Adapt(size_t file,
                                                    const arrow::RecordBatch& batch) const {
    arrow::ArrayVector columns;
    for (size_t i = 0; i < plans[file].places.size(); ++i) {
      const int place = plans[file].places[i];
      GNOMON_ASSIGN_OR_RETURN(
          auto column,
          folders.Adapt(file, place < 0 ? nullptr : batch.column(place), batch.num_rows(),
                        *schema->field(static_cast<int>(i)), paths[file]));
      columns.push_back(std::move(column));
    }
    return arrow::RecordBatch::Make(schema, batch.num_rows(), std::move(columns));
  }

  Result<std::shared_ptr<arrow::Table>> Adapt(size_t file, const arrow::Table& table) const {
    std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
    for (size_t i = 0; i < plans[file].places.size(); ++i) {
      const int place = plans[file].places[i];
      const arrow::Field& field = *schema->field(static_cast<int>(i));
      arrow::ArrayVector chunks;
      if (place < 0) chunks.push_back(nullptr);
      if (place >= 0) chunks = table.column(place)->chunks();
      for (auto& chunk : chunks) {
        GNOMON_ASSIGN_OR_RETURN(chunk,
                                folders.Adapt(file, chunk, table.num_rows(), field, paths[file]));
      }
      columns.push_back(std::make_shared<arrow::ChunkedArray>(std::move(chunks), field.type()));
    }
    return arrow::Table::Make(schema, std::move(columns), table.num_rows());
  }
};

class FileSetReader : public TableReader {
 public:
  FileSetReader(Context context, FileSet files)
      : context_(std::move(context)), files_(std::move(files)), num_rows_(files_.num_rows()) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return files_.schema; }
  int64_t num_rows() const override { return num_rows_; }
  const ReadStats& stats() const override { return stats_; }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    while (batch_ == nullptr || offset_ == batch_->num_rows()) {
      GNOMON_ASSIGN_OR_RETURN(batch_, NextFromFiles());
      offset_ = 0;
      if (batch_ == nullptr) return nullptr;
    }
    const int64_t rows = std::min(files_.options.batch_rows, batch_->num_rows() - offset_);
    auto slice = rows == batch_->num_rows() ? batch_ : batch_->Slice(offset_, rows);
    offset_ += rows;
    stats_.rows += rows;
    return slice;
  }

 private:
  Result<std::shared_ptr<arrow::RecordBatch>> NextFromFiles() {
    while (file_ < files_.paths.size()) {
      if (stream_ == nullptr) {
        GNOMON_RETURN_NOT_OK(FaultPoint("file.before_scan"));
        GNOMON_RETURN_NOT_OK(files_.Prepare(file_));
        GNOMON_ASSIGN_OR_RETURN(
            stream_, files_.sources[file_]->Scan(context_, files_.plans[file_].request, &stats_));
      }
      GNOMON_ASSIGN_OR_RETURN(const auto batch, stream_->Next());
      if (batch != nullptr) return files_.Adapt(file_, *batch);
      stream_.reset();
      files_.sources[file_].reset();
      ++file_;
    }
    return nullptr;
  }

  Context context_;
  FileSet files_;
  int64_t num_rows_;
  ReadStats stats_;
  size_t file_ = 0;
  std::unique_ptr<internal::BatchStream> stream_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t offset_ = 0;
};

}  // namespace

Result<std::unique_ptr<TableReader>> TableReader::Open(const Context& context,
                                                       const std::string& path,
                                                       const ReadOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(auto files, FileSet::Open(context, path, options));
  return std::make_unique<FileSetReader>(context, std::move(files));
}

Result<std::unique_ptr<TableReader>> OpenFilePart(const Context& context, const std::string& path,
                                                  const FilePart& part,
                                                  const ReadOptions& options) {
  GNOMON_CHECK(part.index >= 0 && part.index < part.count, "a part of a file");
  GNOMON_ASSIGN_OR_RETURN(auto files, FileSet::Open(context, path, options));
  if (part.count > 1 && (files.paths.size() != 1 || files.formats[0] != FileFormat::kParquet))
    return Error(ErrorKind::kUser, "only a Parquet file can be read in parts: ", path);
  files.plans[0].request.file_part = part;
  return std::make_unique<FileSetReader>(context, std::move(files));
}

Result<std::shared_ptr<arrow::Table>> ReadTable(const Context& context, const std::string& path,
                                                const ReadOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(auto files, FileSet::Open(context, path, options));
  std::vector<std::shared_ptr<arrow::Table>> tables(files.paths.size());
  GNOMON_RETURN_NOT_OK(
      ParallelFor(context, static_cast<int64_t>(tables.size()), [&](int64_t i) -> Status {
        const auto file = static_cast<size_t>(i);
        ReadStats stats;
        GNOMON_RETURN_NOT_OK(FaultPoint("file.before_scan"));
        GNOMON_RETURN_NOT_OK(files.Prepare(file));
        GNOMON_ASSIGN_OR_RETURN(const auto table, files.sources[file]->Read(
                                                      context, files.plans[file].request, &stats));
        GNOMON_ASSIGN_OR_RETURN(tables[file], files.Adapt(file, *table));
        return Status::OK();
      }));
  if (tables.size() == 1) return tables[0];
  return arrow::ConcatenateTables(tables);
}

Result<std::shared_ptr<arrow::Schema>> ReadSchema(const Context& context, const std::string& path,
                                                  std::optional<FileFormat> format) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(auto files, FileSet::Open(context, path, {.format = format}));
  return files.schema;
}

}  // namespace gnomon::table
