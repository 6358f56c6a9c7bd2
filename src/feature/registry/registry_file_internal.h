#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/context.h"
#include "base/error.h"
#include "feast/core/registry.pb.h"
#include "gnomon/side_registry.pb.h"

/// The two files of a registry, `<path>` and `<path>.gnomon`: docs/formats/registry.md.
namespace gnomon::feature {

/// Tells whether a file was replaced since.
struct FileStamp {
  bool exists = false;
  int64_t size = 0;
  int64_t modified = 0;  ///< nanoseconds
  uint64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};
Result<FileStamp> StampOf(const std::string& path);

/// What is stored in a database, by table and name, as the bytes that are there.
using RegistryRows = std::map<std::pair<std::string, std::string>, std::string>;

/// What both files, or the project's rows of a database, hold together.
struct RegistryContent {
  feast::core::Registry registry;      ///< an absent file is an empty message
  gnomon::proto::SideGeneration side;  ///< the generation that belongs to the registry
  /// The side file has no generation of this registry's version: another tool has written the
  /// registry. `side` is the newest one.
  bool side_is_older = false;
  FileStamp stamp;
  std::shared_ptr<const RegistryRows> rows;  ///< of a database
  std::string database_stamp;  ///< tells whether a database has changed; empty: not known
};

/// kDataLoss for a file that is no registry, is truncated or damaged; kUnsupported for one of a
/// newer format.
Result<RegistryContent> ReadRegistry(const std::string& path);

/// Writes both files. `before` is what the files hold now, `after` the new content, whose registry
/// has a new version id already. Readers and a crash between the files see either whole. REQUIRES:
/// the lock is held.
Status WriteRegistry(const std::string& path, const RegistryContent& before,
                     RegistryContent* after);

/// An exclusive lock between processes (flock on `<path>.lock`); released at the end of the scope.
class RegistryLock {
 public:
  /// Waits until the lock is free or the context ends.
  static Result<RegistryLock> Acquire(const Context& context, const std::string& path);
  RegistryLock(RegistryLock&& other) noexcept;
  RegistryLock& operator=(RegistryLock&& other) noexcept;
  ~RegistryLock();

 private:
  explicit RegistryLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace gnomon::feature
