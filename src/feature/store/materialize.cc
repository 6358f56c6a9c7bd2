#include <algorithm>
#include <functional>
#include <utility>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/materialization.h"
#include "feature/store/feature_store.h"
#include "feature/store/feature_store_internal.h"

namespace gnomon::feature {
namespace {

/// 0001-01-01, the earliest instant that Feast's message holds: the beginning of an interval
/// without one.
constexpr int64_t kEarliest = -62'135'596'800 * kMicrosPerSecond;

struct ViewInterval {
  const FeatureView* view;
  MaterializationInterval interval;
};

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

/// Writes to the registry, once more after a conflict with another writer.
Status Publish(const Context& context, Registry& registry,
               const std::function<arrow::Status()>& write) {
  for (int attempt = 0;; ++attempt) {
    const arrow::Status status = write();
    if (status.ok() || KindOf(status) != ErrorKind::kConflict || attempt == 10) return status;
    GNOMON_RETURN_NOT_OK(registry.Refresh(context));
  }
}

JobState StateFor(const Status& status) {
  if (status.ok()) return JobState::kSucceeded;
  return KindOf(status) == ErrorKind::kCancelled ? JobState::kCancelled : JobState::kFailed;
}

/// Runs the job and keeps it in the registry whatever happens.
Result<MaterializationJob> RunJob(const Context& context, const RepositoryConfig& config,
                                  Registry& registry, const OfflineStore& offline,
                                  OnlineStore& online,
                                  std::shared_ptr<const Definitions> definitions,
                                  const std::vector<ViewInterval>& views) {
  MaterializationJob job;
  job.started = context.clock->NowMicros();
  job.id = JobId::Make(job.started).value;
  job.interval = views.front().interval;
  for (const ViewInterval& each : views) {
    job.views.push_back(each.view->name);
    job.interval.start = std::min(job.interval.start, each.interval.start);
    job.interval.end = std::max(job.interval.end, each.interval.end);
  }
  GNOMON_RETURN_NOT_OK(Publish(context, registry, [&] { return registry.PutJob(context, job); }));

  auto run = [&]() -> Status {
    for (const ViewInterval& each : views) {
      GNOMON_RETURN_NOT_OK(context.Check());
      auto result = MaterializeView(context, *definitions, config.project, *each.view, offline,
                                    online, each.interval.start, each.interval.end,
                                    config.online_store.value_counts_mb << 20);
      if (!result.ok())
        return WithContext(result.status(), Concat("materialize ", each.view->name));
      job.rows += result->rows;
      job.skipped_rows += result->skipped_rows;
      if (result->skipped_rows > 0) {
        LogWarning("feature", Concat("rows without a join key or timestamp were skipped in ",
                                     each.view->name, ": ", result->skipped_rows));
      }
      GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_watermark", context.stop));
      GNOMON_RETURN_NOT_OK(Publish(context, registry, [&] {
        return registry.AddInterval(context, each.view->name, each.interval);
      }));
    }
    return Status::OK();
  };
  const Status status = run();
  job.state = StateFor(status);
  job.finished = context.clock->NowMicros();
  if (!status.ok()) job.error = status.message();
  // A cancelled caller still gets its job recorded.
  Context record = context;
  record.stop = {};
  record.deadline = {};
  const Status recorded = Publish(record, registry, [&] { return registry.PutJob(record, job); });
  GNOMON_RETURN_NOT_OK(status);
  GNOMON_RETURN_NOT_OK(recorded);
  return job;
}

}  // namespace

Result<MaterializationJob> FeatureStore::Materialize(const Context& context,
                                                     const MaterializeRequest& request) {
  const int64_t end = request.end.value_or(context.clock->NowMicros());
  if (request.start > end) {
    return Error(ErrorKind::kUser, "start is after end: ", FormatTimestamp(request.start), " > ",
                 FormatTimestamp(end));
  }
  auto definitions = this->definitions();
  GNOMON_ASSIGN_OR_RETURN(auto selected, SelectViews(*definitions, request.views));
  std::vector<ViewInterval> views;
  for (const FeatureView* view : selected)
    views.push_back({view, {std::max(request.start, kEarliest), end}});
  return RunJob(context, impl_->config, *impl_->registry, *impl_->offline, *impl_->online,
                definitions, views);
}

Result<MaterializationJob> FeatureStore::MaterializeIncremental(
    const Context& context, std::optional<int64_t> end, const std::vector<std::string>& names) {
  const int64_t last = end.value_or(context.clock->NowMicros());
  auto definitions = this->definitions();
  GNOMON_ASSIGN_OR_RETURN(auto selected, SelectViews(*definitions, names));
  std::vector<ViewInterval> views;
  for (const FeatureView* view : selected) {
    int64_t start = kEarliest;
    if (auto watermark = impl_->registry->StateOf(view->name).Watermark()) {
      // Late data: as far back as the TTL, none with an unlimited one.
      if (__builtin_sub_overflow(*watermark, view->ttl, &start)) start = kEarliest;
    }
    views.push_back({view, {std::clamp(start, kEarliest, last), last}});
  }
  return RunJob(context, impl_->config, *impl_->registry, *impl_->offline, *impl_->online,
                definitions, views);
}

}  // namespace gnomon::feature
