#include "feature/store/retrieval_job.h"

#include <utility>

#include <arrow/table.h>

#include "base/mutex.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/engine/view_columns.h"
#include "table/file.h"

namespace gnomon::feature {
namespace {

/// Keeps the plan and the statistics of the last run; subclasses run it.
class PlannedJob : public RetrievalJob {
 public:
  PlannedJob(FeaturePlan plan, const OfflineStore& offline, const RetrievalOptions& options)
      : plan_(std::move(plan)), offline_(offline), options_(options) {}

  std::string Explain() const override {
    std::string text = ExplainRetrieval(plan_, options_);
    if (options_.in_processes) text += ExplainStages(Context(), plan_, offline_, options_);
    return text;
  }

  Result<std::shared_ptr<arrow::Table>> ToTable(const Context& context) const override {
    RetrievalStats stats;
    GNOMON_ASSIGN_OR_RETURN(auto result, Run(context, &stats));
    MutexLock lock(mutex_);
    stats_ = std::move(stats);
    return result;
  }

  Result<int64_t> WriteTo(const Context& context, const std::string& path) const override {
    GNOMON_RETURN_NOT_OK(table::FormatOfPath(path).status());
    GNOMON_ASSIGN_OR_RETURN(auto result, ToTable(context));
    ProgressPhase phase(context.progress, Concat("write ", path), result->num_rows());
    GNOMON_RETURN_NOT_OK(table::WriteTable(context, *result, path));
    return result->num_rows();
  }

  const FeaturePlan& plan() const override { return plan_; }

  RetrievalStats Stats() const override {
    MutexLock lock(mutex_);
    return stats_;
  }

 protected:
  virtual Result<std::shared_ptr<arrow::Table>> Run(const Context& context,
                                                    RetrievalStats* stats) const = 0;

  const FeaturePlan plan_;
  const OfflineStore& offline_;
  const RetrievalOptions options_;

 private:
  mutable Mutex mutex_;
  mutable RetrievalStats stats_ GNOMON_GUARDED_BY(mutex_);
};

class EntityRowsJob : public PlannedJob {
 public:
  EntityRowsJob(FeaturePlan plan, const OfflineStore& offline, EntityRowsSource source,
                const RetrievalOptions& options)
      : PlannedJob(std::move(plan), offline, options), source_(std::move(source)) {}

 private:
  Result<std::shared_ptr<arrow::Table>> Run(const Context& context,
                                            RetrievalStats* stats) const override {
    GNOMON_ASSIGN_OR_RETURN(auto entity_rows, source_.read(context));
    const Status usable = CheckEntityRows(plan_, *entity_rows->schema());
    if (!usable.ok()) return WithLocation(usable, {.file = source_.file});
    return RetrieveHistorical(context, plan_, offline_, *entity_rows, options_, stats);
  }

  const EntityRowsSource source_;
};

class RangeJob : public PlannedJob {
 public:
  RangeJob(FeaturePlan plan, const OfflineStore& offline, int64_t start, std::optional<int64_t> end,
           const RetrievalOptions& options)
      : PlannedJob(std::move(plan), offline, options), start_(start), end_(end) {}

  std::string Explain() const override {
    return Concat(PlannedJob::Explain(), "  without entity rows: from ", FormatTimestamp(start_),
                  " to ", end_ ? FormatTimestamp(*end_) : std::string("now"), ", both inclusive\n");
  }

 private:
  Result<std::shared_ptr<arrow::Table>> Run(const Context& context,
                                            RetrievalStats* stats) const override {
    return RetrieveRange(context, plan_, offline_, start_,
                         end_.value_or(context.clock->NowMicros()), options_, stats);
  }

  const int64_t start_;
  const std::optional<int64_t> end_;
};

}  // namespace

std::unique_ptr<RetrievalJob> MakeEntityRowsJob(FeaturePlan plan, const OfflineStore& offline,
                                                EntityRowsSource source,
                                                const RetrievalOptions& options) {
  return std::make_unique<EntityRowsJob>(std::move(plan), offline, std::move(source), options);
}

std::unique_ptr<RetrievalJob> MakeRangeJob(FeaturePlan plan, const OfflineStore& offline,
                                           int64_t start, std::optional<int64_t> end,
                                           const RetrievalOptions& options) {
  return std::make_unique<RangeJob>(std::move(plan), offline, start, end, options);
}

}  // namespace gnomon::feature
