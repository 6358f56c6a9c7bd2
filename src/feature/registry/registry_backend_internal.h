#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feast/core/registry.pb.h"
#include "feature/registry/registry_file_internal.h"
#include "gnomon/side_registry.pb.h"

/// Where a registry's content is kept: files or the tables of a database.
namespace gnomon::feature {

/// Thread-safe.
class RegistryBackend {
 public:
  virtual ~RegistryBackend() = default;
  /// For messages; without a password.
  virtual const std::string& place() const = 0;
  virtual Result<RegistryContent> Read(const Context& context) = 0;
  /// False only when what is stored is surely `known`.
  virtual Result<bool> MayHaveChanged(const Context& context, const RegistryContent& known) = 0;
  /// Stores `after`, which was made of `before`, whole or not at all. kConflict when what it
  /// changes is not stored as in `before`. Sets the version id and what else belongs to the new
  /// state.
  virtual Status Write(const Context& context, const RegistryContent& before,
                       RegistryContent* after) = 0;
};

std::unique_ptr<RegistryBackend> MakeFileBackend(std::string path);
/// `project`: whose rows are read. kUnsupported for another kind of database.
Result<std::unique_ptr<RegistryBackend>> MakeSqlBackend(const std::string& url,
                                                        const std::string& project);

/// Whether `path` is a URL of a database.
bool IsSqlRegistry(const std::string& path);
Result<std::vector<std::string>> SqlProjects(const Context& context, const std::string& url);

/// kConflict that says what to do.
Status WrittenMeanwhile(const std::string& place);

}  // namespace gnomon::feature
