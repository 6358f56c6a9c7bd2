#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/mutex.h"
#include "runtime/file_descriptor.h"

namespace gnomon::runtime {

/// The folder for unnamed files when none is configured: $TMPDIR, else /var/tmp (on a disk, which
/// /tmp often is not).
std::string DefaultSpillFolder();

/// Opens a file without a name in `folder`: O_TMPFILE, or where the file system has none, a
/// temporary name that is removed at once. Nothing is left behind by a crash. Errors name the
/// folder and say what to do.
Result<FileDescriptor> OpenUnnamedFile(const std::string& folder);

/// What went wrong with a file in a spill folder, and what to do about it.
Status SpillError(int errno_value, std::string_view what, const std::string& folder);

/// Finished, immutable bytes in memory (a sealed memfd) or in an unnamed file. In memory they stay
/// reserved from the budget until the last owner (store or reader) is gone. Thread-safe.
class StoredBytes : public std::enable_shared_from_this<StoredBytes> {
 public:
  /// `reserved` bytes of `memory` (may be null) are given back at the end.
  StoredBytes(FileDescriptor file, int64_t size, bool spilled, MemoryBudget* memory,
              int64_t reserved);
  ~StoredBytes();
  StoredBytes(const StoredBytes&) = delete;
  StoredBytes& operator=(const StoredBytes&) = delete;

  int64_t size() const { return size_; }
  bool spilled() const { return spilled_; }
  const FileDescriptor& file() const { return file_; }

  /// The bytes, mapped and not copied. The buffer keeps this alive.
  Result<std::shared_ptr<arrow::Buffer>> Map();

 private:
  const FileDescriptor file_;
  const int64_t size_;
  const bool spilled_;
  MemoryBudget* const memory_;
  const int64_t reserved_;
  Mutex mutex_;
  const uint8_t* mapping_ GNOMON_GUARDED_BY(mutex_) = nullptr;
};

/// An output stream into memory as long as `memory` grants it, and into an unnamed file from the
/// first refusal on. Writes are gathered, so small ones are cheap. Not thread-safe.
class StoredBytesWriter : public arrow::io::OutputStream {
 public:
  enum class Place { kMemoryFirst, kFile };

  /// `memory` null: no limit. It outlives the finished bytes.
  StoredBytesWriter(Place place, MemoryBudget* memory, std::string spill_folder);
  ~StoredBytesWriter() override;

  using arrow::io::OutputStream::Write;
  Status Write(const void* data, int64_t size) override;
  Result<int64_t> Tell() const override;
  Status Close() override;
  bool closed() const override { return closed_; }

  /// Opens the memory or the file now; else the first written bytes do it.
  Status Open() { return MakeRoom(0); }
  /// Bytes that have reached the memory or the file.
  int64_t bytes_written() const { return written_; }

  /// Ends writing. What was not finished is dropped with the writer.
  Result<std::shared_ptr<StoredBytes>> Finish();

 private:
  Status FlushPending();
  Status Store(std::string_view bytes);
  Status MakeRoom(int64_t size);
  Status MoveToFile();

  const Place place_;
  MemoryBudget* const memory_;
  const std::string spill_folder_;
  FileDescriptor file_;
  bool spilled_ = false;
  bool closed_ = false;
  int64_t written_ = 0;   // bytes in file_
  int64_t reserved_ = 0;  // of memory_
  std::string pending_;
};

}  // namespace gnomon::runtime
