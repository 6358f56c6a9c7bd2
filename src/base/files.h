#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace gnomon {

/// Reads a whole file. kNotFound names the path; kExhausted above `max_bytes`.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 32);

/// Writes `contents` to a temporary name beside `path`, syncs and renames: readers see the old file
/// or the new one, never a part; on failure the temporary file is removed and the old one stays.
Status WriteFileAtomic(const std::string& path, std::string_view contents);

/// A file that appears whole or not at all: write to temporary_path(), then Commit (fsync and
/// rename). Without Commit the temporary file is removed.
class AtomicFile {
 public:
  /// Creates parent folders when they are missing.
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();
  const std::string& temporary_path() const { return temporary_path_; }
  Status Commit();

 private:
  AtomicFile() = default;
  std::string path_;
  std::string temporary_path_;
};

/// Makes a folder and its parents.
Status MakeFolders(const std::string& path);

/// A folder below $TMPDIR that is removed with its contents at the end of the scope.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> Make(std::string_view prefix = "gnomon");
  TemporaryFolder(TemporaryFolder&&) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) noexcept;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  TemporaryFolder() = default;
  std::string path_;
};

}  // namespace gnomon
