#include "feature/engine/retrieval.h"

#include <algorithm>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/plain_views.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/window_retrieval.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

/// Request data of on-demand views, of the declared types.
Result<std::shared_ptr<arrow::Array>> RequestColumn(const arrow::Table& entity_rows,
                                                    const Field& field) {
  GNOMON_ASSIGN_OR_RETURN(auto array, table::SingleChunk(*entity_rows.GetColumnByName(field.name)));
  auto cast = table::CastLossless(array, field.dtype.ToArrow());
  if (!cast.ok()) return WithContext(cast.status(), Concat("request data ", Quoted(field.name)));
  return cast;
}

class StepTimer {
 public:
  StepTimer(std::string name, RetrievalStats* stats) : name_(std::move(name)), stats_(stats) {}
  ~StepTimer() { stats_->seconds.emplace_back(std::move(name_), MonotonicSeconds() - start_); }
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

 private:
  std::string name_;
  RetrievalStats* stats_;
  double start_ = MonotonicSeconds();
};

/// The values of all views of a plan: each source is read once, whatever views read it.
class ViewRetrieval {
 public:
  ViewRetrieval(const Context& context, const FeaturePlan& plan, const OfflineStore& store,
                const arrow::Table& entity_rows, const Labels& labels,
                const RetrievalOptions& options, RetrievalStats* stats)
      : context_(context),
        plan_(plan),
        store_(store),
        entity_rows_(entity_rows),
        labels_(labels),
        options_(options),
        stats_(stats) {}

  Result<std::vector<ViewArrays>> Run() {
    GNOMON_RETURN_NOT_OK(OpenShared());
    GNOMON_RETURN_NOT_OK(JoinPlain());
    GNOMON_RETURN_NOT_OK(ReadSharedWindows());
    std::vector<ViewArrays> views;
    for (const PlannedView& planned : plan_.views) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      if (planned.view->is_window()) {
        GNOMON_ASSIGN_OR_RETURN(auto columns, Windows(planned));
        views.push_back(std::move(columns));
      } else {
        views.push_back(std::move(joined_.at(&planned)));
      }
    }
    stats_->source_rows += rows_.total();
    return views;
  }

 private:
  /// Window views of shared sources are opened before the first pass; others, which hold the rows
  /// of the views below them, when it is their turn.
  Status OpenShared() {
    std::vector<SourceUse> uses;
    for (const PlannedView& planned : plan_.views) {
      uses.push_back({planned.view, ColumnsToRead(planned),
                      RangeToRead(planned, labels_.min_micros(), labels_.max_micros(), options_)});
    }
    GNOMON_ASSIGN_OR_RETURN(shared_,
                            SharedSources::Open(context_, *plan_.definitions, store_, uses));
    for (const PlannedView& planned : plan_.views) {
      if (!planned.view->is_window() || shared_.GroupOf(*planned.view) < 0) continue;
      GNOMON_ASSIGN_OR_RETURN(windows_[&planned], Open(planned));
    }
    return Status::OK();
  }

  Result<std::unique_ptr<WindowRetrieval>> Open(const PlannedView& planned) const {
    return WindowRetrieval::Open(context_, plan_, planned, labels_, store_, shared_, options_);
  }

  Status JoinPlain() {
    std::vector<const PlannedView*> plain;
    for (const PlannedView& planned : plan_.views) {
      if (!planned.view->is_window()) plain.push_back(&planned);
    }
    if (plain.empty()) return Status::OK();
    StepTimer timer("plain views", stats_);
    std::vector<WindowRetrieval*> windows;
    for (const auto& [planned, window] : windows_) windows.push_back(window.get());
    GNOMON_ASSIGN_OR_RETURN(
        joined_, JoinPlainViews(context_, plan_, plain, labels_, store_, shared_, windows,
                                entity_rows_, options_, &rows_, stats_));
    return Status::OK();
  }

  /// Those that the join has not read: source by source, the views of each side by side.
  Status ReadSharedWindows() {
    std::map<int, std::vector<ViewPass*>> groups;
    for (const auto& [planned, window] : windows_) {
      if (!window->pass().has_begun())
        groups[shared_.GroupOf(*planned->view)].push_back(&window->pass());
    }
    if (groups.empty()) return Status::OK();
    StepTimer timer("window views' events", stats_);
    for (const auto& [group, passes] : groups) {
      GNOMON_RETURN_NOT_OK(passes.front()->source().WithoutMemory(RunPasses(context_, passes)));
      ++stats_->scans;
    }
    return Status::OK();
  }

  Result<ViewArrays> Windows(const PlannedView& planned) {
    StepTimer timer(Concat("view ", planned.alias), stats_);
    ProgressPhase phase(context_.progress, Concat("join ", planned.alias), labels_.num_rows());
    std::unique_ptr<WindowRetrieval> windows = std::move(windows_[&planned]);
    if (windows == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(windows, Open(planned));
      ViewPass& pass = windows->pass();
      GNOMON_RETURN_NOT_OK(pass.source().WithoutMemory(RunPasses(context_, {&pass})));
      stats_->scans += planned.view->is_derived() ? windows->reads().scans : 1;
    }
    if (planned.view->is_derived()) {
      stats_->source_rows += windows->reads().rows;
    } else {
      rows_.Add(*planned.view, windows->pass().stats().rows_read);
    }
    auto columns = windows->Evaluate(stats_);
    phase.Advance(labels_.num_rows());
    return columns;
  }

  const Context& context_;
  const FeaturePlan& plan_;
  const OfflineStore& store_;
  const arrow::Table& entity_rows_;
  const Labels& labels_;
  const RetrievalOptions& options_;
  RetrievalStats* stats_;
  SharedSources shared_;
  std::map<const PlannedView*, std::unique_ptr<WindowRetrieval>> windows_;  ///< of shared sources
  std::map<const PlannedView*, ViewArrays> joined_;
  ReadRows rows_;
};

}  // namespace

Result<std::string> EventTimestampColumn(const arrow::Schema& schema) {
  std::vector<std::string> times;
  for (const auto& field : schema.fields()) {
    if (!table::IsTime(*field->type())) continue;
    if (field->name() == "event_timestamp") return field->name();
    times.push_back(field->name());
  }
  if (times.size() == 1) return times.front();
  if (const auto column = schema.GetFieldByName("event_timestamp"); column != nullptr) {
    return MakeError(ErrorKind::kUser,
                     Concat("column event_timestamp of the entity rows is no time but ",
                            column->type()->ToString()),
                     {}, "every value must be a time, in text files as 2024-01-05T12:30:00Z");
  }
  if (times.empty()) {
    return MakeError(ErrorKind::kUser, "entity rows have no timestamp column", {},
                     "add a column event_timestamp of a timestamp type");
  }
  return MakeError(ErrorKind::kUser,
                   Concat("entity rows have several timestamp columns: ", Join(times, ", ")), {},
                   "name the one that counts event_timestamp");
}

Result<std::shared_ptr<arrow::Table>> RetrieveHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const arrow::Table& entity_rows, const RetrievalOptions& options, RetrievalStats* stats) {
  RetrievalStats unused;
  if (stats == nullptr) stats = &unused;
  if (options.in_processes) {
    auto table = RetrieveInProcesses(context, plan, store, entity_rows.Slice(0), options, stats);
    if (table.ok() || KindOf(table.status()) != ErrorKind::kUnsupported) return table;
    stats->joins.emplace_back("stages",
                              Concat("none, all in this process: ", table.status().message()));
  }
  Labels labels;
  {
    StepTimer timer("entity rows", stats);
    GNOMON_ASSIGN_OR_RETURN(labels, Labels::Make(context, plan, entity_rows));
  }
  stats->entity_rows = labels.num_rows();
  stats->null_key_rows = labels.null_key_rows();
  if (labels.null_key_rows() > 0) {
    LogWarning("feature",
               Concat("entity rows with a null join key or timestamp get null features: ",
                      labels.null_key_rows()));
  }

  PlanInputs inputs;
  inputs.num_rows = labels.num_rows();
  ViewRetrieval views(context, plan, store, entity_rows, labels, options, stats);
  GNOMON_ASSIGN_OR_RETURN(inputs.views, views.Run());
  for (const Field& field : plan.request_fields) {
    GNOMON_ASSIGN_OR_RETURN(auto column, RequestColumn(entity_rows, field));
    inputs.request.push_back(std::move(column));
  }

  StepTimer timer("on-demand expressions", stats);
  GNOMON_ASSIGN_OR_RETURN(auto outputs, EvaluateOutputs(plan, inputs));
  arrow::FieldVector fields = entity_rows.schema()->fields();
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns = entity_rows.columns();
  for (size_t i = 0; i < outputs.size(); ++i) {
    fields.push_back(arrow::field(plan.outputs[i].name, outputs[i]->type()));
    columns.push_back(std::make_shared<arrow::ChunkedArray>(outputs[i]));
  }
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns),
                            labels.num_rows());
}

std::string ExplainRetrieval(const FeaturePlan& plan, const RetrievalOptions& options) {
  std::string text =
      Concat("retrieve ", plan.outputs.size(), " features from ", plan.views.size(), " views");
  if (!plan.feature_service.empty())
    text += Concat(" (feature service ", plan.feature_service, ")");
  text += "\n";
  for (const PlannedView& planned : plan.views) {
    const FeatureView& view = *planned.view;
    text += Concat("  view ", view.name);
    if (planned.alias != view.name) text += Concat(" as ", planned.alias);
    text += Concat(": ", planned.features.size(), " features by (",
                   Join(planned.entity_columns, ", "), ")\n");
    text +=
        Concat("    ", view.is_derived() ? "rows of feature views " : "scan ",
               view.is_derived() ? Join(view.source_views, ", ") : view.source, ": columns ",
               Join(ColumnsToRead(planned), ", "), "; row groups outside the labels' time range");
    if (view.is_window()) {
      const auto window = view.LongestWindow();
      text += window ? Concat(" minus ", FormatDuration(*window), " are not read\n")
                     : std::string(" end are not read (a lifetime window has no beginning)\n");
    } else {
      text += view.ttl > 0
                  ? Concat(" minus the ttl of ", FormatDuration(view.ttl), " are not read\n")
                  : std::string(" end are not read (no ttl)\n");
    }
    for (const Transformation& step : view.transformations) {
      text += Concat("    transform ", step.name, " = ", step.expression, "\n");
    }
    if (!view.filter.empty()) text += Concat("    filter ", view.filter, "\n");
    if (view.is_window()) {
      text +=
          "    window aggregates at each label's own time: events sorted per entity, windows slide "
          "over the labels\n";
    } else {
      text +=
          "    latest row as of each label: label-side join, one pass over the rows without "
          "sorting them\n";
    }
    if (options.filter_by_created_timestamp)
      text += "    rows created after the label's time do not exist for it\n";
  }
  const dataset::AsOfSettings& join = options.join;
  text +=
      Concat("  joins: ", join.max_workers > 0 ? Concat(join.max_workers) : "all", " workers; ");
  text += join.enable_optimization ? Concat("the smaller side is broadcast up to ",
                                            FormatBytes(join.broadcast_join_threshold))
                                   : std::string("always partitioned");
  text += Concat("; partitions of about ", FormatBytes(join.target_partition_size), ", at least ",
                 join.max_parallelism_multiplier, " for each worker, cut into slices of ",
                 FormatDuration(join.window_size_for_joins), " where they do not fit\n");
  if (options.created_before) {
    text += Concat("  rows created after ", FormatTimestamp(*options.created_before),
                   " do not exist\n");
  }
  for (const PlannedExpression& expression : plan.expressions) {
    text += Concat("  on demand ", expression.view->name, ":", expression.field->name, " from ",
                   Join(expression.input_names, ", "), "\n");
  }
  return text;
}

}  // namespace gnomon::feature
