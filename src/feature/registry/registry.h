#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"

/// The registry: Feast's registry message in one file, and beside it `<registry>.gnomon` for what
/// Feast's message has no place for; or Feast's tables in SQLite or PostgreSQL, and beside them
/// tables of our own. docs/formats/registry.md.
namespace gnomon::feature {

struct MaterializationInterval {
  int64_t start;  ///< microseconds
  int64_t end;
  bool operator==(const MaterializationInterval&) const = default;
};

/// A running job is written again at least so often; one on another machine of which nothing was
/// heard for longer than the second is interrupted. Microseconds.
inline constexpr int64_t kJobHeartbeat = 30 * int64_t{1'000'000};
inline constexpr int64_t kJobSilence = 10 * kJobHeartbeat;

/// kInterrupted: the process that ran the job is gone.
enum class JobState { kRunning, kSucceeded, kFailed, kCancelled, kInterrupted };
const char* NameOf(JobState state);
/// kUser names the states.
Result<JobState> ParseJobState(std::string_view text);

/// How far a job came with one view.
struct ViewProgress {
  std::string view;
  MaterializationInterval interval = {};
  bool done = false;   ///< its interval is published
  int64_t rows = 0;    ///< entity rows that are committed
  std::string source;  ///< fingerprint of what the committed rows were read from
  bool operator==(const ViewProgress&) const = default;
};

/// The process that runs a job.
struct JobOwner {
  std::string host;
  std::string boot;  ///< tells machines and process namespaces apart that share a host name
  int64_t process = 0;
  int64_t process_start = 0;  ///< clock ticks since boot
  bool operator==(const JobOwner&) const = default;

  static JobOwner ThisProcess();
  /// Absent when it cannot be told from here: another machine, or a job of an older build.
  std::optional<bool> IsAlive() const;
};

/// One materialization, kept in the registry.
struct MaterializationJob {
  std::string id;  ///< JobId
  std::vector<std::string> views;
  MaterializationInterval interval = {};  ///< spans those of the views
  JobState state = JobState::kRunning;
  int64_t rows = 0;  ///< entity rows written
  int64_t failed_rows = 0;
  int64_t skipped_rows = 0;  ///< null keys
  int64_t started = 0;       ///< microseconds
  int64_t finished = 0;      ///< 0: not yet
  std::string error;
  std::vector<ViewProgress> progress;  ///< as `views`; empty in jobs of older builds
  JobOwner owner;
  bool cancel_requested = false;
  int resumed = 0;      ///< how often it was taken up again
  int64_t updated = 0;  ///< microseconds, of the last change
};

struct ViewState {
  std::string view;
  std::vector<MaterializationInterval> intervals;  ///< merged where they touch or overlap
  int64_t created = 0;
  int64_t last_updated = 0;
  /// Greatest end; the start of the next incremental run.
  std::optional<int64_t> Watermark() const;
};

/// What a column of a saved dataset holds. NaN counts as a value, not as a null.
struct ColumnStatistics {
  std::string name;
  std::string type;  ///< Arrow's name
  int64_t nulls = 0;
  std::optional<int64_t> distinct;  ///< values; absent for floats and nested types
  std::string min;                  ///< as text; empty: no order, or no value but NaN
  std::string max;
  std::optional<double> mean;  ///< of finite numbers
  std::optional<double> std;   ///< of the sample; absent below two values
  bool operator==(const ColumnStatistics&) const = default;
};

/// A retrieval that was kept: where it lies, what it is made of and what it holds.
struct SavedDataset {
  std::string name;
  std::string path;                   ///< relative to the repository when it lies in it
  std::vector<std::string> features;  ///< "view:feature"
  std::vector<std::string> join_keys;
  bool full_feature_names = false;
  std::string feature_service;
  Tags tags;
  int64_t rows = 0;
  std::string fingerprint;  ///< of the values, table::Fingerprint
  std::vector<ColumnStatistics> columns;
  int64_t created = 0;               ///< microseconds
  std::optional<int64_t> min_event;  ///< absent without rows
  std::optional<int64_t> max_event;
  bool operator==(const SavedDataset&) const = default;
};

/// What apply would do, one line per object.
struct RegistryChange {
  enum class Action { kCreate, kUpdate, kDelete, kUnchanged };
  Action action;
  std::string kind;  ///< "plug-in library", "entity", "data source", "feature view", "on demand
                     ///< feature view", "feature service"
  std::string name;
  std::vector<std::string> details;  ///< "ttl: 1d -> 2d"
};

/// A snapshot with optimistic writes. Thread-safe: reads see an immutable snapshot, writes are
/// serialised and fail with kConflict when another process wrote since it was read (the caller
/// calls Refresh and repeats).
class Registry {
 public:
  /// Opens or creates (in memory until the first write) the registry of `project`. `path` is a
  /// file, sqlite:///FILE or postgresql://... A file that is no Feast registry or is truncated is
  /// kDataLoss; one that holds another project is fine: its objects are kept untouched.
  static Result<std::unique_ptr<Registry>> Open(const Context& context, const std::string& path,
                                                const std::string& project);
  /// The names of the projects that a registry holds.
  static Result<std::vector<std::string>> Projects(const Context& context, const std::string& path);
  virtual ~Registry() = default;

  virtual std::shared_ptr<const Definitions> definitions() const = 0;
  /// Objects of the project that are kept but are not among the definitions, with the reason.
  virtual std::vector<std::string> LeftOut() const = 0;
  /// Parts of the definitions' objects that are kept but which definitions cannot say, and Feast's
  /// objects of other kinds, with what it means.
  virtual std::vector<std::string> PartsLeftOut() const = 0;
  virtual ViewState StateOf(const std::string& view) const = 0;
  /// In order of their start. A running job whose process is gone is kInterrupted.
  virtual std::vector<MaterializationJob> Jobs() const = 0;
  virtual std::string version_id() const = 0;
  virtual bool empty() const = 0;

  /// Reads again what is stored when it changed.
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
  /// Inserts or replaces by id; the last 1000 are kept. Of two writers that insert a job, one
  /// conflicts. A request to cancel it, made meanwhile, stays.
  virtual Status PutJob(const Context& context, const MaterializationJob& job) = 0;

  /// In order of name. Those that another tool wrote have no statistics.
  virtual std::vector<SavedDataset> SavedDatasets() const = 0;
  /// kConflict when the name is taken and `overwrite` is false.
  virtual Status PutSavedDataset(const Context& context, const SavedDataset& dataset,
                                 bool overwrite) = 0;
  /// Forgets it; the file stays. kNotFound.
  virtual Status DeleteSavedDataset(const Context& context, const std::string& name) = 0;

  /// The registry as JSON text (Feast's message by protobuf's JSON mapping, and our side): the
  /// whole file, or the project's rows of a database.
  virtual Result<std::string> DumpJson() const = 0;
};

}  // namespace gnomon::feature
