#include "base/text.h"
#include "feature/store/feature_store.h"
#include "feature/store/feature_store_internal.h"
#include "feature/store/materialization_job.h"

/// What one process says of the materialization of another.
namespace gnomon::feature {

Result<MaterializationJob> FeatureStore::GetMaterialization(const std::string& id) const {
  return FindJob(*impl_->registry, id);
}

Result<MaterializationJob> FeatureStore::CancelMaterialization(const Context& context,
                                                               const std::string& id) {
  Registry& registry = *impl_->registry;
  MaterializationJob job;
  GNOMON_RETURN_NOT_OK(WriteWithRetries(context, registry, [&]() -> Status {
    GNOMON_RETURN_NOT_OK(FindJob(registry, id).Value(&job));
    if (job.state == JobState::kRunning) {
      job.cancel_requested = true;
    } else if (job.state == JobState::kInterrupted) {
      job.state = JobState::kCancelled;
      job.finished = context.clock->NowMicros();
    } else {
      return Error(ErrorKind::kUser, "materialization ", job.id, " is not running: it ",
                   job.state == JobState::kCancelled ? "was " : "has ", NameOf(job.state));
    }
    return registry.PutJob(context, job);
  }));
  return job;
}

}  // namespace gnomon::feature
