#include "feature/engine/materialization.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/progress.h"
#include "base/text.h"
#include "feature/engine/bounded_commits.h"
#include "feature/engine/latest_materialization.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/window_materialization.h"
#include "feature/online/online_reader.h"

namespace gnomon::feature {
namespace {

/// Keeps the rows of the interval in the view's sink, as one part that a repeated run replaces. The
/// rows of a window view are its aggregates at the times of its events.
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

/// What is to be written: the first pass is done.
struct Blocks {
  NextOnlineBlock next;
  int64_t num_rows = 0;   ///< 0: not known yet
  int64_t skip_rows = 0;  ///< of `next`
};

Result<Blocks> LatestBlocks(const Context& context, const Definitions& definitions,
                            const FeatureView& view, const OfflineStore& offline, int64_t start,
                            int64_t end, int64_t committed_rows, MaterializationResult* result) {
  GNOMON_ASSIGN_OR_RETURN(
      std::shared_ptr<LatestMaterialization> latest,
      LatestMaterialization::Make(context, definitions, view, offline, start, end, result));
  latest->Skip(committed_rows);
  return Blocks{.next = [latest] { return latest->NextBlock(); }, .num_rows = latest->num_rows()};
}

Result<Blocks> WindowBlocks(const Context& context, const Definitions& definitions,
                            const OnlineTable& table, const FeatureView& view,
                            const OfflineStore& offline, int64_t end, int64_t value_count_bytes,
                            int64_t committed_rows, MaterializationResult* result) {
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<WindowMaterialization> windows,
                          WindowMaterialization::Make(context, definitions, table, view, offline,
                                                      end, value_count_bytes, result));
  return Blocks{.next = [windows] { return windows->NextBlock(); },
                .num_rows = 0,
                .skip_rows = committed_rows};
}

}  // namespace

Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              const MaterializationOptions& options) {
  MaterializationResult result;
  GNOMON_ASSIGN_OR_RETURN(const OnlineTable table, OnlineTableOf(project, view));
  Blocks blocks;
  if (view.is_window()) {
    GNOMON_ASSIGN_OR_RETURN(
        blocks, WindowBlocks(context, definitions, table, view, offline, end,
                             options.value_count_bytes, options.committed_rows, &result));
  } else {
    GNOMON_ASSIGN_OR_RETURN(blocks, LatestBlocks(context, definitions, view, offline, start, end,
                                                 options.committed_rows, &result));
  }
  if (!view.sink_source.empty()) {
    GNOMON_RETURN_NOT_OK(WriteSink(context, definitions, view, offline, start, end));
  }
  ProgressPhase phase(context.progress, Concat("materialize ", view.name), blocks.num_rows, "keys");
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_write", context.stop));
  phase.Advance(options.committed_rows - blocks.skip_rows);
  BoundedCommits commits(context, online, table, options);
  GNOMON_RETURN_NOT_OK(commits.Begin());
  GNOMON_RETURN_NOT_OK(WriteBlocks(
      context, blocks.next, end, blocks.skip_rows,
      std::min(kOnlineBatchRows, options.rows_per_commit),
      [&](const OnlineRows& rows) { return commits.Write(rows); }, &phase));
  GNOMON_RETURN_NOT_OK(commits.Finish());
  result.rows = commits.rows();
  return result;
}

}  // namespace gnomon::feature
