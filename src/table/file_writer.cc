#include <arrow/io/compressed.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>

#include "base/fault.h"
#include "table/file_internal.h"

namespace gnomon::table {

namespace {

using internal::FileError;
using internal::FormatWriter;

Result<std::unique_ptr<FormatWriter>> MakeFormatWriter(const Context& context, FileFormat format,
                                                       const internal::Sink& sink,
                                                       const std::shared_ptr<arrow::Schema>& schema,
                                                       const WriteOptions& options) {
  switch (format) {
    case FileFormat::kParquet:
      return internal::MakeParquetWriter(context, sink, schema, options);
    case FileFormat::kCsv:
      return internal::MakeCsvWriter(sink, schema);
    case FileFormat::kJson:
      return internal::MakeJsonWriter(sink, schema);
    case FileFormat::kIpc:
      return internal::MakeIpcWriter(sink, schema, options);
  }
  return Error(ErrorKind::kInternal, "unknown file format: ", static_cast<int>(format));
}

/// After the first error every call gives it again, so that a half-written file is never committed.
class AtomicTableWriter : public TableWriter {
 public:
  static Result<std::unique_ptr<TableWriter>> Open(const Context& context, const std::string& path,
                                                   const std::shared_ptr<arrow::Schema>& schema,
                                                   const WriteOptions& options) {
    GNOMON_ASSIGN_OR_RETURN(const std::string local, internal::LocalPath(path));
    GNOMON_ASSIGN_OR_RETURN(const FileFormat format, options.format
                                                         ? Result<FileFormat>(*options.format)
                                                         : FormatOfPath(local));
    if (options.row_group_rows <= 0) {
      return Error(ErrorKind::kUser, "row_group_rows is not positive: ", options.row_group_rows);
    }
    GNOMON_ASSIGN_OR_RETURN(const auto system, internal::FileSystem::Of(local));
    GNOMON_ASSIGN_OR_RETURN(auto output, system->Create(local));
    auto writer = std::unique_ptr<AtomicTableWriter>(
        new AtomicTableWriter(context, local, schema, std::move(output)));
    GNOMON_RETURN_NOT_OK(
        FileError(writer->OpenFormat(format, options), local, ErrorKind::kInternal));
    return writer;
  }

  Status Write(const arrow::RecordBatch& batch) override {
    return Remember([&]() -> Status {
      GNOMON_RETURN_NOT_OK(context_.Check());
      GNOMON_RETURN_NOT_OK(FaultPoint("file.write"));
      if (!batch.schema()->Equals(*schema_, /*check_metadata=*/false)) {
        return Error(ErrorKind::kInternal, "batch has another schema than the file ", path_, ": ",
                     batch.schema()->ToString());
      }
      return format_->Write(batch);
    });
  }

  Status Commit() override {
    return Remember([&]() -> Status {
      GNOMON_RETURN_NOT_OK(context_.Check());
      GNOMON_RETURN_NOT_OK(format_->Finish());
      if (compressed_ != nullptr) GNOMON_RETURN_NOT_OK(compressed_->Close());
      return output_->Commit();
    });
  }

 private:
  AtomicTableWriter(Context context, std::string path, std::shared_ptr<arrow::Schema> schema,
                    std::unique_ptr<internal::AtomicOutput> output)
      : context_(std::move(context)),
        path_(std::move(path)),
        schema_(std::move(schema)),
        output_(std::move(output)) {}

  Status OpenFormat(FileFormat format, const WriteOptions& options) {
    internal::Sink sink = output_->stream();
    if (ToLower(path_).ends_with(".gz")) {
      GNOMON_ASSIGN_OR_RETURN(codec_, arrow::util::Codec::Create(arrow::Compression::GZIP));
      GNOMON_ASSIGN_OR_RETURN(compressed_,
                              arrow::io::CompressedOutputStream::Make(codec_.get(), sink));
      sink = compressed_;
    }
    GNOMON_ASSIGN_OR_RETURN(format_, MakeFormatWriter(context_, format, sink, schema_, options));
    return Status::OK();
  }

  template <typename Body>
  Status Remember(Body&& body) {
    if (failed_.ok())
      failed_ = FileError(body(), Concat("cannot write ", path_), ErrorKind::kUnavailable);
    return failed_;
  }

  Context context_;
  std::string path_;
  std::shared_ptr<arrow::Schema> schema_;
  std::unique_ptr<internal::AtomicOutput> output_;  ///< given up after the formats are closed
  std::unique_ptr<arrow::util::Codec> codec_;
  std::shared_ptr<arrow::io::OutputStream> compressed_;
  std::unique_ptr<FormatWriter> format_;
  Status failed_;
};

}  // namespace

Result<std::unique_ptr<TableWriter>> TableWriter::Open(const Context& context,
                                                       const std::string& path,
                                                       const std::shared_ptr<arrow::Schema>& schema,
                                                       const WriteOptions& options) {
  return AtomicTableWriter::Open(context, path, schema, options);
}

Status WriteTable(const Context& context, const arrow::Table& table, const std::string& path,
                  const WriteOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(const auto writer,
                          TableWriter::Open(context, path, table.schema(), options));
  arrow::TableBatchReader batches(table);
  batches.set_chunksize(options.row_group_rows);
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(writer->Write(*batch));
  }
  return writer->Commit();
}

}  // namespace gnomon::table
