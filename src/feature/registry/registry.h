#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"

/// The registry: Feast's registry message in one file, and beside it `<registry>.gnomon` for what
/// Feast's message has no place for. Both are replaced atomically; the second is bound to the first
/// by its version id.
namespace gnomon::feature {

struct MaterializationInterval {
  int64_t start;  ///< microseconds
  int64_t end;
  bool operator==(const MaterializationInterval&) const = default;
};

enum class JobState { kRunning, kSucceeded, kFailed, kCancelled };
const char* NameOf(JobState state);

/// One materialization, kept in the registry.
struct MaterializationJob {
  std::string id;  ///< JobId
  std::vector<std::string> views;
  MaterializationInterval interval;
  JobState state = JobState::kRunning;
  int64_t rows = 0;  ///< entity rows written
  int64_t failed_rows = 0;
  int64_t skipped_rows = 0;  ///< null keys
  int64_t started = 0;       ///< microseconds
  int64_t finished = 0;      ///< 0: not yet
  std::string error;
};

struct ViewState {
  std::string view;
  std::vector<MaterializationInterval> intervals;  ///< merged where they touch or overlap
  int64_t created = 0;
  int64_t last_updated = 0;
  /// Greatest end; the start of the next incremental run.
  std::optional<int64_t> Watermark() const;
};

/// What apply would do, one line per object.
struct RegistryChange {
  enum class Action { kCreate, kUpdate, kDelete, kUnchanged };
  Action action;
  std::string kind;  ///< "entity", "data source", "feature view", "on demand feature view",
                     ///< "feature service"
  std::string name;
  std::vector<std::string> details;  ///< "ttl: 1d -> 2d"
};

/// A snapshot with optimistic writes. Thread-safe: reads see an immutable snapshot, writes are
/// serialised and fail with kConflict when another process wrote the file since it was read (the
/// caller loads again and repeats).
class Registry {
 public:
  /// Opens or creates (in memory until the first write) the registry of `project`. A file that is
  /// no Feast registry or is truncated is kDataLoss; one that holds another project is fine: its
  /// objects are kept untouched.
  static Result<std::unique_ptr<Registry>> Open(const Context& context, const std::string& path,
                                                const std::string& project);
  virtual ~Registry() = default;

  virtual std::shared_ptr<const Definitions> definitions() const = 0;
  virtual ViewState StateOf(const std::string& view) const = 0;
  virtual std::vector<MaterializationJob> Jobs() const = 0;
  virtual std::string version_id() const = 0;
  virtual bool empty() const = 0;

  /// Reads the file again when it changed.
  virtual Status Refresh(const Context& context) = 0;

  /// Compares without writing.
  virtual std::vector<RegistryChange> Plan(const Definitions& wanted) const = 0;
  /// Replaces the project's definitions. Objects that are not in `wanted` are deleted.
  /// Materialization intervals of a view stay unless its stored form changed (entities, source,
  /// schema, aggregations).
  virtual Result<std::vector<RegistryChange>> Apply(const Context& context,
                                                    const Definitions& wanted) = 0;
  /// Removes the project's objects.
  virtual Status Teardown(const Context& context) = 0;

  virtual Status AddInterval(const Context& context, const std::string& view,
                             MaterializationInterval interval) = 0;
  /// Inserts or replaces by id; the last 1000 are kept.
  virtual Status PutJob(const Context& context, const MaterializationJob& job) = 0;

  /// The whole registry as JSON text (Feast's message by protobuf's JSON mapping, and our side
  /// file).
  virtual Result<std::string> DumpJson() const = 0;
};

}  // namespace gnomon::feature
