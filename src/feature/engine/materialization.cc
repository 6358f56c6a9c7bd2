#include "feature/engine/materialization.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/latest_materialization.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/online_writing.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/view_blocks.h"
#include "feature/engine/window_materialization.h"
#include "feature/online/online_reader.h"

namespace gnomon::feature {

Status WriteSink(const Context& context, const Definitions& definitions, const FeatureView& view,
                 const OfflineStore& offline, int64_t start, int64_t end) {
  const DataSource* sink = definitions.FindDataSource(view.sink_source);
  if (sink == nullptr) {
    return Error(ErrorKind::kInternal, "sink_source is missing: ", Quoted(view.sink_source));
  }
  const std::shared_ptr<const Definitions> borrowed(std::shared_ptr<const void>(), &definitions);
  GNOMON_ASSIGN_OR_RETURN(const FeaturePlan plan,
                          PlanFeatures(borrowed, std::vector{Concat(view.name, ":*")}));
  GNOMON_ASSIGN_OR_RETURN(auto rows,
                          RetrieveRange(context, plan, offline, start, end, {}, nullptr));
  if (!sink->timestamp_field.empty()) {
    std::vector<std::string> names = rows->schema()->field_names();
    *std::ranges::find(names, "event_timestamp") = sink->timestamp_field;
    GNOMON_ASSIGN_OR_RETURN(rows, rows->RenameColumns(names));
  }
  GNOMON_RETURN_NOT_OK(
      offline.Append(context, *sink, Concat(view.name, "_", start, "_", end), *rows));
  return FaultPoint("materialize.after_sink", context.stop);
}

SharedMaterialization::SharedMaterialization(const Context& context, const Definitions& definitions,
                                             const std::string& project,
                                             std::vector<ViewInterval> views,
                                             const OfflineStore& offline, int64_t value_count_bytes)
    : context_(context),
      definitions_(definitions),
      project_(project),
      offline_(offline),
      value_count_bytes_(value_count_bytes),
      views_(std::move(views)),
      blocks_(views_.size()),
      sunk_(views_.size()) {}

SharedMaterialization::~SharedMaterialization() = default;

Result<std::unique_ptr<ViewBlocks>> SharedMaterialization::Open(
    const ViewInterval& interval) const {
  const FeatureView& view = *interval.view;
  if (!view.is_window()) {
    return LatestMaterialization::Open(context_, definitions_, view, offline_, sources_,
                                       interval.start, interval.end);
  }
  GNOMON_ASSIGN_OR_RETURN(const OnlineTable table, OnlineTableOf(project_, view));
  return WindowMaterialization::Open(context_, definitions_, table, view, offline_, sources_,
                                     interval.end, value_count_bytes_);
}

Status SharedMaterialization::TryReadTogether() {
  std::vector<SourceUse> uses;
  for (const ViewInterval& interval : views_) {
    const FeatureView& view = *interval.view;
    if (view.is_window()) {
      uses.push_back({&view, AggregatedColumns(view), RangeUntil(view, interval.end)});
    } else {
      uses.push_back({&view,
                      LatestFeatures(view),
                      {.min = interval.start, .max = interval.end, .created_before = {}}});
    }
  }
  GNOMON_ASSIGN_OR_RETURN(sources_, SharedSources::Open(context_, definitions_, offline_, uses));
  std::vector<ViewPass*> passes;
  for (size_t place = 0; place < views_.size(); ++place) {
    GNOMON_ASSIGN_OR_RETURN(blocks_[place], Open(views_[place]));
    passes.push_back(&blocks_[place]->pass());
  }
  return RunPasses(context_, passes);
}

/// Forgets what was read of the last views until half of the memory is there for writing the first.
void SharedMaterialization::LeaveHalf() {
  const MemoryBudget* const budget = context_.memory;
  if (budget == nullptr || budget->limit() == 0) return;
  for (size_t place = blocks_.size(); place-- > 1 && budget->used() > budget->limit() / 2;)
    blocks_[place].reset();
}

/// Only of views that have one source, and more than one of them.
Status SharedMaterialization::ReadTogether() {
  if (std::exchange(tried_together_, true) || views_.size() < 2) return Status::OK();
  for (const ViewInterval& interval : views_) {
    if (interval.view->is_derived() || interval.view->source != views_[0].view->source)
      return Error(ErrorKind::kInternal,
                   "views that do not share a source are materialized as one");
  }
  const Status status = TryReadTogether();
  scans_ = 1;
  if (status.ok()) {
    LeaveHalf();
    return status;
  }
  GNOMON_RETURN_NOT_OK(context_.Check());
  LogInfo("feature", Concat("data source ", views_[0].view->source, " is read view by view"),
          {{"because", status.message()}});
  for (auto& blocks : blocks_) blocks.reset();
  sources_ = SharedSources();
  return Status::OK();
}

/// Forgets what was read of the other views; false: there was nothing.
bool SharedMaterialization::LeaveAll() {
  bool any = false;
  for (auto& blocks : blocks_) {
    any = any || blocks != nullptr;
    blocks.reset();
  }
  return any;
}

Result<MaterializationResult> SharedMaterialization::Write(size_t place, OnlineStore& online,
                                                           const MaterializationOptions& options) {
  GNOMON_RETURN_NOT_OK(ReadTogether());
  MaterializationFailure failure;
  MaterializationOptions attempt = options;
  attempt.failure = &failure;
  attempt.after_commit = [&](int64_t rows) {
    attempt.committed_rows = rows;
    return options.after_commit ? options.after_commit(rows) : Status::OK();
  };
  auto result = WriteOne(place, online, attempt);
  if (!result.ok() && KindOf(result.status()) == ErrorKind::kExhausted &&
      failure.failed_rows == 0 && LeaveAll()) {
    LogInfo("feature", Concat("feature view ", views_[place].view->name, " is read alone"),
            {{"because", result.status().message()}});
    result = WriteOne(place, online, attempt);
  }
  if (options.failure != nullptr) *options.failure = failure;
  return result;
}

Result<MaterializationResult> SharedMaterialization::WriteOne(
    size_t place, OnlineStore& online, const MaterializationOptions& options) {
  MaterializationResult result;
  const ViewInterval& interval = views_[place];
  const FeatureView& view = *interval.view;
  GNOMON_ASSIGN_OR_RETURN(const OnlineTable table, OnlineTableOf(project_, view));
  std::unique_ptr<ViewBlocks> blocks = std::move(blocks_[place]);
  if (blocks == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(blocks, Open(interval));
    const ViewSource& source = blocks->pass().source();
    ++scans_;
    GNOMON_RETURN_NOT_OK(source.WithoutMemory(RunPasses(context_, {&blocks->pass()})));
  }
  GNOMON_RETURN_NOT_OK(blocks->FinishPass(&result));
  const int64_t committed_rows = options.committed_rows;
  const int64_t skip_rows = blocks->Skip(committed_rows);
  if (!view.sink_source.empty() && !sunk_[place]) {
    GNOMON_RETURN_NOT_OK(
        WriteSink(context_, definitions_, view, offline_, interval.start, interval.end));
    sunk_[place] = true;
  }
  ProgressPhase phase(context_.progress, Concat("materialize ", view.name), blocks->num_rows(),
                      "keys");
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_write", context_.stop));
  phase.Advance(committed_rows - skip_rows);
  FailedRows failed;
  GNOMON_ASSIGN_OR_RETURN(result.rows,
                          WriteOnline(
                              context_, online, table, interval.end, skip_rows,
                              [&] { return blocks->NextBlock(); }, options, &failed, &phase));
  GNOMON_RETURN_NOT_OK(failed.ToStatus());
  result.scans = std::exchange(scans_, 0);
  return result;
}

Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              const MaterializationOptions& options) {
  SharedMaterialization alone(context, definitions, project, {{&view, start, end}}, offline,
                              options.value_count_bytes);
  return alone.Write(0, online, options);
}

}  // namespace gnomon::feature
