#include "feature/store/retrieval_job.h"

#include <algorithm>
#include <utility>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/memory_reservation.h"
#include "base/mutex.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/explain_joins.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/engine/view_columns.h"
#include "table/file.h"
#include "table/row_bytes.h"

namespace gnomon::feature {
namespace {

/// Of a row group: small, since all of it is in memory before it is written.
constexpr int64_t kRowGroupBytes = int64_t{16} << 20;
constexpr int64_t kMostRowGroupRows = int64_t{1} << 20;

/// Says the schema, so that files do not depend on the limit; under less than 64 MiB the limit
/// does.
int64_t RowGroupRows(const Context& context, const arrow::Schema& schema) {
  int64_t bytes = kRowGroupBytes;
  if (context.memory != nullptr && context.memory->limit() > 0)
    bytes = std::min(bytes, context.memory->limit() / 4);
  return std::clamp<int64_t>(bytes / table::GuessRowBytes(schema), 1, kMostRowGroupRows);
}

/// Keeps the plan and the statistics of the last run; subclasses run it.
class PlannedJob : public RetrievalJob {
 public:
  PlannedJob(FeaturePlan plan, const OfflineStore& offline, const RetrievalOptions& options)
      : plan_(std::move(plan)), offline_(offline), options_(options) {}

  std::string Explain(const Context& context) const override {
    std::string text = ExplainRetrieval(plan_, options_);
    if (options_.in_processes) text += ExplainWork(context);
    return text;
  }

  Result<std::shared_ptr<arrow::Table>> ToTable(const Context& context) const override {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Open(context));
    GNOMON_ASSIGN_OR_RETURN(auto table, CollectRows(context, rows.get()));
    KeepStats(rows->stats());
    return table;
  }

  Result<int64_t> WriteTo(const Context& context, const std::string& path,
                          RowsVisitor* visitor) const override {
    GNOMON_RETURN_NOT_OK(table::FormatOfPath(path).status());
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Open(context));
    const table::WriteOptions options{.row_group_rows = RowGroupRows(context, *rows->schema())};
    MemoryReservation row_group(context.memory);
    GNOMON_RETURN_NOT_OK(
        row_group.Grow(options.row_group_rows * table::GuessRowBytes(*rows->schema())));
    GNOMON_ASSIGN_OR_RETURN(const auto writer,
                            table::TableWriter::Open(context, path, rows->schema(), options));
    if (visitor != nullptr) GNOMON_RETURN_NOT_OK(visitor->Begin(rows->schema()));
    ProgressPhase phase(context.progress, Concat("write ", path), rows->stats().entity_rows);
    int64_t written = 0;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, rows->Next());
      if (batch == nullptr) break;
      if (visitor != nullptr) GNOMON_RETURN_NOT_OK(visitor->Visit(*batch));
      GNOMON_RETURN_NOT_OK(writer->Write(*batch));
      written += batch->num_rows();
      phase.Advance(batch->num_rows());
    }
    if (visitor != nullptr) GNOMON_RETURN_NOT_OK(visitor->End(written));
    GNOMON_RETURN_NOT_OK(writer->Commit());
    KeepStats(rows->stats());
    return written;
  }

  const FeaturePlan& plan() const override { return plan_; }

  RetrievalStats Stats() const override {
    MutexLock lock(mutex_);
    return stats_;
  }

 protected:
  virtual Result<std::unique_ptr<HistoricalRows>> Open(const Context& context) const = 0;
  /// The stages that worker processes run.
  virtual std::string ExplainWork(const Context& context) const = 0;

  const FeaturePlan plan_;
  const OfflineStore& offline_;
  const RetrievalOptions options_;

 private:
  void KeepStats(const RetrievalStats& stats) const {
    MutexLock lock(mutex_);
    stats_ = stats;
  }

  mutable Mutex mutex_;
  mutable RetrievalStats stats_ GNOMON_GUARDED_BY(mutex_);
};

class EntityRowsJob : public PlannedJob {
 public:
  EntityRowsJob(FeaturePlan plan, const OfflineStore& offline, EntityRowsSource source,
                const RetrievalOptions& options)
      : PlannedJob(std::move(plan), offline, options), source_(std::move(source)) {}

  std::string Explain(const Context& context) const override {
    std::string text = PlannedJob::Explain(context);
    if (options_.in_processes) return text;
    const auto joins = [&]() -> Result<std::string> {
      GNOMON_ASSIGN_OR_RETURN(const auto entity_rows, source_.open(context));
      GNOMON_RETURN_NOT_OK(CheckEntityRows(plan_, *entity_rows->schema()));
      return ExplainJoins(context, plan_, offline_, entity_rows, options_);
    }();
    return text + (joins.ok()
                       ? *joins
                       : Concat("  joins cannot be chosen: ", joins.status().message(), "\n"));
  }

 private:
  Result<std::unique_ptr<HistoricalRows>> Open(const Context& context) const override {
    GNOMON_ASSIGN_OR_RETURN(auto entity_rows, source_.open(context));
    const Status usable = CheckEntityRows(plan_, *entity_rows->schema());
    if (!usable.ok()) return WithLocation(usable, {.file = source_.file});
    return OpenHistorical(context, plan_, offline_, std::move(entity_rows), options_);
  }

  std::string ExplainWork(const Context& context) const override {
    return ExplainStages(context, plan_, offline_, options_);
  }

  const EntityRowsSource source_;
};

class RangeJob : public PlannedJob {
 public:
  RangeJob(FeaturePlan plan, const OfflineStore& offline, int64_t start, std::optional<int64_t> end,
           const RetrievalOptions& options)
      : PlannedJob(std::move(plan), offline, options), start_(start), end_(end) {}

  std::string Explain(const Context& context) const override {
    return Concat(PlannedJob::Explain(context), "  without entity rows: from ",
                  FormatTimestamp(start_), " to ",
                  end_ ? FormatTimestamp(*end_) : std::string("now"), ", both inclusive\n");
  }

 private:
  Result<std::unique_ptr<HistoricalRows>> Open(const Context& context) const override {
    return OpenRange(context, plan_, offline_, start_, Last(context), options_);
  }
  std::string ExplainWork(const Context& context) const override {
    return ExplainRangeStages(context, plan_, offline_, start_, Last(context), options_);
  }
  int64_t Last(const Context& context) const { return end_.value_or(context.clock->NowMicros()); }

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
