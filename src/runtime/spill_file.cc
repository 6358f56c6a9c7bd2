#include "runtime/spill_file.h"

#include <utility>

#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "runtime/batch_stream_internal.h"
#include "runtime/stored_bytes.h"

namespace gnomon::runtime {

SpillFile::SpillFile(SpillFile&&) noexcept = default;
SpillFile& SpillFile::operator=(SpillFile&&) noexcept = default;
SpillFile::~SpillFile() = default;

Result<SpillFile> SpillFile::Create(const std::shared_ptr<arrow::Schema>& schema,
                                    const std::string& folder) {
  SpillFile file;
  file.output_ = std::make_shared<StoredBytesWriter>(
      StoredBytesWriter::Place::kFile, nullptr, folder.empty() ? DefaultSpillFolder() : folder);
  GNOMON_ASSIGN_OR_RETURN(file.writer_, OpenBatchStream(file.output_, schema));
  // Opens the file now, so that a wrong folder is an error here and not after much work.
  GNOMON_RETURN_NOT_OK(file.output_->Open());
  return file;
}

Status SpillFile::Write(const arrow::RecordBatch& batch) {
  GNOMON_CHECK(stored_ == nullptr, "a spill file is written before EndWriting");
  GNOMON_RETURN_NOT_OK(writer_->WriteRecordBatch(batch));
  rows_ += batch.num_rows();
  return Status::OK();
}

Status SpillFile::EndWriting() {
  if (stored_ != nullptr) return Status::OK();
  GNOMON_RETURN_NOT_OK(writer_->Close());
  GNOMON_ASSIGN_OR_RETURN(stored_, output_->Finish());
  writer_.reset();
  output_.reset();
  return Status::OK();
}

Result<std::shared_ptr<arrow::RecordBatchReader>> SpillFile::Read() {
  GNOMON_RETURN_NOT_OK(EndWriting());
  return ReadBatchStream(stored_);
}

int64_t SpillFile::bytes() const {
  return stored_ != nullptr ? stored_->size() : output_->bytes_written();
}

}  // namespace gnomon::runtime
