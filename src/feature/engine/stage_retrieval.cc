#include "feature/engine/stage_retrieval.h"

#include <algorithm>
#include <set>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "feature/engine/database_rows.h"
#include "feature/engine/retrieval_plan.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/stage_workers.h"
#include "runtime/local/local_backend.h"
#include "runtime/stage.h"

namespace gnomon::feature {
namespace {

/// Rows with a null in a join key of some view, or without a time.
int64_t CountNullKeys(const FeaturePlan& plan, const arrow::Table& entity_rows,
                      const std::string& time) {
  std::vector<bool> is_null(static_cast<size_t>(entity_rows.num_rows()), false);
  const auto mark = [&](const std::string& name) {
    size_t row = 0;
    for (const auto& chunk : entity_rows.GetColumnByName(name)->chunks()) {
      for (int64_t i = 0; i < chunk->length(); ++i, ++row) {
        if (chunk->IsNull(i)) is_null[row] = true;
      }
    }
  };
  mark(time);
  for (const PlannedView& planned : plan.views) std::ranges::for_each(planned.entity_columns, mark);
  return std::ranges::count(is_null, true);
}

/// Entity rows of the right columns, none of them.
Result<std::shared_ptr<arrow::Table>> NoEntityRows(const FeaturePlan& plan) {
  arrow::FieldVector fields;
  for (const auto* list : {&plan.entity_fields, &plan.request_fields}) {
    for (const Field& field : *list) {
      const bool known = std::ranges::any_of(
          fields, [&](const auto& other) { return other->name() == field.name; });
      if (!known) fields.push_back(arrow::field(field.name, field.dtype.ToArrow()));
    }
  }
  fields.push_back(
      arrow::field("event_timestamp", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")));
  return arrow::Table::MakeEmpty(arrow::schema(std::move(fields)));
}

/// What a plan cannot say is done by this process's engine, which also says best what is wrong with
/// the request: nothing has run yet.
Result<dataset::Plan> OrLeave(const Context& context, Result<dataset::Plan> lowered) {
  if (lowered.ok()) return lowered;
  GNOMON_RETURN_NOT_OK(context.Check());
  return Error(ErrorKind::kUnsupported, lowered.status().message());
}

/// Adds what the operators of a plan did: which of them read sources, and how many rows. What is
/// read once for several scans counts once.
void AddWork(const dataset::DistributedStats& work, RetrievalStats* stats) {
  std::set<size_t> counted;
  for (const dataset::SharedScanStats& read : work.shared_scans) {
    counted.insert(read.operators.begin(), read.operators.end());
    stats->scans += 1;
    stats->source_rows += read.rows;
  }
  for (size_t place = 0; place < work.operators.size(); ++place) {
    const dataset::OperatorStats& each = work.operators[place];
    if ((each.name != "scan" && each.name != "external") || counted.contains(place)) continue;
    stats->scans += 1;
    stats->source_rows += each.rows;
  }
  stats->spilled_bytes += work.spilled_bytes();
  stats->stages = work;
}

Result<std::shared_ptr<arrow::Table>> RunStages(const Context& context, runtime::Backend& backend,
                                                const FeaturePlan& plan,
                                                const dataset::Plan& lowered,
                                                const arrow::Table* entity_rows,
                                                const RetrievalOptions& options,
                                                RetrievalStats* stats, MemoryReservation* memory) {
  const double start = MonotonicSeconds();
  dataset::DistributionOptions distribution = DistributionOf(options);
  distribution.name = "retrieval";
  GNOMON_ASSIGN_OR_RETURN(const auto result,
                          dataset::ExecuteDistributed(context, backend, lowered, distribution));
  RowPartitions rows(context, result->schema(), 1, options.join.spill_folder);
  for (int64_t position = 0;; ++position) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, result->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(rows.AddBatch(position, *batch));
  }
  GNOMON_RETURN_NOT_OK(rows.Finish());
  if (stats != nullptr) {
    stats->entity_rows = rows.num_rows(0);
    if (entity_rows != nullptr) {
      GNOMON_ASSIGN_OR_RETURN(const std::string time, EventTimestampColumn(*entity_rows->schema()));
      stats->null_key_rows = CountNullKeys(plan, *entity_rows, time);
    }
    AddWork(result->work(), stats);
    stats->spilled_bytes += rows.spilled_bytes();
    stats->seconds.emplace_back("stages", MonotonicSeconds() - start);
    if (stats->null_key_rows > 0) {
      LogWarning("feature",
                 Concat("entity rows with a null join key or timestamp get null features: ",
                        stats->null_key_rows));
    }
    stats->joins.emplace_back("stages", Concat(result->stats().tasks, " tasks, ",
                                               result->stats().rows, " rows in their blocks"));
  }
  MemoryReservation not_kept(context.memory);
  return rows.TakeTable(memory == nullptr ? &not_kept : memory);
}

/// They live as long as the backend.
Result<std::unique_ptr<runtime::Backend>> StartWorkers(const Context& context,
                                                       const FeaturePlan& plan,
                                                       const OfflineStore& store,
                                                       const RetrievalOptions& options) {
  runtime::StageRegistry registry;
  GNOMON_RETURN_NOT_OK(dataset::RegisterPlanStages(registry, nullptr));
  std::map<std::string, Secret> access = dataset::AccessForWorkers();
  access.merge(AccessToDatabases(store));
  return runtime::MakeLocalBackend(registry,
                                   {.isolation = runtime::Isolation::kProcess,
                                    .max_workers = NumWorkers(options),
                                    .memory = context.memory,
                                    .worker_command = WorkerCommand(*plan.definitions, options),
                                    .access = std::move(access)});
}

/// The stages of a plan in words, or why there are none.
std::string Explained(const Result<dataset::Plan>& lowered, const RetrievalOptions& options) {
  const auto text = lowered.ok() ? dataset::ExplainDistributed(*lowered, DistributionOf(options))
                                 : Result<std::string>(lowered.status());
  if (!text.ok() && KindOf(text.status()) == ErrorKind::kUnsupported)
    return Concat("  runs in this process, not in workers: ", text.status().message(), "\n");
  if (!text.ok()) return Concat("  cannot run as stages: ", text.status().message(), "\n");
  std::string lines =
      Concat("  stages in ", NumWorkers(options), " worker processes (isolation: process):\n");
  for (const std::string& line : Split(Trim(*text), '\n')) lines += Concat("    ", line, "\n");
  return lines;
}

}  // namespace

Result<std::shared_ptr<arrow::Table>> RetrieveByStages(
    const Context& context, runtime::Backend& backend, const FeaturePlan& plan,
    const OfflineStore& store, const std::shared_ptr<arrow::Table>& entity_rows,
    const RetrievalOptions& options, RetrievalStats* stats, MemoryReservation* memory) {
  GNOMON_ASSIGN_OR_RETURN(const dataset::Plan lowered,
                          LowerRetrieval(context, plan, store, entity_rows, options));
  return RunStages(context, backend, plan, lowered, entity_rows.get(), options, stats, memory);
}

Result<std::shared_ptr<arrow::Table>> RetrieveRangeByStages(
    const Context& context, runtime::Backend& backend, const FeaturePlan& plan,
    const OfflineStore& store, int64_t start, int64_t end, const RetrievalOptions& options,
    RetrievalStats* stats, MemoryReservation* memory) {
  GNOMON_ASSIGN_OR_RETURN(const dataset::Plan lowered,
                          LowerRange(context, plan, store, start, end, options));
  return RunStages(context, backend, plan, lowered, nullptr, options, stats, memory);
}

Result<std::shared_ptr<arrow::Table>> RetrieveInProcesses(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const std::shared_ptr<arrow::Table>& entity_rows, const RetrievalOptions& options,
    RetrievalStats* stats, MemoryReservation* memory) {
  GNOMON_ASSIGN_OR_RETURN(
      const dataset::Plan lowered,
      OrLeave(context, LowerRetrieval(context, plan, store, entity_rows, options)));
  GNOMON_ASSIGN_OR_RETURN(const auto workers, StartWorkers(context, plan, store, options));
  return RunStages(context, *workers, plan, lowered, entity_rows.get(), options, stats, memory);
}

Result<std::shared_ptr<arrow::Table>> RetrieveRangeInProcesses(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store, int64_t start,
    int64_t end, const RetrievalOptions& options, RetrievalStats* stats,
    MemoryReservation* memory) {
  GNOMON_ASSIGN_OR_RETURN(const dataset::Plan lowered,
                          OrLeave(context, LowerRange(context, plan, store, start, end, options)));
  GNOMON_ASSIGN_OR_RETURN(const auto workers, StartWorkers(context, plan, store, options));
  return RunStages(context, *workers, plan, lowered, nullptr, options, stats, memory);
}

std::string ExplainStages(const Context& context, const FeaturePlan& plan,
                          const OfflineStore& store, const RetrievalOptions& options) {
  const auto lower = [&]() -> Result<dataset::Plan> {
    GNOMON_ASSIGN_OR_RETURN(const auto entity_rows, NoEntityRows(plan));
    return LowerRetrieval(context, plan, store, entity_rows, options);
  };
  return Explained(OrLeave(context, lower()), options);
}

std::string ExplainRangeStages(const Context& context, const FeaturePlan& plan,
                               const OfflineStore& store, int64_t start, int64_t end,
                               const RetrievalOptions& options) {
  return Explained(OrLeave(context, LowerRange(context, plan, store, start, end, options)),
                   options);
}

}  // namespace gnomon::feature
