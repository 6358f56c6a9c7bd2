#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace arrow::ipc {
class RecordBatchWriter;
}

namespace gnomon::runtime {

class StoredBytes;
class StoredBytesWriter;

/// A run of record batches in an unnamed file: what an operator sets aside when memory ends.
/// Written once, read as often as wanted. A crash leaves nothing behind. Not thread-safe while it
/// is written; readers are independent of each other.
class SpillFile {
 public:
  /// An empty `folder` is DefaultSpillFolder(). Errors name the folder when it is missing, full or
  /// read-only.
  static Result<SpillFile> Create(const std::shared_ptr<arrow::Schema>& schema,
                                  const std::string& folder = {});
  SpillFile(SpillFile&&) noexcept;
  SpillFile& operator=(SpillFile&&) noexcept;
  ~SpillFile();

  /// Appends a batch of the schema. Not after EndWriting or the first Read.
  Status Write(const arrow::RecordBatch& batch);
  /// Lets go of what writing needs: some 40 KiB. Nothing when it has ended.
  Status EndWriting();

  /// A new reader from the first batch on; the first call ends writing. Batches lie in the mapped
  /// file (page cache, not the process's memory); reader and batches may outlive the SpillFile.
  Result<std::shared_ptr<arrow::RecordBatchReader>> Read();

  int64_t rows() const { return rows_; }
  /// Bytes in the file; what is not written out yet is not counted.
  int64_t bytes() const;

 private:
  SpillFile() = default;

  std::shared_ptr<StoredBytesWriter> output_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
  std::shared_ptr<StoredBytes> stored_;  // once reading has begun
  int64_t rows_ = 0;
};

}  // namespace gnomon::runtime
