#include "feature/registry/registry.h"

#include <algorithm>
#include <utility>

#include <google/protobuf/util/json_util.h>

#include "base/log.h"
#include "base/mutex.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/registry_backend_internal.h"
#include "feature/registry/registry_change_internal.h"
#include "feature/registry/registry_job_internal.h"
#include "feature/registry/saved_dataset_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::string_view kModule = "registry";
constexpr int kMaxJobs = 1000;

// One state of what is stored, and what it means for one project. Immutable.
struct Snapshot {
  RegistryContent content;
  std::shared_ptr<const Definitions> definitions;
  std::vector<std::string> notes;
};

const gnomon::proto::SideProject* FindSide(const gnomon::proto::SideGeneration& side,
                                           const std::string& project) {
  for (const auto& item : side.projects()) {
    if (item.name() == project) return &item;
  }
  return nullptr;
}

gnomon::proto::SideProject* MutableSide(gnomon::proto::SideGeneration* side,
                                        const std::string& project) {
  for (auto& item : *side->mutable_projects()) {
    if (item.name() == project) return &item;
  }
  auto* item = side->add_projects();
  item->set_name(project);
  return item;
}

std::shared_ptr<const Snapshot> MakeSnapshot(RegistryContent content, const std::string& project) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->content = std::move(content);
  snapshot->definitions = std::make_shared<const Definitions>(
      ReadDefinitions(snapshot->content.registry, FindSide(snapshot->content.side, project),
                      project, &snapshot->notes));
  return snapshot;
}

void LogNotes(const std::string& path, const Snapshot& snapshot) {
  if (snapshot.content.side_is_older) {
    LogWarning(kModule,
               "another tool has written the registry; on-demand views and jobs are those of the "
               "last version that gnomon wrote",
               {{"path", path}});
  }
  const size_t count = snapshot.notes.size();
  if (count == 1) {
    LogWarning(kModule, Concat("left out: ", snapshot.notes[0]), {{"path", path}});
  } else if (count > 1) {
    LogWarning(kModule,
               Concat("left out: ", snapshot.notes[0], "; and ", count - 1,
                      " more, which `gnomon doctor` lists"),
               {{"path", path}});
  }
}

// Sorts intervals and joins those that touch or overlap.
std::vector<MaterializationInterval> Merged(std::vector<MaterializationInterval> intervals) {
  std::ranges::sort(intervals, {}, &MaterializationInterval::start);
  std::vector<MaterializationInterval> merged;
  for (const MaterializationInterval& interval : intervals) {
    if (!merged.empty() && interval.start <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, interval.end);
    } else {
      merged.push_back(interval);
    }
  }
  return merged;
}

template <typename Meta>
std::vector<MaterializationInterval> IntervalsOf(const Meta& meta) {
  std::vector<MaterializationInterval> intervals;
  for (const auto& item : meta.materialization_intervals()) {
    intervals.push_back({MicrosOf(item.start_time()), MicrosOf(item.end_time())});
  }
  return Merged(std::move(intervals));
}

Result<std::string> JsonOf(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return Error(ErrorKind::kInternal, "registry as JSON: ", status.ToString());
  return json;
}

class StoredRegistry : public Registry {
 public:
  StoredRegistry(std::unique_ptr<RegistryBackend> backend, std::string project,
                 std::shared_ptr<const Snapshot> snapshot)
      : backend_(std::move(backend)),
        project_(std::move(project)),
        snapshot_(std::move(snapshot)) {}

  std::shared_ptr<const Definitions> definitions() const override { return Current()->definitions; }

  std::vector<std::string> LeftOut() const override { return Current()->notes; }
  std::vector<std::string> PartsLeftOut() const override {
    const auto now = Current();
    return feature::PartsLeftOut(now->content.registry, *now->definitions, project_);
  }
  ViewState StateOf(const std::string& view) const override;
  std::vector<MaterializationJob> Jobs() const override;

  std::string version_id() const override { return Current()->content.registry.version_id(); }

  bool empty() const override {
    const auto all = definitions();
    return all->entities.empty() && all->data_sources.empty() && all->feature_views.empty() &&
           all->on_demand_feature_views.empty() && all->feature_services.empty();
  }

  Status Refresh(const Context& context) override;
  std::vector<RegistryChange> Plan(const Definitions& wanted) const override {
    return CompareDefinitions(*definitions(), Complete(wanted));
  }
  Result<std::vector<RegistryChange>> Apply(const Context& context,
                                            const Definitions& wanted) override;
  Status Teardown(const Context& context) override;
  Status AddInterval(const Context& context, const std::string& view,
                     MaterializationInterval interval) override;
  Status PutJob(const Context& context, const MaterializationJob& job) override;
  std::vector<SavedDataset> SavedDatasets() const override;
  Status PutSavedDataset(const Context& context, const SavedDataset& dataset,
                         bool overwrite) override;
  Status DeleteSavedDataset(const Context& context, const std::string& name) override;
  Result<std::string> DumpJson() const override;

 private:
  std::shared_ptr<const Snapshot> Current() const {
    MutexLock lock(mutex_);
    return snapshot_;
  }

  void Publish(std::shared_ptr<const Snapshot> snapshot) {
    MutexLock lock(mutex_);
    snapshot_ = std::move(snapshot);
  }

  // Lets `change` edit a copy and stores it under a new version id. `change` gives false when there
  // is nothing to write.
  template <typename Change>
  Status Write(const Context& context, Change change) {
    GNOMON_RETURN_NOT_OK(context.Check());
    MutexLock write_lock(write_mutex_);
    const auto before = Current();
    RegistryContent after = before->content;
    GNOMON_ASSIGN_OR_RETURN(const bool changed, change(*before, &after));
    if (!changed) return CheckCurrent(context, *before);
    SetMicros(context.clock->NowMicros(), after.registry.mutable_last_updated());
    GNOMON_RETURN_NOT_OK(backend_->Write(context, before->content, &after));
    Publish(MakeSnapshot(std::move(after), project_));
    return Status::OK();
  }

  // That there is nothing to write may be due to an old snapshot.
  Status CheckCurrent(const Context& context, const Snapshot& known) {
    GNOMON_ASSIGN_OR_RETURN(const bool changed, backend_->MayHaveChanged(context, known.content));
    if (!changed) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(RegistryContent now, backend_->Read(context));
    if (now.registry.version_id() != known.content.registry.version_id()) {
      return WrittenMeanwhile(backend_->place());
    }
    Publish(MakeSnapshot(std::move(now), project_));
    return Status::OK();
  }

  const std::unique_ptr<RegistryBackend> backend_;
  const std::string project_;
  Mutex write_mutex_;  // held while writing; never taken inside mutex_
  mutable Mutex mutex_;
  std::shared_ptr<const Snapshot> snapshot_ GNOMON_GUARDED_BY(mutex_);
};

ViewState StoredRegistry::StateOf(const std::string& view) const {
  const auto snapshot = Current();
  ViewState state;
  state.view = view;
  for (const auto& item : snapshot->content.registry.feature_views()) {
    if (item.spec().project() != project_ || item.spec().name() != view) continue;
    state.intervals = IntervalsOf(item.meta());
    state.created = MicrosOf(item.meta().created_timestamp());
    state.last_updated = MicrosOf(item.meta().last_updated_timestamp());
    return state;
  }
  const auto* side = FindSide(snapshot->content.side, project_);
  if (side == nullptr) return state;
  for (const auto& item : side->on_demand_views()) {
    if (item.name() != view) continue;
    state.created = item.created();
    state.last_updated = item.last_updated();
  }
  return state;
}

std::vector<MaterializationJob> StoredRegistry::Jobs() const {
  const auto snapshot = Current();
  std::vector<MaterializationJob> jobs;
  if (const auto* side = FindSide(snapshot->content.side, project_)) {
    for (const auto& item : side->jobs()) jobs.push_back(ReadJob(item));
  }
  return jobs;
}

Status StoredRegistry::Refresh(const Context& context) {
  GNOMON_RETURN_NOT_OK(context.Check());
  const auto before = Current();
  GNOMON_ASSIGN_OR_RETURN(const bool changed, backend_->MayHaveChanged(context, before->content));
  if (!changed) return Status::OK();
  // No writer of ours may publish an older state after a newer one.
  MutexLock write_lock(write_mutex_);
  GNOMON_ASSIGN_OR_RETURN(RegistryContent content, backend_->Read(context));
  auto snapshot = MakeSnapshot(std::move(content), project_);
  if (snapshot->content.registry.version_id() != before->content.registry.version_id()) {
    LogNotes(backend_->place(), *snapshot);
  }
  Publish(std::move(snapshot));
  return Status::OK();
}

Result<std::vector<RegistryChange>> StoredRegistry::Apply(const Context& context,
                                                          const Definitions& wanted_in) {
  const Definitions wanted = Complete(wanted_in);
  GNOMON_RETURN_NOT_OK(Validate(wanted));
  std::vector<RegistryChange> changes;
  const int64_t now = context.clock->NowMicros();
  GNOMON_RETURN_NOT_OK(
      Write(context, [&](const Snapshot& before, RegistryContent* after) -> Result<bool> {
        changes = CompareDefinitions(*before.definitions, wanted);
        const bool same = std::ranges::all_of(changes, [](const RegistryChange& change) {
          return change.action == RegistryChange::Action::kUnchanged;
        });
        if (same && before.notes.empty()) return false;
        GNOMON_RETURN_NOT_OK(WriteDefinitions(
            wanted, project_, now, StaleViews(*before.definitions, wanted), &after->registry));
        WriteSide(wanted, now, MutableSide(&after->side, project_));
        return true;
      }));
  return changes;
}

Status StoredRegistry::Teardown(const Context& context) {
  return Write(context, [&](const Snapshot& before, RegistryContent* after) -> Result<bool> {
    if (before.content.registry.version_id().empty()) return false;
    RemoveProject(project_, &after->registry);
    auto* projects = after->side.mutable_projects();
    projects->erase(std::remove_if(projects->begin(), projects->end(),
                                   [&](const auto& item) { return item.name() == project_; }),
                    projects->end());
    return true;
  });
}

Status StoredRegistry::AddInterval(const Context& context, const std::string& view,
                                   MaterializationInterval interval) {
  if (interval.start > interval.end) {
    return Error(ErrorKind::kUser, "a materialization interval ends before it starts");
  }
  const int64_t now = context.clock->NowMicros();
  return Write(context, [&](const Snapshot& before, RegistryContent* after) -> Result<bool> {
    for (auto& item : *after->registry.mutable_feature_views()) {
      if (item.spec().project() != project_ || item.spec().name() != view) continue;
      auto* meta = item.mutable_meta();
      auto intervals = IntervalsOf(*meta);
      intervals.push_back(interval);
      meta->clear_materialization_intervals();
      for (const MaterializationInterval& merged : Merged(std::move(intervals))) {
        auto* message = meta->add_materialization_intervals();
        SetMicros(merged.start, message->mutable_start_time());
        SetMicros(merged.end, message->mutable_end_time());
      }
      meta->set_state(feast::core::AVAILABLE_ONLINE);
      SetMicros(now, meta->mutable_last_updated_timestamp());
      return true;
    }
    return MakeError(ErrorKind::kNotFound, Concat("no feature view ", Quoted(view)), {},
                     DidYouMean(view, before.definitions->ViewNames()));
  });
}

Status StoredRegistry::PutJob(const Context& context, const MaterializationJob& job) {
  return Write(context, [&](const Snapshot&, RegistryContent* after) -> Result<bool> {
    auto* jobs = MutableSide(&after->side, project_)->mutable_jobs();
    const auto known =
        std::ranges::find_if(*jobs, [&](const auto& item) { return item.id() == job.id; });
    gnomon::proto::SideJob* message = known != jobs->end() ? &*known : jobs->Add();
    const bool cancel = message->cancel_requested() && job.state == JobState::kRunning &&
                        job.resumed == message->resumed();
    WriteJob(job, message);
    if (cancel) message->set_cancel_requested(true);
    message->set_updated(context.clock->NowMicros());
    if (jobs->size() > kMaxJobs) jobs->DeleteSubrange(0, jobs->size() - kMaxJobs);
    return true;
  });
}

std::vector<SavedDataset> StoredRegistry::SavedDatasets() const {
  const auto snapshot = Current();
  std::vector<SavedDataset> datasets;
  for (const auto& item : snapshot->content.registry.saved_datasets()) {
    if (item.spec().project() == project_) datasets.push_back(ReadSavedDataset(item));
  }
  std::ranges::sort(datasets, {}, &SavedDataset::name);
  return datasets;
}

Status StoredRegistry::PutSavedDataset(const Context& context, const SavedDataset& dataset,
                                       bool overwrite) {
  return Write(context, [&](const Snapshot&, RegistryContent* after) -> Result<bool> {
    auto* known = FindSavedDataset(project_, dataset.name, &after->registry);
    if (known != nullptr && !overwrite) {
      return MakeError(ErrorKind::kConflict,
                       Concat("a saved dataset of this name exists: ", Quoted(dataset.name)), {},
                       "choose another name, or overwrite it");
    }
    auto* message = known != nullptr ? known : after->registry.add_saved_datasets();
    WriteSavedDataset(dataset, project_, context.clock->NowMicros(), message);
    return true;
  });
}

Status StoredRegistry::DeleteSavedDataset(const Context& context, const std::string& name) {
  return Write(context, [&](const Snapshot&, RegistryContent* after) -> Result<bool> {
    const auto* known = FindSavedDataset(project_, name, &after->registry);
    if (known == nullptr) return Error(ErrorKind::kNotFound, "no saved dataset ", Quoted(name));
    auto* all = after->registry.mutable_saved_datasets();
    all->erase(std::ranges::find_if(*all, [&](const auto& item) { return &item == known; }));
    return true;
  });
}

Result<std::string> StoredRegistry::DumpJson() const {
  const auto snapshot = Current();
  GNOMON_ASSIGN_OR_RETURN(const std::string registry, JsonOf(snapshot->content.registry));
  GNOMON_ASSIGN_OR_RETURN(const std::string side, JsonOf(snapshot->content.side));
  return Concat("{\"registry\": ", registry, ",\n\"gnomon\": ", side, "}\n");
}

}  // namespace

std::optional<int64_t> ViewState::Watermark() const {
  if (intervals.empty()) return std::nullopt;
  return std::ranges::max(intervals, {}, &MaterializationInterval::end).end;
}

Result<std::unique_ptr<Registry>> Registry::Open(const Context& context, const std::string& path,
                                                 const std::string& project) {
  GNOMON_RETURN_NOT_OK(context.Check());
  std::unique_ptr<RegistryBackend> backend;
  if (IsSqlRegistry(path)) {
    GNOMON_ASSIGN_OR_RETURN(backend, MakeSqlBackend(path, project));
  } else {
    backend = MakeFileBackend(path);
  }
  GNOMON_ASSIGN_OR_RETURN(RegistryContent content, backend->Read(context));
  auto snapshot = MakeSnapshot(std::move(content), project);
  LogNotes(backend->place(), *snapshot);
  return std::make_unique<StoredRegistry>(std::move(backend), project, std::move(snapshot));
}

Result<std::vector<std::string>> Registry::Projects(const Context& context,
                                                    const std::string& path) {
  if (IsSqlRegistry(path)) return SqlProjects(context, path);
  GNOMON_ASSIGN_OR_RETURN(const RegistryContent content, ReadRegistry(path));
  std::vector<std::string> names;
  for (const auto& project : content.registry.projects()) names.push_back(project.spec().name());
  std::ranges::sort(names);
  return names;
}

}  // namespace gnomon::feature
