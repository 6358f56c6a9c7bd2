#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/io/type_fwd.h>
#include <arrow/type_fwd.h>

#include "base/error.h"
#include "table/file_system.h"

/// The file systems behind the paths of this module, and what the library of S3 has to give.
namespace gnomon::table::internal {

/// Which bytes a path stands for: differs when the file was replaced or written to.
struct FileVersion {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t modified = 0;  ///< nanoseconds
  std::string etag;      ///< of an object, for which the others but size are zero

  static Result<FileVersion> Of(const std::string& path);
  /// kConflict when the file was replaced or written to since, kNotFound when it is gone. For who
  /// opens it again with what was read of it before.
  Status RequireSame(const std::string& path) const;
  /// kConflict when the file was written to since; a replaced or removed one stays as it was for
  /// who has it open. An object that was replaced or removed is kConflict, too: each read asks for
  /// it by its name.
  Status RequireNotWritten(const std::string& path) const;
  /// kConflict when `now`, of the same path, is another version.
  Status RequireEqual(const FileVersion& now, const std::string& path) const;
  /// The reason why reading failed: RequireNotWritten of an object that changed, otherwise `error`,
  /// which bytes of two versions may look like.
  Status Explain(const std::string& path, const Status& error) const;
  bool operator==(const FileVersion&) const = default;
};

/// A file that appears whole or not at all. Without Commit nothing is left of it. Not thread-safe.
class AtomicOutput {
 public:
  virtual ~AtomicOutput() = default;
  /// Closing the stream does not yet make the file appear.
  virtual const std::shared_ptr<arrow::io::OutputStream>& stream() const = 0;
  virtual Status Commit() = 0;
};

/// Thread-safe. Paths are those of LocalPath.
class FileSystem {
 public:
  /// The one of the path's scheme. The library of S3 is opened at the first s3:// path.
  static Result<std::shared_ptr<FileSystem>> Of(const std::string& path);
  virtual ~FileSystem() = default;
  /// See ListDataFiles; not sorted.
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;
  virtual Result<bool> IsFile(const std::string& path) = 0;
  virtual Result<FileVersion> Version(const std::string& path) = 0;
  virtual Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& path) = 0;
  virtual Result<std::unique_ptr<AtomicOutput>> Create(const std::string& path) = 0;
  virtual Status Delete(const std::string& path) = 0;
};

std::shared_ptr<FileSystem> LocalFileSystem();

/// Local path of a path or file:// address; s3:// addresses as they are, other schemes are
/// kUnsupported.
Result<std::string> LocalPath(const std::string& path);

/// Names that readers leave out: hidden ones and those that begin with '_'.
bool IsLeftOut(std::string_view name);

}  // namespace gnomon::table::internal
