#include "feature/store/materialization_job.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/back_off.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace gnomon::feature {
namespace {

constexpr int kMostConflicts = 100;
constexpr std::chrono::milliseconds kWatchInterval{250};
constexpr double kHeartbeatSeconds = static_cast<double>(kJobHeartbeat) / kMicrosPerSecond;

bool Overlap(const MaterializationInterval& a, const MaterializationInterval& b) {
  return a.start <= b.end && b.start <= a.end;
}

/// The view that both jobs work on at once; null when there is none.
const ViewProgress* SharedView(const MaterializationJob& running, const MaterializationJob& job) {
  for (const ViewProgress& each : running.progress) {
    for (const ViewProgress& mine : job.progress) {
      if (each.view == mine.view && !each.done && Overlap(each.interval, mine.interval))
        return &each;
    }
  }
  return nullptr;
}

Status RefuseOverlap(const Registry& registry, const MaterializationJob& job) {
  for (const MaterializationJob& other : registry.Jobs()) {
    if (other.state != JobState::kRunning || other.id == job.id) continue;
    const ViewProgress* shared = SharedView(other, job);
    if (shared == nullptr) continue;
    return MakeError(ErrorKind::kConflict,
                     Concat("feature view ", Quoted(shared->view),
                            " is being materialized in an overlapping interval by job ", other.id,
                            " (process ", other.owner.process, " on ", other.owner.host, ")"),
                     {},
                     Concat("wait for it, or gnomon materializations cancel ", other.id,
                            ", or repeat with --force"));
  }
  return Status::OK();
}

bool SameWork(const MaterializationJob& job, const std::vector<ViewProgress>& wanted,
              bool incremental) {
  return std::ranges::equal(
      job.progress, wanted, [&](const ViewProgress& a, const ViewProgress& b) {
        const bool same =
            a.interval == b.interval || (incremental && a.done && a.interval.end == b.interval.end);
        return a.view == b.view && same;
      });
}

}  // namespace

Status WriteWithRetries(const Context& context, Registry& registry,
                        const std::function<Status()>& write) {
  for (int attempt = 1;; ++attempt) {
    // A database that holds the registry may be restarting. A conflict needs another look at it.
    Status status;
    GNOMON_RETURN_NOT_OK(RetryWithBackOff(context, {}, [&] {
      status = write();
      const bool gone = !status.ok() && KindOf(status) == ErrorKind::kUnavailable;
      return gone ? status : Status::OK();
    }));
    if (status.ok() || KindOf(status) != ErrorKind::kConflict || attempt == kMostConflicts)
      return status;
    GNOMON_RETURN_NOT_OK(registry.Refresh(context));
  }
}

MaterializationJob NewJob(int64_t now, std::vector<ViewProgress> progress) {
  MaterializationJob job;
  job.started = now;
  job.id = JobId::Make(now).value;
  job.interval = progress.front().interval;
  for (const ViewProgress& each : progress) {
    job.views.push_back(each.view);
    job.interval.start = std::min(job.interval.start, each.interval.start);
    job.interval.end = std::max(job.interval.end, each.interval.end);
  }
  job.progress = std::move(progress);
  return job;
}

std::optional<MaterializationJob> FindResumable(const std::vector<MaterializationJob>& jobs,
                                                const std::vector<ViewProgress>& wanted,
                                                bool incremental) {
  for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) {
    if (!SameWork(*job, wanted, incremental)) continue;
    const bool ended_well = job->state == JobState::kSucceeded || job->state == JobState::kRunning;
    return ended_well ? std::nullopt : std::optional(*job);
  }
  return std::nullopt;
}

Result<MaterializationJob> FindJob(const Registry& registry, const std::string& id) {
  std::vector<MaterializationJob> found;
  std::vector<std::string> ids;
  for (MaterializationJob& job : registry.Jobs()) {
    ids.push_back(job.id);
    if (job.id == id) return job;
    if (!id.empty() && job.id.starts_with(id)) found.push_back(std::move(job));
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return MakeError(ErrorKind::kUser,
                     Concat("several materializations begin with ", Quoted(id), ": ", found.size()),
                     {}, "give more of the id");
  }
  return MakeError(ErrorKind::kNotFound, Concat("materialization does not exist: ", Quoted(id)), {},
                   ids.empty() ? "there is none yet" : "gnomon materializations list");
}

Status BeginJob(const Context& context, Registry& registry, bool force, MaterializationJob* job) {
  job->owner = JobOwner::ThisProcess();
  job->state = JobState::kRunning;
  job->cancel_requested = false;
  job->finished = 0;
  job->error.clear();
  for (int attempt = 1;; ++attempt) {
    GNOMON_RETURN_NOT_OK(registry.Refresh(context));
    if (!force) GNOMON_RETURN_NOT_OK(RefuseOverlap(registry, *job));
    const Status status = registry.PutJob(context, *job);
    if (status.ok() || KindOf(status) != ErrorKind::kConflict || attempt == kMostConflicts)
      return status;
  }
}

Result<std::string> SourceFingerprint(const Context& context, const Definitions& definitions,
                                      const FeatureView& view, const OfflineStore& offline) {
  std::string text;
  for (const std::string& name : RootSources(definitions, view)) {
    const DataSource* source = definitions.FindDataSource(name);
    if (source == nullptr) return std::string();
    GNOMON_ASSIGN_OR_RETURN(const std::string version, offline.Version(context, *source));
    if (version.empty()) return std::string();
    text += Concat(name, "\n", source->path, "\n", version, "\n");
  }
  return Sha256Hex(text);
}

CancelWatch::CancelWatch(const Context& context, Registry& registry, std::string job)
    : context_(context),
      registry_(registry),
      job_(std::move(job)),
      outer_(context.stop, [this] { source_.request_stop(); }),
      thread_([this](const std::stop_token& ended) { Watch(ended); }) {}

CancelWatch::~CancelWatch() = default;

void CancelWatch::Watch(const std::stop_token& ended) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  double next_heartbeat = MonotonicSeconds() + kHeartbeatSeconds;
  while (!requested_ &&
         !wake.wait_for(lock, ended, kWatchInterval, [&] { return ended.stop_requested(); })) {
    LookAtJob(&next_heartbeat);
  }
}

void CancelWatch::LookAtJob(double* next_heartbeat) {
  Status status = registry_.Refresh(context_);
  const auto jobs = registry_.Jobs();
  const auto job = std::ranges::find(jobs, job_, &MaterializationJob::id);
  if (status.ok() && job != jobs.end() && job->cancel_requested) {
    requested_ = true;
    source_.request_stop();
    return;
  }
  if (status.ok() && job != jobs.end() && MonotonicSeconds() >= *next_heartbeat) {
    *next_heartbeat = MonotonicSeconds() + kHeartbeatSeconds;
    status = registry_.PutJob(context_, *job);
  }
  if (!status.ok()) {
    LogDebug("feature", "the registry could not be asked for a request to cancel",
             {{"error", status.message()}});
  }
}

}  // namespace gnomon::feature
