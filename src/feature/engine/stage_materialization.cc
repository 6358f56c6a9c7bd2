#include "feature/engine/stage_materialization.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <span>
#include <system_error>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/progress.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "feature/engine/database_rows.h"
#include "feature/engine/latest_materialization.h"
#include "feature/engine/online_sink.h"
#include "feature/engine/parent_rows.h"
#include "feature/engine/retrieval_plan.h"
#include "feature/engine/stage_workers.h"
#include "feature/engine/view_plan_internal.h"
#include "feature/engine/window_materialization.h"
#include "runtime/local/local_backend.h"
#include "runtime/sink.h"
#include "runtime/stage.h"

namespace gnomon::feature {
namespace {

namespace fs = std::filesystem;
using dataset::ColumnExpression;
using dataset::MakeNode;
using dataset::Plan;

constexpr const char* kSourceRows = "__source_rows";
constexpr const char* kSkippedRows = "__skipped_rows";

/// The driver's end: tells of every partition that is committed.
class Commits : public runtime::Sink {
 public:
  explicit Commits(std::function<Status(int64_t rows)> after_commit)
      : after_commit_(std::move(after_commit)) {}

  Status Commit(const Context& context, std::string_view token) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    FailedRows failed;
    GNOMON_RETURN_NOT_OK(AddToken(token, &committed_, &failed));
    return after_commit_ ? after_commit_(committed_.rows) : Status::OK();
  }
  /// The rows are those of the attempt that is committed.
  Status Abort(const Context& /*context*/, std::string_view /*token*/) override {
    return Status::OK();
  }
  Status Clean(const Context& /*context*/, std::span<const std::string> /*pending*/) override {
    return Status::OK();
  }

 private:
  const std::function<Status(int64_t rows)> after_commit_;
  MaterializationResult committed_;
};

/// The columns that go to the sink: keys, times, features or what is aggregated, each once.
struct SinkColumns {
  std::vector<std::string> keys;
  std::vector<std::string> values;
  OnlineSinkRows rows;

  std::vector<std::string> All() const {
    std::vector<std::string> all = keys;
    const auto add = [&](const std::string& name) {
      if (!name.empty() && std::ranges::find(all, name) == all.end()) all.push_back(name);
    };
    add(rows.time);
    add(rows.created);
    std::ranges::for_each(values, add);
    return all;
  }
};

Result<SinkColumns> ColumnsOf(const Definitions& definitions, const FeatureView& view) {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, view));
  SinkColumns columns;
  GNOMON_ASSIGN_OR_RETURN(columns.keys, JoinKeys(definitions, view));
  columns.values = view.is_window() ? AggregatedColumns(view) : LatestFeatures(view);
  columns.rows = {.time = source.timestamp_field, .created = source.created_timestamp_column};
  if (view.is_window()) return columns;
  columns.rows.source_rows = kSourceRows;
  columns.rows.skipped_rows = kSkippedRows;
  return columns;
}

/// Of a plain view each row says what it counts for.
Result<Plan> WithCounts(const SinkColumns& columns, bool has_time, dataset::ProjectSpec project,
                        Plan rows) {
  if (columns.rows.source_rows.empty()) return MakeNode(std::move(project), {std::move(rows)});
  std::vector<std::string> nulls;
  for (const std::string& key : columns.keys)
    nulls.push_back(Concat(ColumnExpression(key), " is null"));
  std::string skipped = has_time ? "0" : "1";
  if (has_time && !nulls.empty())
    skipped = Concat("case when ", Join(nulls, " or "), " then 1 else 0 end");
  project.expressions.push_back(
      {.name = kSourceRows, .expression = has_time ? "1" : "0", .type = arrow::int64()});
  project.expressions.push_back(
      {.name = kSkippedRows, .expression = std::move(skipped), .type = arrow::int64()});
  return MakeNode(std::move(project), {std::move(rows)});
}

/// The rows of the interval with their counts, and those without a time, which are counted too.
Result<Plan> RowsToWrite(const ViewPlanner& planner, const FeatureView& view,
                         const SinkColumns& columns, const SourceRange& range) {
  GNOMON_ASSIGN_OR_RETURN(Plan rows, planner.RowsOf(view, columns.values, range.min, range.max));
  const std::string time = ColumnExpression(columns.rows.time);
  const auto schema = rows->schema();
  dataset::ProjectSpec project;
  dataset::ProjectSpec empty;
  for (const std::string& name : columns.All()) {
    project.expressions.push_back({name, ColumnExpression(name)});
    empty.expressions.push_back({.name = name,
                                 .expression = name == columns.rows.time ? time : "null",
                                 .type = schema->GetFieldByName(name)->type()});
  }
  GNOMON_ASSIGN_OR_RETURN(rows,
                          MakeNode(dataset::FilterSpec{Concat(time, " is not null")}, {rows}));
  GNOMON_ASSIGN_OR_RETURN(rows, WithCounts(columns, true, std::move(project), std::move(rows)));
  GNOMON_ASSIGN_OR_RETURN(Plan timeless, planner.RowsWithoutTime(view));
  if (timeless == nullptr) return rows;
  GNOMON_ASSIGN_OR_RETURN(timeless,
                          WithCounts(columns, false, std::move(empty), std::move(timeless)));
  return MakeNode(dataset::UnionSpec{}, {std::move(rows), std::move(timeless)});
}

/// The newest row per key; rows without a key or a time are those of a key of their own.
Result<Plan> Newest(const SinkColumns& columns, const ViewInterval& interval, Plan rows) {
  return MakeNode(dataset::LatestSpec{.keys = columns.keys,
                                      .time = columns.rows.time,
                                      .created = columns.rows.created,
                                      .first = interval.start,
                                      .last = interval.end,
                                      .sums = {kSourceRows, kSkippedRows}},
                  {std::move(rows)});
}

/// Nothing is written in the driver's process.
std::shared_ptr<const dataset::ExternalSink> SinkOfWorkers() {
  return MakeOnlineSink(
      []() -> Result<OnlineStore*> {
        return Error(ErrorKind::kInternal, "rows are written by workers");
      },
      {});
}

/// `rows` with the write into the online store on top.
Result<Plan> WriteOf(const Definitions& definitions, const std::string& project,
                     const ViewInterval& interval, Plan rows,
                     std::shared_ptr<const dataset::ExternalSink> sink,
                     const MaterializationOptions& options, const StageMaterialization& stages) {
  const FeatureView& view = *interval.view;
  GNOMON_ASSIGN_OR_RETURN(const SinkColumns columns, ColumnsOf(definitions, view));
  GNOMON_ASSIGN_OR_RETURN(
      std::string parameters,
      OnlineSinkParameters(definitions, project, view, columns.rows, interval.end, options));
  return MakeNode(
      dataset::ExternalWriteSpec{.sink = kOnlineSink,
                                 .parameters = std::move(parameters),
                                 .keys = columns.keys,
                                 .num_partitions = stages.write_partitions,
                                 .description = Concat("feature view ", Quoted(view.name)),
                                 .writer = std::move(sink),
                                 .commits = std::make_shared<Commits>(options.after_commit)},
      {std::move(rows)});
}

/// A journal belongs to a plan and to how it is cut.
Result<std::string> JournalFor(const Plan& plan, const StageMaterialization& stages,
                               const dataset::DistributionOptions& distribution) {
  if (stages.journal.empty()) return std::string();
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, dataset::SerializePlan(plan));
  const std::string cut = Concat(distribution.num_partitions, " ", distribution.partition_bytes,
                                 " ", distribution.broadcast_bytes, " ");
  const fs::path folder = fs::path(stages.journal).parent_path();
  GNOMON_RETURN_NOT_OK(MakeFolders(folder.string()));
  return Concat(stages.journal, ".", Sha256Hex(Concat(cut, bytes)).substr(0, 16));
}

Result<MaterializationResult> RunStages(const Context& context, runtime::Backend& backend,
                                        const Definitions& definitions,
                                        const ViewInterval& interval, const OfflineStore& offline,
                                        const Plan& lowered, const MaterializationOptions& options,
                                        const StageMaterialization& stages) {
  const FeatureView& view = *interval.view;
  if (!view.sink_source.empty()) {
    GNOMON_RETURN_NOT_OK(
        WriteSink(context, definitions, view, offline, interval.start, interval.end));
  }
  ProgressPhase phase(context.progress, Concat("materialize ", view.name, " as stages"));
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_write", context.stop));
  if (options.failure != nullptr) options.failure->began_to_write = true;
  dataset::DistributionOptions distribution = DistributionOf(stages.engine);
  GNOMON_ASSIGN_OR_RETURN(distribution.job.journal, JournalFor(lowered, stages, distribution));
  GNOMON_ASSIGN_OR_RETURN(const auto tokens,
                          dataset::ExecuteDistributed(context, backend, lowered, distribution));
  MaterializationResult result;
  FailedRows failed;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, tokens->Next());
    if (batch == nullptr) break;
    const auto& column = static_cast<const arrow::BinaryArray&>(*batch->column(0));
    for (int64_t i = 0; i < column.length(); ++i)
      GNOMON_RETURN_NOT_OK(AddToken(column.GetView(i), &result, &failed));
  }
  if (failed.count() == 0) return result;
  if (options.failure != nullptr) options.failure->failed_rows = failed.count();
  // The journal has the partitions with such rows as written.
  GNOMON_RETURN_NOT_OK(ForgetStages(stages.journal));
  return failed.ToStatus();
}

}  // namespace

Result<Plan> LowerMaterialization(const Context& context, const Definitions& definitions,
                                  const std::string& project, const ViewInterval& interval,
                                  const OfflineStore& offline,
                                  std::shared_ptr<const dataset::ExternalSink> sink,
                                  const MaterializationOptions& options,
                                  const StageMaterialization& stages) {
  const FeatureView& view = *interval.view;
  DatabaseReads databases{.most_parts = NumPartitions(stages.engine)};
  const ViewPlanner planner(context, definitions, offline, {}, &databases);
  GNOMON_ASSIGN_OR_RETURN(const SinkColumns columns, ColumnsOf(definitions, view));
  SourceRange range{.min = interval.start, .max = interval.end, .created_before = {}};
  if (view.is_window()) range = RangeUntil(view, interval.end);
  GNOMON_ASSIGN_OR_RETURN(Plan rows, RowsToWrite(planner, view, columns, range));
  if (!view.is_window()) {
    GNOMON_ASSIGN_OR_RETURN(rows, Newest(columns, interval, std::move(rows)));
  }
  return WriteOf(definitions, project, interval, std::move(rows), std::move(sink), options, stages);
}

Result<MaterializationResult> MaterializeByStages(
    const Context& context, runtime::Backend& backend, const Definitions& definitions,
    const std::string& project, const ViewInterval& interval, const OfflineStore& offline,
    std::shared_ptr<const dataset::ExternalSink> sink, const MaterializationOptions& options,
    const StageMaterialization& stages) {
  GNOMON_ASSIGN_OR_RETURN(const Plan lowered,
                          LowerMaterialization(context, definitions, project, interval, offline,
                                               std::move(sink), options, stages));
  return RunStages(context, backend, definitions, interval, offline, lowered, options, stages);
}

Result<LoweredRows> LowerRowsToWrite(const Context& context, const Definitions& definitions,
                                     const std::string& project, const ViewInterval& interval,
                                     const OfflineStore& offline,
                                     const StageMaterialization& stages) {
  GNOMON_ASSIGN_OR_RETURN(const Plan lowered,
                          LowerMaterialization(context, definitions, project, interval, offline,
                                               SinkOfWorkers(), {}, stages));
  return lowered->inputs()[0];
}

Result<MaterializationResult> MaterializeInProcesses(
    const Context& context, const Definitions& definitions, const std::string& project,
    const ViewInterval& interval, const OfflineStore& offline, const LoweredRows& rows,
    const MaterializationOptions& options, const StageMaterialization& stages) {
  GNOMON_ASSIGN_OR_RETURN(const Plan lowered, WriteOf(definitions, project, interval, rows,
                                                      SinkOfWorkers(), options, stages));
  runtime::StageRegistry registry;
  GNOMON_RETURN_NOT_OK(dataset::RegisterPlanStages(registry, nullptr));
  std::map<std::string, Secret> access = dataset::AccessForWorkers();
  access.merge(AccessToDatabases(offline));
  access.merge(AccessToOnlineStore(stages.online_access));
  GNOMON_ASSIGN_OR_RETURN(
      const auto backend,
      runtime::MakeLocalBackend(registry,
                                {.isolation = runtime::Isolation::kProcess,
                                 .max_workers = NumWorkers(stages.engine),
                                 .memory = context.memory,
                                 .worker_command = WorkerCommand(definitions, stages.engine),
                                 .access = std::move(access)}));
  return RunStages(context, *backend, definitions, interval, offline, lowered, options, stages);
}

Status ForgetStages(const std::string& journal) {
  if (journal.empty()) return Status::OK();
  const fs::path path(journal);
  const std::string prefix = Concat(path.filename().string(), ".");
  std::vector<fs::path> journals;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path.parent_path(), error)) {
    if (entry.path().filename().string().starts_with(prefix)) journals.push_back(entry.path());
  }
  for (const fs::path& each : journals) {
    fs::remove(each, error);
    if (error) return ErrnoError(error.value(), Concat("cannot remove ", each.string()));
  }
  // Not when others are still there.
  fs::remove(path.parent_path(), error);
  return Status::OK();
}

}  // namespace gnomon::feature
