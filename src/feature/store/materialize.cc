#include <algorithm>
#include <map>
#include <utility>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/materialization.h"
#include "feature/engine/stage_materialization.h"
#include "feature/store/feature_store.h"
#include "feature/store/feature_store_internal.h"
#include "feature/store/materialization_job.h"
#include "feature/store/materialization_stages_internal.h"

namespace gnomon::feature {
namespace {

/// 0001-01-01, the earliest instant that Feast's message holds: the beginning of an interval
/// without one.
constexpr int64_t kEarliest = -62'135'596'800 * kMicrosPerSecond;

/// How often a view is begun without a commit in between.
constexpr int kMostAttempts = 2;

/// The named views, or all that are online.
Result<std::vector<const FeatureView*>> SelectViews(const Definitions& definitions,
                                                    const std::vector<std::string>& names) {
  std::vector<const FeatureView*> views;
  for (const std::string& name : names) {
    const FeatureView* view = definitions.FindFeatureView(name);
    if (view == nullptr) {
      return MakeError(ErrorKind::kNotFound, Concat("feature view does not exist: ", Quoted(name)),
                       {}, DidYouMean(name, definitions.ViewNames()));
    }
    if (!view->online) {
      return MakeError(ErrorKind::kUser, Concat("feature view ", Quoted(name), " is not online"),
                       {}, "set online: true and run: gnomon apply");
    }
    views.push_back(view);
  }
  if (names.empty()) {
    for (const FeatureView& view : definitions.feature_views) {
      if (view.online) views.push_back(&view);
    }
  }
  if (views.empty()) {
    return MakeError(ErrorKind::kUser, "there is no online feature view to materialize", {},
                     "run: gnomon apply");
  }
  return views;
}

JobState StateFor(const Status& status) {
  if (status.ok()) return JobState::kSucceeded;
  return KindOf(status) == ErrorKind::kCancelled ? JobState::kCancelled : JobState::kFailed;
}

/// Works a job off, and keeps it in the registry whatever happens.
class JobRun : public MaterializationRun {
 public:
  /// The job is running when this returns one.
  static Result<std::unique_ptr<MaterializationRun>> Begin(
      const Context& context, FeatureStore::Impl& impl,
      std::shared_ptr<const Definitions> definitions, MaterializationJob job, bool force) {
    std::unique_ptr<JobRun> run(new JobRun(context, impl, std::move(definitions), std::move(job)));
    run->job_.failed_rows = 0;
    GNOMON_RETURN_NOT_OK(BeginJob(context, *impl.registry, force, &run->job_));
    run->watch_.emplace(context, *impl.registry, run->job_.id);
    return run;
  }

  ~JobRun() override {
    if (!watch_) return;
    const Status recorded = End(MakeError(ErrorKind::kCancelled, "cancelled before it began"));
    if (!recorded.ok()) LogWarning("feature", recorded.message(), {{"job", job_.id}});
  }

  const MaterializationJob& job() const override { return job_; }
  std::stop_token stop_token() const override { return watch_->token(); }

  Result<MaterializationJob> Run() override {
    Status status = RunViews(context_.WithStop(watch_->token()));
    if (!status.ok() && watch_->was_requested() && KindOf(status) == ErrorKind::kCancelled) {
      status = WithHint(WithContext(status, "by `gnomon materializations cancel`"),
                        Concat("gnomon materializations resume ", job_.id, " continues"));
    }
    const Status recorded = End(status);
    GNOMON_RETURN_NOT_OK(status);
    GNOMON_RETURN_NOT_OK(recorded);
    return job_;
  }

 private:
  JobRun(const Context& context, FeatureStore::Impl& impl,
         std::shared_ptr<const Definitions> definitions, MaterializationJob job)
      : context_(context),
        impl_(impl),
        definitions_(std::move(definitions)),
        job_(std::move(job)) {}

  /// Records how the job ended; that of a cancelled caller, too.
  Status End(const Status& status) {
    watch_.reset();
    job_.state = StateFor(status);
    job_.finished = context_.clock->NowMicros();
    if (!status.ok()) job_.error = status.message();
    Context record = context_;
    record.stop = {};
    record.deadline = {};
    return Record(record);
  }

  /// A view that is to be written.
  struct Turn {
    const FeatureView* view;
    ViewInterval interval;
    ViewProgress* progress;
    std::string source;          ///< FingerprintOf, from before it was read
    bool as_stages = false;      ///< in worker processes
    LoweredRows rows = nullptr;  ///< of stages, until the first attempt to write them
  };

  Status Record(const Context& context) {
    job_.rows = 0;
    for (const ViewProgress& each : job_.progress) job_.rows += each.rows;
    return WriteWithRetries(context, *impl_.registry,
                            [&] { return impl_.registry->PutJob(context, job_); });
  }

  Status RunViews(const Context& context) {
    std::vector<std::vector<ViewProgress*>> groups;
    std::map<std::string, size_t> group_of;
    for (ViewProgress& progress : job_.progress) {
      const FeatureView* view = definitions_->FindFeatureView(progress.view);
      if (view == nullptr || !view->online) {
        return Error(ErrorKind::kNotFound,
                     "online feature view does not exist: ", Quoted(progress.view));
      }
      const auto [known, is_new] = group_of.emplace(view->source, groups.size());
      if (is_new || view->is_derived()) known->second = groups.size();
      if (known->second == groups.size()) groups.emplace_back();
      groups[known->second].push_back(&progress);
    }
    for (const auto& group : groups) GNOMON_RETURN_NOT_OK(RunGroup(context, group));
    return Status::OK();
  }

  /// Views that are read from one source, or one alone: one after the other, but for those that are
  /// done.
  Status RunGroup(const Context& context, const std::vector<ViewProgress*>& group) {
    std::vector<Turn> turns;
    std::vector<ViewInterval> intervals;
    for (ViewProgress* progress : group) {
      GNOMON_RETURN_NOT_OK(context.Check());
      const FeatureView& view = *definitions_->FindFeatureView(progress->view);
      std::string source = FingerprintOf(context, view);
      GNOMON_ASSIGN_OR_RETURN(const bool done, IsDone(context, view, *progress, source));
      if (done) continue;
      intervals.push_back({&view, progress->interval.start, progress->interval.end});
      turns.push_back({.view = &view,
                       .interval = intervals.back(),
                       .progress = progress,
                       .source = std::move(source)});
    }
    SharedMaterialization rows(context, *definitions_, impl_.config.project, std::move(intervals),
                               *impl_.offline, impl_.config.online_store.value_counts_mb << 20);
    for (size_t place = 0; place < turns.size(); ++place) {
      Turn& turn = turns[place];
      turn.rows = RowsForStages(context, impl_, *definitions_, turn.interval);
      turn.as_stages = turn.rows != nullptr;
      const Status status = RunPatiently(context, turn, &rows, place);
      if (!status.ok()) return WithContext(status, Concat("materialize ", turn.view->name));
    }
    return Status::OK();
  }

  /// Empty when it cannot be told; what is wrong with a source is told by who reads it.
  std::string FingerprintOf(const Context& context, const FeatureView& view) const {
    auto source = SourceFingerprint(context, *definitions_, view, *impl_.offline);
    return source.ok() ? *std::move(source) : std::string();
  }

  /// Whether an earlier run of the job has finished the view, from the same rows, and all of it is
  /// still there.
  Result<bool> IsDone(const Context& context, const FeatureView& view, const ViewProgress& progress,
                      const std::string& source) const {
    if (!progress.done || source.empty() || progress.source != source) return false;
    const auto intervals = impl_.registry->StateOf(view.name).intervals;
    const bool published =
        std::ranges::any_of(intervals, [&](const MaterializationInterval& interval) {
          return interval.start <= progress.interval.start && interval.end >= progress.interval.end;
        });
    if (!published) return false;
    return Holds(context, view, progress.rows);
  }

  /// Rows may be gone from the online store: dropped, expired, another store.
  Result<bool> Holds(const Context& context, const FeatureView& view, int64_t rows) const {
    GNOMON_ASSIGN_OR_RETURN(const OnlineTable table, OnlineTableOf(impl_.config.project, view));
    GNOMON_ASSIGN_OR_RETURN(const int64_t stored, impl_.online->CountRows(context, table));
    return stored >= rows;
  }

  /// What the first rows of a view come from: its source, and the view as it is now. A view that is
  /// materialized or applied otherwise meanwhile begins anew, and so does one whose first rows were
  /// written in another order: by stages, or not.
  std::string PartFingerprint(const Turn& turn) const {
    if (turn.source.empty()) return {};
    const ViewState state = impl_.registry->StateOf(turn.view->name);
    return Sha256Hex(
        Concat(turn.source, " ", state.last_updated, turn.as_stages ? " as stages" : ""));
  }

  /// Leaves in `progress` the rows that an earlier run has committed and that need not be written
  /// once more.
  Status KeepCommitted(const Context& context, const Turn& turn) const {
    ViewProgress* const progress = turn.progress;
    const std::string part = PartFingerprint(turn);
    bool kept = !progress->done && progress->rows > 0 && !part.empty() && progress->source == part;
    if (kept) {
      GNOMON_ASSIGN_OR_RETURN(kept, Holds(context, *turn.view, progress->rows));
    }
    if (!kept && progress->rows > 0 && turn.source.empty()) {
      LogInfo("feature", "a view is begun anew: its source does not tell whether it has changed",
              {{"job", job_.id}, {"view", turn.view->name}});
    }
    if (!kept) progress->rows = 0;
    progress->done = false;
    progress->source = part;
    return kept && turn.as_stages ? Status::OK() : ForgetStages(JournalOf(*turn.view));
  }

  std::string JournalOf(const FeatureView& view) const {
    return StagesOf(impl_.config, job_.id, view).journal;
  }

  /// Goes on from the last commit when the online store went away during the next one. (What fits
  /// into one request the stores repeat by themselves.)
  Status RunPatiently(const Context& context, Turn& turn, SharedMaterialization* views,
                      size_t place) {
    ViewProgress* const progress = turn.progress;
    int64_t most_rows = 0;
    for (int attempts = 1;; ++attempts) {
      GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_RETURN_NOT_OK(KeepCommitted(context, turn));
      MaterializationFailure failure;
      const Status status = RunView(context, turn, views, place, &failure);
      job_.failed_rows += failure.failed_rows;
      if (status.ok() || !IsRetryable(status) || !failure.began_to_write) return status;
      if (progress->rows > most_rows) attempts = 1;
      most_rows = std::max(most_rows, progress->rows);
      if (attempts == kMostAttempts) return status;
      LogWarning("feature",
                 "the online store failed: the materialization goes on from its last commit",
                 {{"job", job_.id}, {"view", turn.view->name}, {"error", status.message()}});
    }
  }

  /// Of a view that runs as stages the order of rows is not known: what is committed is what this
  /// run commits beside what is there.
  Result<MaterializationResult> Write(const Context& context, Turn& turn,
                                      SharedMaterialization* views, size_t place,
                                      const MaterializationOptions& options) {
    if (turn.as_stages) {
      MaterializationOptions staged = options;
      staged.after_commit = [&](int64_t rows) {
        return options.after_commit(options.committed_rows + rows);
      };
      const StageMaterialization stages = StagesOf(impl_.config, job_.id, *turn.view);
      LoweredRows rows = std::exchange(turn.rows, nullptr);
      if (rows == nullptr) {  // another attempt: the source may have changed
        GNOMON_ASSIGN_OR_RETURN(rows, LowerRowsToWrite(context, *definitions_, impl_.config.project,
                                                       turn.interval, *impl_.offline, stages));
      }
      return MaterializeInProcesses(context, *definitions_, impl_.config.project, turn.interval,
                                    *impl_.offline, rows, staged, stages);
    }
    return views->Write(place, *impl_.online, options);
  }

  Status RunView(const Context& context, Turn& turn, SharedMaterialization* views, size_t place,
                 MaterializationFailure* failure) {
    const FeatureView& view = *turn.view;
    ViewProgress* const progress = turn.progress;
    const MaterializationOptions options = {
        .value_count_bytes = impl_.config.online_store.value_counts_mb << 20,
        .rows_per_commit = impl_.config.rows_per_commit,
        .committed_rows = progress->rows,
        .after_commit = [&](int64_t rows) -> Status {
          progress->rows = rows;
          return Record(context);
        },
        .failure = failure};
    GNOMON_ASSIGN_OR_RETURN(const MaterializationResult result,
                            Write(context, turn, views, place, options));
    job_.skipped_rows += result.skipped_rows;
    if (result.skipped_rows > 0) {
      LogWarning("feature", Concat("rows without a join key or timestamp were skipped in ",
                                   view.name, ": ", result.skipped_rows));
    }
    GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_watermark", context.stop));
    GNOMON_RETURN_NOT_OK(WriteWithRetries(context, *impl_.registry, [&] {
      return impl_.registry->AddInterval(context, view.name, progress->interval);
    }));
    progress->done = true;
    progress->rows = result.rows;
    progress->source = turn.source;
    GNOMON_RETURN_NOT_OK(Record(context));
    return ForgetStages(JournalOf(view));
  }

  const Context context_;
  FeatureStore::Impl& impl_;
  const std::shared_ptr<const Definitions> definitions_;
  MaterializationJob job_;
  std::optional<CancelWatch> watch_;  // while the job runs
};

Result<MaterializationJob> RunToEnd(Result<std::unique_ptr<MaterializationRun>> begun) {
  GNOMON_ASSIGN_OR_RETURN(const auto run, std::move(begun));
  return run->Run();
}

/// The job that does this, which may have been begun before.
MaterializationJob JobFor(const Context& context, const Registry& registry,
                          std::vector<ViewProgress> progress, bool incremental) {
  std::optional<MaterializationJob> known = FindResumable(registry.Jobs(), progress, incremental);
  if (!known) return NewJob(context.clock->NowMicros(), std::move(progress));
  LogInfo("feature", "an unfinished materialization is taken up again", {{"job", known->id}});
  ++known->resumed;
  return *std::move(known);
}

}  // namespace

Result<MaterializationJob> FeatureStore::Materialize(const Context& context,
                                                     const MaterializeRequest& request) {
  return RunToEnd(BeginMaterialize(context, request));
}

Result<std::unique_ptr<MaterializationRun>> FeatureStore::BeginMaterialize(
    const Context& context, const MaterializeRequest& request) {
  const int64_t end = request.end.value_or(context.clock->NowMicros());
  if (request.start > end) {
    return Error(ErrorKind::kUser, "start is after end: ", FormatTimestamp(request.start), " > ",
                 FormatTimestamp(end));
  }
  auto definitions = this->definitions();
  GNOMON_ASSIGN_OR_RETURN(auto selected, SelectViews(*definitions, request.views));
  std::vector<ViewProgress> progress;
  for (const FeatureView* view : selected)
    progress.push_back(
        {view->name, {std::max(request.start, kEarliest), end}, /*done=*/false, 0, {}});
  // Another process may have begun this job.
  GNOMON_RETURN_NOT_OK(impl_->registry->Refresh(context));
  MaterializationJob job = JobFor(context, *impl_->registry, std::move(progress), false);
  return JobRun::Begin(context, *impl_, definitions, std::move(job), request.force);
}

Result<MaterializationJob> FeatureStore::MaterializeIncremental(
    const Context& context, std::optional<int64_t> end, const std::vector<std::string>& names,
    bool force) {
  return RunToEnd(BeginMaterializeIncremental(context, end, names, force));
}

Result<std::unique_ptr<MaterializationRun>> FeatureStore::BeginMaterializeIncremental(
    const Context& context, std::optional<int64_t> end, const std::vector<std::string>& names,
    bool force) {
  const int64_t last = end.value_or(context.clock->NowMicros());
  auto definitions = this->definitions();
  GNOMON_ASSIGN_OR_RETURN(auto selected, SelectViews(*definitions, names));
  // Another process may have begun this job, or have materialized the views.
  GNOMON_RETURN_NOT_OK(impl_->registry->Refresh(context));
  std::vector<ViewProgress> progress;
  for (const FeatureView* view : selected) {
    int64_t start = kEarliest;
    if (auto watermark = impl_->registry->StateOf(view->name).Watermark()) {
      // Late data: as far back as the TTL, none with an unlimited one.
      if (__builtin_sub_overflow(*watermark, view->ttl, &start)) start = kEarliest;
    }
    progress.push_back(
        {view->name, {std::clamp(start, kEarliest, last), last}, /*done=*/false, 0, {}});
  }
  MaterializationJob job = JobFor(context, *impl_->registry, std::move(progress), true);
  return JobRun::Begin(context, *impl_, definitions, std::move(job), force);
}

Result<MaterializationJob> FeatureStore::ResumeMaterialization(const Context& context,
                                                               const std::string& id, bool force) {
  GNOMON_ASSIGN_OR_RETURN(MaterializationJob job, FindJob(*impl_->registry, id));
  if (job.state == JobState::kSucceeded) {
    return Error(ErrorKind::kUser, "materialization ", job.id, " has succeeded already");
  }
  if (job.state == JobState::kRunning && !force) {
    return MakeError(ErrorKind::kConflict,
                     Concat("materialization ", job.id, " is running (process ", job.owner.process,
                            " on ", job.owner.host, ")"),
                     {}, "when that process is gone, repeat with --force");
  }
  if (job.progress.empty()) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("materialization ", job.id, " was begun by an older build"), {},
                     "run gnomon materialize with its interval");
  }
  ++job.resumed;
  return RunToEnd(JobRun::Begin(context, *impl_, definitions(), std::move(job), force));
}

}  // namespace gnomon::feature
