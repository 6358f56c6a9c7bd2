#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/definition/repository.h"
#include "feature/engine/retrieval.h"
#include "feature/online/online_reader.h"
#include "feature/registry/registry.h"

/// The front door of Gnomon's feature platform: one object for a repository folder, the same verbs
/// as Feast's FeatureStore. examples/feature_store.cc is the tutorial.
namespace gnomon::feature {

/// What to retrieve: references "view:feature" (or "view:*"), or a feature service.
struct FeatureRequest {
  std::vector<std::string> features;
  std::string feature_service;
  bool full_feature_names = false;
};

/// Sees the rows of a retrieval on their way to a file.
class RowsVisitor {
 public:
  virtual ~RowsVisitor() = default;
  /// Before the first rows.
  virtual Status Begin(const std::shared_ptr<arrow::Schema>& schema) = 0;
  /// The next rows. An error ends the retrieval, and no file appears.
  virtual Status Visit(const arrow::RecordBatch& batch) = 0;
  /// After the last rows, before the file appears.
  virtual Status End(int64_t num_rows) = 0;
};

/// A retrieval that has been planned and not yet run. Immutable, thread-safe; may be run more than
/// once.
class RetrievalJob {
 public:
  virtual ~RetrievalJob() = default;
  /// The plan in words, with reasons. Looks at the sizes of entity rows and files to say how they
  /// will be joined with the context's memory.
  virtual std::string Explain(const Context& context = Context()) const = 0;
  /// Runs it: one row per entity row, in their order. See RetrieveHistorical.
  virtual Result<std::shared_ptr<arrow::Table>> ToTable(const Context& context) const = 0;
  /// Runs it and writes a file (format by suffix) that appears whole or not at all. Returns the
  /// number of rows. `visitor` (may be null) sees what is written.
  virtual Result<int64_t> WriteTo(const Context& context, const std::string& path,
                                  RowsVisitor* visitor) const = 0;
  Result<int64_t> WriteTo(const Context& context, const std::string& path) const {
    return WriteTo(context, path, nullptr);
  }
  /// Of the last run.
  virtual RetrievalStats Stats() const = 0;
  virtual const FeaturePlan& plan() const = 0;
};

/// Feast's PushMode.
enum class PushMode { kOnline, kOffline, kOnlineAndOffline };
/// "online", "offline", "online_and_offline".
Result<PushMode> ParsePushMode(std::string_view text);

struct MaterializeRequest {
  int64_t start = INT64_MIN;            ///< microseconds, inclusive
  std::optional<int64_t> end = {};      ///< inclusive; absent: now
  std::vector<std::string> views = {};  ///< empty: all with online: true
  bool force = false;                   ///< beside a running job on the same views
};

/// A materialization that stands in the registry as running, and has done nothing yet. Not
/// thread-safe, but for stop_token(). The store outlives it.
class MaterializationRun {
 public:
  /// One that was never run is recorded as cancelled.
  virtual ~MaterializationRun() = default;
  virtual const MaterializationJob& job() const = 0;
  /// Fires with the context's token, and when somebody cancels the job.
  virtual std::stop_token stop_token() const = 0;
  /// Works it off; what FeatureStore::Materialize returns. REQUIRES: was not called before.
  virtual Result<MaterializationJob> Run() = 0;
};

/// Per view, for `status`.
struct ViewStatus {
  std::string view;
  bool online = false;
  std::optional<int64_t> watermark;
  int64_t rows = 0;                         ///< in the online store
  std::optional<double> freshness_seconds;  ///< now - watermark
  std::string last_failed_job;  ///< id and error, empty when none failed since the last success
};

/// A SELECT that gives join keys, event_timestamp and anything else.
struct EntityQuery {
  std::string sql;
};

/// Thread-safe.
class FeatureStore {
 public:
  /// Loads feature_store.yaml of the folder (or `yaml_path`), opens registry and stores.
  /// Definitions are those of the registry: what was applied, not what the files say now. They are
  /// looked at again after registry.cache_ttl.
  static Result<std::unique_ptr<FeatureStore>> Open(const Context& context,
                                                    const std::string& folder,
                                                    const std::string& yaml_path = "");
  static Result<std::unique_ptr<FeatureStore>> Open(const Context& context,
                                                    RepositoryConfig config);
  ~FeatureStore();

  const RepositoryConfig& config() const;
  const Registry& registry() const;
  std::shared_ptr<const Definitions> definitions() const;
  /// What the plug-in libraries of feature_store.yaml add; null when there are none.
  std::shared_ptr<const Extensions> extensions() const;

  /// Checks definitions against the sources' schemas and completes them; what Apply would store.
  Result<Definitions> Resolve(const Context& context, const Definitions& definitions) const;
  Result<std::vector<RegistryChange>> Plan(const Context& context,
                                           const Definitions& definitions) const;
  /// What Apply would lose, one line each: views that are deleted or leave the online store, and
  /// features that are removed or get another type while there is materialized data.
  Result<std::vector<std::string>> DestructiveChanges(const Context& context,
                                                      const Definitions& definitions) const;
  /// Stores the definitions and prepares the online store: creates tables of new views, drops those
  /// of removed ones. Does not ask about DestructiveChanges. kConflict when somebody else has
  /// changed the definitions since they were read.
  Result<std::vector<RegistryChange>> Apply(const Context& context, const Definitions& definitions);
  /// Loads features.yaml (features/*.yaml) of the repository.
  Result<Definitions> LoadRepository() const;
  /// Removes the project's registry objects and online tables. Data and models stay.
  Status Teardown(const Context& context);

  /// One job over the views; the interval of a view is published after its last row is committed.
  /// An error ends the job (state failed) and leaves the views that were done. The newest job of
  /// the same views and intervals, when it was interrupted, cancelled or failed, is taken up again:
  /// what it committed from sources that have not changed since is not written once more.
  /// kConflict when a running job works on one of the views in an overlapping interval.
  Result<MaterializationJob> Materialize(const Context& context, const MaterializeRequest& request);
  /// From each view's watermark minus its TTL (the beginning when there is none) to `end` (absent:
  /// now).
  Result<MaterializationJob> MaterializeIncremental(const Context& context,
                                                    std::optional<int64_t> end,
                                                    const std::vector<std::string>& views = {},
                                                    bool force = false);
  /// Materialize and MaterializeIncremental in two steps: these refuse what cannot be begun, and
  /// what they return does the work, with `context`. From the first step on the job is running, for
  /// other processes too.
  Result<std::unique_ptr<MaterializationRun>> BeginMaterialize(const Context& context,
                                                               const MaterializeRequest& request);
  Result<std::unique_ptr<MaterializationRun>> BeginMaterializeIncremental(
      const Context& context, std::optional<int64_t> end,
      const std::vector<std::string>& views = {}, bool force = false);
  /// Takes a job that did not succeed up again. `force`: even one that seems to run.
  Result<MaterializationJob> ResumeMaterialization(const Context& context, const std::string& id,
                                                   bool force = false);
  /// Asks the process that runs the job to stop; an interrupted one is marked as cancelled.
  Result<MaterializationJob> CancelMaterialization(const Context& context, const std::string& id);
  /// kNotFound. The beginning of an id is enough.
  Result<MaterializationJob> GetMaterialization(const std::string& id) const;

  /// Entity rows in memory.
  Result<std::unique_ptr<RetrievalJob>> GetHistoricalFeatures(
      const FeatureRequest& request, std::shared_ptr<arrow::Table> entity_rows,
      const RetrievalOptions& options = {}) const;
  /// Entity rows from a file, read when the job runs.
  Result<std::unique_ptr<RetrievalJob>> GetHistoricalFeatures(
      const FeatureRequest& request, const std::string& entity_file,
      const RetrievalOptions& options = {}) const;
  /// Entity rows from the database of `offline_store`, asked when the job runs; in the order of the
  /// query.
  Result<std::unique_ptr<RetrievalJob>> GetHistoricalFeatures(
      const FeatureRequest& request, const EntityQuery& entity_query,
      const RetrievalOptions& options = {}) const;
  /// Without entity rows: [start, end], both inclusive; end absent: now.
  Result<std::unique_ptr<RetrievalJob>> GetHistoricalFeatures(
      const FeatureRequest& request, int64_t start, std::optional<int64_t> end,
      const RetrievalOptions& options = {}) const;

  /// The newest values. The plan is made once per request text and kept until the registry changes.
  /// `as_of` absent: the context's clock.
  Result<OnlineResponse> GetOnlineFeatures(const Context& context, const FeatureRequest& request,
                                           const arrow::RecordBatch& entity_rows,
                                           std::optional<int64_t> as_of = {}) const;
  /// The plan that GetOnlineFeatures would run.
  Result<std::shared_ptr<const OnlineReader>> OnlineReaderFor(const FeatureRequest& request) const;

  /// Rows for the views whose push source `name` is, else for the view of this name
  /// (Definitions::PushTargets). Writes rows (join keys, the source's timestamp field or
  /// `event_timestamp`, features or aggregated columns) to the online store at once. Older rows
  /// never overwrite newer ones; window views add the rows to their windows. Returns the number of
  /// entity rows of all views. Offline, the rows are added to the view's data source, which must be
  /// a folder (OfflineStore::Append), as one file that sorts after the pushes before it; with both,
  /// the offline store is written first.
  Result<int64_t> Push(const Context& context, const std::string& name,
                       const arrow::RecordBatch& rows, PushMode mode = PushMode::kOnline);
  /// Push to the online rows of one view, under its own name.
  Result<int64_t> WriteToOnlineStore(const Context& context, const std::string& view,
                                     const arrow::RecordBatch& rows);

  /// Runs the job, writes its rows to `path` (format by suffix) and registers them under `name`
  /// with their fingerprint and what each column holds, Feast's create_saved_dataset. kConflict for
  /// a name that is taken, before anything runs, unless `overwrite`.
  Result<SavedDataset> SaveDataset(const Context& context, const RetrievalJob& job,
                                   const std::string& name, const std::string& path,
                                   bool overwrite = false, const Tags& tags = {});
  /// kNotFound with the nearest name.
  Result<SavedDataset> GetSavedDataset(const std::string& name) const;
  /// Reads it again; kDataLoss when the values are not those that were saved.
  Result<std::shared_ptr<arrow::Table>> ReadSavedDataset(const Context& context,
                                                         const std::string& name) const;
  /// ReadSavedDataset without its rows, which pass batch by batch.
  Status VerifySavedDataset(const Context& context, const std::string& name) const;
  /// Forgets it; the file stays.
  Status DeleteSavedDataset(const Context& context, const std::string& name);

  Result<std::vector<ViewStatus>> ViewStatuses(const Context& context) const;

  struct Impl;  ///< feature_store_internal.h

 private:
  FeatureStore();
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::feature
