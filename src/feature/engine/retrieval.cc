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

  std::vector<const PlannedView*> plain;
  for (const PlannedView& planned : plan.views) {
    if (!planned.view->is_window()) plain.push_back(&planned);
  }
  std::map<const PlannedView*, ViewArrays> joined;
  if (!plain.empty()) {
    StepTimer timer("plain views", stats);
    GNOMON_ASSIGN_OR_RETURN(
        joined, JoinPlainViews(context, plan, plain, labels, store, entity_rows, options, stats));
  }
  PlanInputs inputs;
  inputs.num_rows = labels.num_rows();
  for (const PlannedView& planned : plan.views) {
    if (const auto found = joined.find(&planned); found != joined.end()) {
      inputs.views.push_back(std::move(found->second));
      continue;
    }
    StepTimer timer(Concat("view ", planned.alias), stats);
    ProgressPhase phase(context.progress, Concat("join ", planned.alias), labels.num_rows());
    GNOMON_ASSIGN_OR_RETURN(auto columns,
                            RetrieveWindows(context, plan, planned, labels, store, options, stats));
    inputs.views.push_back(std::move(columns));
    phase.Advance(labels.num_rows());
    GNOMON_RETURN_NOT_OK(context.Check());
  }
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
