#include "feature/store/feature_store.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <arrow/table.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/offline/offline_store.h"
#include "feature/store/feature_store_internal.h"
#include "feature/store/plugin_extensions.h"
#include "feature/store/retrieval_job.h"
#include "table/file.h"
#include "table/file_system.h"

namespace gnomon::feature {
namespace {

Result<FeaturePlan> PlanOf(std::shared_ptr<const Definitions> definitions,
                           const FeatureRequest& request) {
  if (!request.feature_service.empty()) {
    if (!request.features.empty()) {
      return Error(ErrorKind::kUser, "give features or a feature service, not both");
    }
    return PlanFeatureService(std::move(definitions), request.feature_service,
                              request.full_feature_names);
  }
  return PlanFeatures(std::move(definitions), request.features, request.full_feature_names);
}

/// The quoted names that `note` is about: a view's, then that of a feature.
std::vector<std::string_view> NamesIn(std::string_view note) {
  std::vector<std::string_view> names;
  for (size_t begin = note.find('\''); begin != std::string_view::npos;) {
    const size_t end = note.find("':", begin);
    if (end == std::string_view::npos) break;
    names.push_back(note.substr(begin, end + 1 - begin));
    begin = note.find('\'', end + 2);
  }
  return names;
}

/// With the reason when what is missing is in the registry but cannot be read.
Status ExplainMissing(const Registry& registry, const Status& status) {
  if (KindOf(status) != ErrorKind::kNotFound) return status;
  for (const std::string& note : registry.LeftOut()) {
    const auto names = NamesIn(note);
    const bool are_named = std::ranges::all_of(names, [&](std::string_view name) {
      return status.message().find(name) != std::string::npos;
    });
    if (!names.empty() && are_named) return WithHint(status, note);
  }
  return status;
}

std::string CacheKey(const FeatureRequest& request) {
  std::string key = request.full_feature_names ? "full" : "bare";
  key += Concat("\n", request.feature_service);
  for (const std::string& feature : request.features) key += Concat("\n", feature);
  return key;
}

/// A folder that materialization makes when it first writes there.
bool IsSinkOnly(const Definitions& definitions, const std::string& source) {
  const auto& views = definitions.feature_views;
  return std::ranges::find(views, source, &FeatureView::sink_source) != views.end() &&
         std::ranges::find(views, source, &FeatureView::source) == views.end();
}

/// Said once for the process: the newest repository's section holds.
void UseS3Of(const RepositoryConfig& config) {
  const RepositoryConfig::S3& s3 = config.s3;
  table::UseS3("s3://",
               {.endpoint_url = s3.endpoint_url,
                .scheme = s3.scheme,
                .region = s3.region,
                .access_key_id = s3.access_key_id,
                .secret_access_key = s3.secret_access_key,
                .session_token = s3.session_token,
                .path_style = s3.path_style,
                .anonymous = s3.anonymous,
                .ca_file = s3.ca_file.empty() ? std::string()
                                              : table::PathBelow(config.folder, s3.ca_file)});
}

/// Again after a conflict with a writer who has left the project's definitions alone (other
/// projects, jobs), or who has stored the wanted ones.
Result<std::vector<RegistryChange>> ApplyTo(Registry& registry, const Context& context,
                                            const Definitions& wanted) {
  const auto is_same = [](const std::vector<RegistryChange>& changes) {
    return std::ranges::all_of(changes, [](const RegistryChange& change) {
      return change.action == RegistryChange::Action::kUnchanged;
    });
  };
  constexpr int kMostConflicts = 100;
  for (int attempt = 1;; ++attempt) {
    const auto before = registry.definitions();
    auto changes = registry.Apply(context, wanted);
    if (changes.ok() || KindOf(changes.status()) != ErrorKind::kConflict ||
        attempt == kMostConflicts) {
      return changes;
    }
    GNOMON_RETURN_NOT_OK(registry.Refresh(context));
    if (is_same(registry.Plan(*before)) || is_same(registry.Plan(wanted))) continue;
    return WithHint(changes.status(),
                    "somebody else has applied other definitions: look at `gnomon plan`, then "
                    "apply again");
  }
}

using EntityTable = Result<std::shared_ptr<const table::PartitionedTable>>;

/// For messages.
constexpr const char* kEntityRows = "the entity rows";

}  // namespace

RetrievalOptions WithEngine(RetrievalOptions options, const RepositoryConfig& config) {
  const RepositoryConfig::BatchEngine& engine = config.batch_engine;
  options.in_processes = engine.isolation == "process";
  options.plugins = config.plugins;
  constexpr int64_t kMebibyte = 1 << 20;
  options.join.max_workers = engine.max_workers;
  options.join.enable_optimization = engine.enable_optimization;
  options.join.broadcast_join_threshold = engine.broadcast_join_threshold_mb * kMebibyte;
  options.join.max_parallelism_multiplier = engine.max_parallelism_multiplier;
  options.join.target_partition_size = engine.target_partition_size_mb * kMebibyte;
  options.join.window_size_for_joins = engine.window_size_for_joins;
  return options;
}

FeatureStore::FeatureStore() : impl_(std::make_unique<Impl>()) {}
FeatureStore::~FeatureStore() = default;

Result<std::unique_ptr<FeatureStore>> FeatureStore::Open(const Context& context,
                                                         const std::string& folder,
                                                         const std::string& yaml_path) {
  GNOMON_ASSIGN_OR_RETURN(RepositoryConfig config, LoadRepositoryConfig(folder, yaml_path));
  return Open(context, std::move(config));
}

Result<std::unique_ptr<FeatureStore>> FeatureStore::Open(const Context& context,
                                                         RepositoryConfig config) {
  std::unique_ptr<FeatureStore> store(new FeatureStore);
  Impl& impl = *store->impl_;
  impl.config = std::move(config);
  UseS3Of(impl.config);
  GNOMON_ASSIGN_OR_RETURN(impl.extensions, LoadExtensions(impl.config.plugins, impl.config.folder));
  GNOMON_ASSIGN_OR_RETURN(impl.registry,
                          Registry::Open(context, impl.config.registry.path, impl.config.project));
  for (const std::string& warning :
       PluginWarnings(*impl.registry->definitions(), impl.extensions.get())) {
    LogWarning("feature", warning);
  }
  GNOMON_ASSIGN_OR_RETURN(impl.offline, OpenOfflineStore(impl.config));
  GNOMON_ASSIGN_OR_RETURN(impl.online, OpenOnlineStore(impl.config.online_store));
  return store;
}

const RepositoryConfig& FeatureStore::config() const { return impl_->config; }
const Registry& FeatureStore::registry() const { return *impl_->registry; }
std::shared_ptr<const Definitions> FeatureStore::Impl::LinkedDefinitions() {
  auto now = registry->definitions();
  if (extensions == nullptr && now->plugins.empty()) return now;
  MutexLock lock(mutex);
  if (applied != now) {
    linked = LinkApplied(*now, extensions);
    applied = std::move(now);
  }
  return linked;
}

void FeatureStore::Impl::KeepFresh() {
  constexpr double kMostSecondsToRetry = 10;
  constexpr double kPatience = 5;
  const double ttl = static_cast<double>(config.registry.cache_ttl) / kMicrosPerSecond;
  if (ttl <= 0) return;
  const double now = MonotonicSeconds();
  double due = next_refresh.load();
  if (due == 0) {
    next_refresh.compare_exchange_strong(due, now + ttl);
    return;
  }
  // One thread asks; the others go on with what is known.
  if (now < due || !next_refresh.compare_exchange_strong(due, now + ttl)) return;
  const Status status = registry->Refresh(Context().WithTimeout(kPatience));
  if (status.ok()) return;
  next_refresh = now + std::min(ttl, kMostSecondsToRetry);
  LogWarning("feature", "the registry could not be read again; what is known of it stays",
             {{"error", status.message()}});
}

Result<FeaturePlan> FeatureStore::Impl::Plan(const FeatureRequest& request) {
  KeepFresh();
  auto plan = PlanOf(LinkedDefinitions(), request);
  return plan.ok() ? std::move(plan) : ExplainMissing(*registry, plan.status());
}

std::shared_ptr<const Definitions> FeatureStore::definitions() const {
  impl_->KeepFresh();
  return impl_->LinkedDefinitions();
}

std::shared_ptr<const Extensions> FeatureStore::extensions() const { return impl_->extensions; }

Result<Definitions> FeatureStore::LoadRepository() const {
  GNOMON_ASSIGN_OR_RETURN(LoadedDefinitions loaded,
                          LoadDefinitionsWithPlaces(impl_->config.folder, impl_->extensions));
  auto kept = std::make_shared<const LoadedDefinitions>(std::move(loaded));
  MutexLock lock(impl_->mutex);
  impl_->loaded = kept;
  return kept->definitions;
}

Result<Definitions> FeatureStore::Resolve(const Context& context, const Definitions& given) const {
  LoadedDefinitions loaded = impl_->WithPlaces(given);
  loaded.definitions = WithExtensions(given, impl_->extensions);
  Definitions& definitions = loaded.definitions;
  definitions.plugins.clear();
  if (impl_->extensions != nullptr) definitions.plugins = impl_->extensions->plugins;
  GNOMON_RETURN_NOT_OK(Validate(definitions));
  std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
  for (const DataSource& source : definitions.data_sources) {
    auto schema = impl_->offline->SourceSchema(context, source);
    if (!schema.ok() && KindOf(schema.status()) == ErrorKind::kNotFound &&
        IsSinkOnly(definitions, source.name)) {
      continue;
    }
    if (!schema.ok()) {
      const bool placed = !LocationOf(schema.status()).file.empty();
      return placed ? schema.status()
                    : WithLocation(schema.status(), loaded.Find("data source", source.name));
    }
    schemas[source.name] = *std::move(schema);
  }
  return ResolveLoaded(loaded, schemas);
}

Result<std::vector<RegistryChange>> FeatureStore::Plan(const Context& context,
                                                       const Definitions& definitions) const {
  GNOMON_ASSIGN_OR_RETURN(Definitions resolved, Resolve(context, definitions));
  return impl_->registry->Plan(resolved);
}

Result<std::vector<RegistryChange>> FeatureStore::Apply(const Context& context,
                                                        const Definitions& definitions) {
  GNOMON_ASSIGN_OR_RETURN(Definitions resolved, Resolve(context, definitions));
  // Tables first: a registry that names a view always finds its table.
  std::vector<OnlineTable> tables;
  std::vector<std::string> kept;
  for (const FeatureView& view : resolved.feature_views) {
    if (!view.online) continue;
    GNOMON_ASSIGN_OR_RETURN(OnlineTable table, OnlineTableOf(impl_->config.project, view));
    tables.push_back(std::move(table));
    kept.push_back(view.name);
  }
  GNOMON_RETURN_NOT_OK(impl_->online->Prepare(context, tables));
  GNOMON_ASSIGN_OR_RETURN(auto changes, ApplyTo(*impl_->registry, context, resolved));
  GNOMON_RETURN_NOT_OK(impl_->online->DropExcept(context, impl_->config.project, kept));
  impl_->ForgetReaders();
  return changes;
}

Status FeatureStore::Teardown(const Context& context) {
  GNOMON_RETURN_NOT_OK(impl_->online->Teardown(context, impl_->config.project));
  impl_->ForgetReaders();
  return impl_->registry->Teardown(context);
}

Result<std::unique_ptr<RetrievalJob>> FeatureStore::GetHistoricalFeatures(
    const FeatureRequest& request, std::shared_ptr<arrow::Table> entity_rows,
    const RetrievalOptions& options) const {
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, impl_->Plan(request));
  return MakeEntityRowsJob(std::move(plan), *impl_->offline,
                           {.open = [entity_rows](const Context&) -> EntityTable {
                              return table::PartitionedTable::Of(entity_rows, kEntityRows);
                            },
                            .file = {}},
                           WithEngine(options, impl_->config));
}

Result<std::unique_ptr<RetrievalJob>> FeatureStore::GetHistoricalFeatures(
    const FeatureRequest& request, const std::string& entity_file,
    const RetrievalOptions& options) const {
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, impl_->Plan(request));
  return MakeEntityRowsJob(std::move(plan), *impl_->offline,
                           {.open = [entity_file](const Context& context) -> EntityTable {
                              auto rows = table::PartitionedTable::Open(context, entity_file);
                              if (!rows.ok()) return WithContext(rows.status(), "entity rows");
                              return *std::move(rows);
                            },
                            .file = entity_file},
                           WithEngine(options, impl_->config));
}

Result<std::unique_ptr<RetrievalJob>> FeatureStore::GetHistoricalFeatures(
    const FeatureRequest& request, const EntityQuery& entity_query,
    const RetrievalOptions& options) const {
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, impl_->Plan(request));
  const OfflineStore& offline = *impl_->offline;
  return MakeEntityRowsJob(
      std::move(plan), offline,
      {.open = [&offline, sql = entity_query.sql](const Context& context) -> EntityTable {
         auto rows = offline.Query(context, sql);
         if (!rows.ok()) return WithContext(rows.status(), "entity rows");
         return table::PartitionedTable::Of(*std::move(rows), kEntityRows);
       },
       .file = {}},
      WithEngine(options, impl_->config));
}

Result<std::unique_ptr<RetrievalJob>> FeatureStore::GetHistoricalFeatures(
    const FeatureRequest& request, int64_t start, std::optional<int64_t> end,
    const RetrievalOptions& options) const {
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, impl_->Plan(request));
  return MakeRangeJob(std::move(plan), *impl_->offline, start, end,
                      WithEngine(options, impl_->config));
}

Result<std::shared_ptr<const OnlineReader>> FeatureStore::OnlineReaderFor(
    const FeatureRequest& request) const {
  impl_->KeepFresh();
  const std::string key = CacheKey(request);
  const std::string version = impl_->registry->version_id();
  {
    MutexLock lock(impl_->mutex);
    if (impl_->readers_version == version) {
      auto found = impl_->readers.find(key);
      if (found != impl_->readers.end()) return found->second;
    }
  }
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, impl_->Plan(request));
  for (const PlannedView& planned : plan.views) {
    if (!planned.view->online) {
      return MakeError(ErrorKind::kUser,
                       Concat("feature view ", Quoted(planned.view->name), " is not online"), {},
                       "set online: true and run: gnomon apply");
    }
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto reader, OnlineReader::Make(impl_->config.project, std::move(plan),
                                      {.serve_expired = impl_->config.online_store.serve_expired}));
  MutexLock lock(impl_->mutex);
  if (impl_->readers_version != version || impl_->readers.size() >= Impl::kMaxReaders)
    impl_->readers.clear();
  impl_->readers_version = version;
  impl_->readers.emplace(key, reader);
  return reader;
}

Result<OnlineResponse> FeatureStore::GetOnlineFeatures(const Context& context,
                                                       const FeatureRequest& request,
                                                       const arrow::RecordBatch& entity_rows,
                                                       std::optional<int64_t> as_of) const {
  GNOMON_ASSIGN_OR_RETURN(auto reader, OnlineReaderFor(request));
  return reader->Read(context, *impl_->online, entity_rows,
                      as_of.value_or(context.clock->NowMicros()));
}

Result<std::vector<ViewStatus>> FeatureStore::ViewStatuses(const Context& context) const {
  std::vector<ViewStatus> result;
  const auto jobs = impl_->registry->Jobs();
  for (const FeatureView& view : definitions()->feature_views) {
    ViewStatus status{.view = view.name,
                      .online = view.online,
                      .watermark = {},
                      .rows = 0,
                      .freshness_seconds = {},
                      .last_failed_job = {}};
    status.watermark = impl_->registry->StateOf(view.name).Watermark();
    if (status.watermark) {
      status.freshness_seconds =
          static_cast<double>(context.clock->NowMicros() - *status.watermark) /
          static_cast<double>(kMicrosPerSecond);
    }
    if (view.online) {
      GNOMON_ASSIGN_OR_RETURN(OnlineTable table, OnlineTableOf(impl_->config.project, view));
      GNOMON_ASSIGN_OR_RETURN(status.rows, impl_->online->CountRows(context, table));
    }
    int64_t last = INT64_MIN;
    for (const MaterializationJob& job : jobs) {
      if (std::ranges::find(job.views, view.name) == job.views.end() || job.started < last)
        continue;
      if (job.state == JobState::kRunning) continue;
      last = job.started;
      status.last_failed_job =
          job.state == JobState::kSucceeded ? std::string() : Concat(job.id, ": ", job.error);
    }
    result.push_back(std::move(status));
  }
  return result;
}

}  // namespace gnomon::feature
