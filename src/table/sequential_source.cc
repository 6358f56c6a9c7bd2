#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

class SequentialStream : public BatchStream {
 public:
  SequentialStream(Context context, std::string path, FileVersion version,
                   std::shared_ptr<arrow::RecordBatchReader> reader, std::vector<int> columns,
                   ErrorKind invalid)
      : context_(std::move(context)),
        path_(std::move(path)),
        version_(std::move(version)),
        reader_(std::move(reader)),
        columns_(std::move(columns)),
        invalid_(invalid) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    std::shared_ptr<arrow::RecordBatch> batch;
    GNOMON_RETURN_NOT_OK(
        version_.Explain(path_, ReadError(reader_->ReadNext(&batch), path_, invalid_)));
    if (batch == nullptr) {
      GNOMON_RETURN_NOT_OK(version_.RequireNotWritten(path_));
      return nullptr;
    }
    return batch->SelectColumns(columns_);
  }

 private:
  Context context_;
  std::string path_;
  FileVersion version_;
  std::shared_ptr<arrow::RecordBatchReader> reader_;
  std::vector<int> columns_;
  ErrorKind invalid_;
};

class SequentialSource : public FileSource {
 public:
  SequentialSource(std::string path, FileVersion version,
                   std::shared_ptr<arrow::RecordBatchReader> first, OpenReader open,
                   int64_t num_rows, ErrorKind invalid)
      : path_(std::move(path)),
        version_(std::move(version)),
        schema_(first->schema()),
        first_(std::move(first)),
        open_(std::move(open)),
        num_rows_(num_rows),
        invalid_(invalid) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_rows() const override { return num_rows_; }

  Result<std::unique_ptr<BatchStream>> Scan(const Context& context, const ScanRequest& request,
                                            ReadStats* /*stats*/) override {
    auto reader = std::move(first_);
    if (reader == nullptr) {
      GNOMON_RETURN_NOT_OK(version_.RequireSame(path_));
      auto opened = open_();
      if (!opened.ok()) return version_.Explain(path_, opened.status());
      reader = *std::move(opened);
    }
    return std::make_unique<SequentialStream>(context, path_, version_, std::move(reader),
                                              request.columns, invalid_);
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const ScanRequest& request,
                                             ReadStats* stats) override {
    GNOMON_ASSIGN_OR_RETURN(const auto stream, Scan(context, request, stats));
    arrow::FieldVector fields;
    for (const int column : request.columns) fields.push_back(schema_->field(column));
    arrow::RecordBatchVector batches;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, stream->Next());
      if (batch == nullptr) break;
      batches.push_back(std::move(batch));
    }
    return arrow::Table::FromRecordBatches(arrow::schema(std::move(fields)), batches);
  }

 private:
  std::string path_;
  FileVersion version_;  ///< when it was opened first
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::RecordBatchReader> first_;
  OpenReader open_;
  int64_t num_rows_;
  ErrorKind invalid_;
};

}  // namespace

std::unique_ptr<FileSource> MakeSequentialSource(std::string path, FileVersion version,
                                                 std::shared_ptr<arrow::RecordBatchReader> first,
                                                 OpenReader open, int64_t num_rows,
                                                 ErrorKind invalid) {
  return std::make_unique<SequentialSource>(std::move(path), std::move(version), std::move(first),
                                            std::move(open), num_rows, invalid);
}

}  // namespace gnomon::table::internal
