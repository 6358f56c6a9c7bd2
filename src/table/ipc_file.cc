#include <array>

#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>

#include "table/canonical_array_internal.h"
#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

constexpr std::string_view kMagic = "ARROW1";
/// Magic, padding, an empty footer, its length and magic.
constexpr int64_t kSmallestFile = 18;

arrow::ipc::IpcReadOptions ReadOptionsForIpc() {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  return options;
}

/// Validates each batch in full: offsets in the file are not trusted.
class CheckedReader : public arrow::RecordBatchReader {
 public:
  using NextBatch = std::function<Result<std::shared_ptr<arrow::RecordBatch>>()>;
  CheckedReader(std::shared_ptr<arrow::Schema> schema, NextBatch next)
      : schema_(std::move(schema)), next_(std::move(next)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    GNOMON_ASSIGN_OR_RETURN(*batch, next_());
    return *batch == nullptr ? Status::OK() : (*batch)->ValidateFull();
  }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  NextBatch next_;
};

Result<bool> HasFileMagic(arrow::io::RandomAccessFile* file, const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t size, file->GetSize());
  const auto length = static_cast<int64_t>(kMagic.size());
  std::array<char, kMagic.size()> bytes = {};
  GNOMON_RETURN_NOT_OK(file->ReadAt(0, length, bytes.data()).status());
  const std::string_view magic(bytes.data(), bytes.size());
  if (magic != kMagic) return false;
  if (size >= kSmallestFile)
    GNOMON_RETURN_NOT_OK(file->ReadAt(size - length, length, bytes.data()).status());
  if (size < kSmallestFile || magic != kMagic)
    return Error(ErrorKind::kDataLoss, "truncated Arrow IPC file: ", path);
  return true;
}

struct OpenedIpc {
  std::shared_ptr<arrow::RecordBatchReader> reader;
  int64_t num_rows = -1;
};

Result<OpenedIpc> OpenFooterFile(const std::shared_ptr<arrow::io::RandomAccessFile>& file,
                                 const std::string& path) {
  auto opened = arrow::ipc::RecordBatchFileReader::Open(file, ReadOptionsForIpc());
  if (!opened.ok()) return FileError(opened.status(), path, ErrorKind::kDataLoss);
  const auto reader = *opened;
  const auto num_rows = reader->CountRows();
  if (!num_rows.ok()) return FileError(num_rows.status(), path, ErrorKind::kDataLoss);
  auto next = [reader, i = 0]() mutable -> Result<std::shared_ptr<arrow::RecordBatch>> {
    if (i == reader->num_record_batches()) return nullptr;
    return reader->ReadRecordBatch(i++);
  };
  return OpenedIpc{std::make_shared<CheckedReader>(reader->schema(), std::move(next)), *num_rows};
}

Result<OpenedIpc> OpenIpc(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const auto file, OpenInput(path));
  GNOMON_ASSIGN_OR_RETURN(const bool has_footer, HasFileMagic(file.get(), path));
  if (has_footer) return OpenFooterFile(file, path);
  GNOMON_RETURN_NOT_OK(file->Seek(0));
  const auto reader = arrow::ipc::RecordBatchStreamReader::Open(file, ReadOptionsForIpc());
  if (!reader.ok()) return Error(ErrorKind::kUser, "not an Arrow IPC file or stream: ", path);
  auto next = [reader = *reader] { return reader->Next(); };
  return OpenedIpc{std::make_shared<CheckedReader>((*reader)->schema(), std::move(next)), -1};
}

class IpcWriter : public FormatWriter {
 public:
  IpcWriter(std::shared_ptr<arrow::ipc::RecordBatchWriter> writer, int64_t batch_rows)
      : writer_(std::move(writer)), batch_rows_(batch_rows) {}

  Status Write(const arrow::RecordBatch& batch) override {
    for (int64_t row = 0; row < batch.num_rows(); row += batch_rows_) {
      GNOMON_RETURN_NOT_OK(WriteRows(*batch.Slice(row, batch_rows_)));
    }
    return Status::OK();
  }
  Status Finish() override { return writer_->Close(); }

 private:
  // The format takes memory as it is: what the rows were a part of would be in the file.
  Status WriteRows(const arrow::RecordBatch& rows) {
    arrow::ArrayVector columns;
    for (const auto& column : rows.columns()) {
      GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(), CanonicalArray(column));
    }
    return writer_->WriteRecordBatch(
        *arrow::RecordBatch::Make(rows.schema(), rows.num_rows(), std::move(columns)));
  }

  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
  int64_t batch_rows_;
};

}  // namespace

Result<std::unique_ptr<FileSource>> OpenIpcFile(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(auto version, FileVersion::Of(path));
  auto opened = OpenIpc(path);
  if (!opened.ok()) return version.Explain(path, opened.status());
  OpenReader open = [path]() -> Result<std::shared_ptr<arrow::RecordBatchReader>> {
    GNOMON_ASSIGN_OR_RETURN(auto again, OpenIpc(path));
    return std::move(again.reader);
  };
  return MakeSequentialSource(path, std::move(version), std::move(opened->reader), std::move(open),
                              opened->num_rows, ErrorKind::kDataLoss);
}

Result<std::unique_ptr<FormatWriter>> MakeIpcWriter(const Sink& sink,
                                                    const std::shared_ptr<arrow::Schema>& schema,
                                                    const WriteOptions& options) {
  auto ipc = arrow::ipc::IpcWriteOptions::Defaults();
  ipc.use_threads = false;
  ipc.unify_dictionaries = true;
  // The format knows zstd and lz4 only; the default, snappy, stands for the fast one.
  if (options.compression == "zstd") {
    GNOMON_ASSIGN_OR_RETURN(ipc.codec, arrow::util::Codec::Create(arrow::Compression::ZSTD));
  } else if (options.compression == "snappy" || options.compression == "lz4") {
    GNOMON_ASSIGN_OR_RETURN(ipc.codec, arrow::util::Codec::Create(arrow::Compression::LZ4_FRAME));
  } else if (options.compression != "none") {
    return Error(ErrorKind::kUnsupported,
                 "compression of Arrow IPC files is zstd, lz4 or none, not ",
                 Quoted(options.compression));
  }
  GNOMON_ASSIGN_OR_RETURN(auto writer, arrow::ipc::MakeFileWriter(sink, schema, ipc));
  return std::make_unique<IpcWriter>(std::move(writer), options.row_group_rows);
}

}  // namespace gnomon::table::internal
