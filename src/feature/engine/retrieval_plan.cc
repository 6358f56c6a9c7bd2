#include "feature/engine/retrieval_plan.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "expr/predicate.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/view_plan_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using dataset::ColumnExpression;
using dataset::MakeNode;
using dataset::Plan;

struct Bounds {
  std::optional<int64_t> min;
  std::optional<int64_t> max;
};

/// Microseconds, rounded outwards; absent when no row has a time.
Result<Bounds> BoundsOf(const arrow::Table& entity_rows, const std::string& time) {
  Bounds bounds;
  for (const auto& chunk : entity_rows.GetColumnByName(time)->chunks()) {
    const int64_t unit = table::UnitNanos(*chunk->type());
    GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*chunk));
    for (int64_t i = 0; i < chunk->length(); ++i) {
      if (chunk->IsNull(i)) continue;
      const pit::Nanos nanos = pit::ToNanos(times[static_cast<size_t>(i)], unit);
      const int64_t low = pit::FloorToUnit(nanos, 1000);
      const int64_t high = pit::CeilToUnit(nanos, 1000);
      bounds.min = std::min(bounds.min.value_or(low), low);
      bounds.max = std::max(bounds.max.value_or(high), high);
    }
  }
  return bounds;
}

/// Names that no column of the entity rows or output has: what stands between the nodes.
class HiddenNames {
 public:
  HiddenNames(const FeaturePlan& plan, const arrow::Schema& entity_rows) {
    const auto is_taken = [&](const std::string& name) { return name.starts_with(prefix_); };
    while (std::ranges::any_of(entity_rows.field_names(), is_taken) ||
           std::ranges::any_of(plan.outputs, is_taken, &PlannedOutput::name)) {
      prefix_.insert(prefix_.begin(), '_');
    }
  }

  std::string Of(const ColumnSlot& slot) const {
    switch (slot.kind) {
      case ColumnSlot::Kind::kView:
        return Concat(prefix_, "view", slot.index, "_", slot.feature);
      case ColumnSlot::Kind::kRequest:
        return Concat(prefix_, "request", slot.index);
      case ColumnSlot::Kind::kExpression:
        break;
    }
    return Concat(prefix_, "expression", slot.index);
  }

 private:
  std::string prefix_ = "__";
};

/// The view's entry: how its rows meet the labels.
Result<dataset::TimeMatch> MatchOf(const Definitions& definitions, const PlannedView& planned,
                                   const std::string& time, const RetrievalOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, *planned.view));
  dataset::TimeMatch match{.left_keys = planned.entity_columns,
                           .right_keys = planned.join_keys,
                           .left_time = time,
                           .right_time = source.timestamp_field,
                           .created = source.created_timestamp_column,
                           .filter_by_created = false,
                           .created_before = {}};
  if (!match.created.empty()) {
    match.filter_by_created = options.filter_by_created_timestamp;
    match.created_before = options.created_before;
  }
  return match;
}

Result<Plan> AddView(const PlannedView& planned, dataset::TimeMatch match, Plan labels, Plan rows,
                     const std::vector<std::string>& names) {
  const FeatureView& view = *planned.view;
  if (!view.is_window()) {
    dataset::AsOfJoinSpec join{
        .match = std::move(match), .tolerance = std::max<int64_t>(0, view.ttl), .features = {}};
    for (size_t i = 0; i < planned.features.size(); ++i) {
      const Field& field = *planned.features[i];
      join.features.push_back({field.name, names[i], field.dtype.ToArrow()});
    }
    return MakeNode(std::move(join), {std::move(labels), std::move(rows)});
  }
  dataset::WindowAggregateSpec windows{.match = std::move(match), .items = {}};
  for (size_t i = 0; i < planned.features.size(); ++i) {
    const Field& field = *planned.features[i];
    const auto aggregation = std::ranges::find(view.aggregations, field.name, &Aggregation::name);
    if (aggregation == view.aggregations.end())
      return Error(ErrorKind::kInternal, "feature ", Quoted(field.name), " has no aggregation");
    GNOMON_ASSIGN_OR_RETURN(const pit::AggregateSpec spec, AggregateSpecOf(*aggregation));
    windows.items.push_back({.function = spec.function,
                             .column = aggregation->column,
                             .name = names[i],
                             .window = aggregation->time_window,
                             .k = spec.k,
                             .quantile = spec.quantile,
                             .ddof = spec.ddof,
                             .input_type = aggregation->column_type.ToArrow(),
                             .type = field.dtype.ToArrow(),
                             .custom = spec.custom});
  }
  return MakeNode(std::move(windows), {std::move(labels), std::move(rows)});
}

/// The entity rows and, under hidden names, request data of the declared types.
Result<Plan> LabelsOf(const FeaturePlan& plan, const HiddenNames& hidden,
                      std::shared_ptr<arrow::Table> entity_rows) {
  for (size_t i = 0; i < plan.request_fields.size(); ++i) {
    const Field& field = plan.request_fields[i];
    GNOMON_ASSIGN_OR_RETURN(auto array,
                            table::SingleChunk(*entity_rows->GetColumnByName(field.name)));
    auto cast = table::CastLossless(array, field.dtype.ToArrow());
    GNOMON_RETURN_NOT_OK(WithContext(cast.status(), Concat("request data ", Quoted(field.name))));
    const ColumnSlot slot{.kind = ColumnSlot::Kind::kRequest, .index = static_cast<int>(i)};
    GNOMON_ASSIGN_OR_RETURN(entity_rows,
                            entity_rows->AddColumn(entity_rows->num_columns(),
                                                   arrow::field(hidden.Of(slot), (*cast)->type()),
                                                   std::make_shared<arrow::ChunkedArray>(*cast)));
  }
  return MakeNode(dataset::TableSpec{std::move(entity_rows)});
}

/// The on-demand expressions, each a column that later ones may read.
Result<Plan> AddExpressions(const FeaturePlan& plan, const HiddenNames& hidden, Plan rows) {
  const auto& extensions = plan.definitions->extensions;
  for (size_t i = 0; i < plan.expressions.size(); ++i) {
    const PlannedExpression& planned = plan.expressions[i];
    const auto place = static_cast<size_t>(planned.field - planned.view->schema.data());
    GNOMON_ASSIGN_OR_RETURN(const auto parsed,
                            expr::Expression::Parse(planned.view->expressions[place].expression));
    std::map<std::string, std::string> names;
    for (size_t k = 0; k < planned.inputs.size(); ++k)
      names[planned.input_names[k]] = hidden.Of(planned.inputs[k]);
    GNOMON_ASSIGN_OR_RETURN(const auto renamed, expr::RenameColumns(parsed, names));
    const ColumnSlot slot{.kind = ColumnSlot::Kind::kExpression, .index = static_cast<int>(i)};
    dataset::NamedExpression named{
        .name = hidden.Of(slot),
        .expression = renamed.text(),
        .type = nullptr,
        .functions = extensions == nullptr ? nullptr : extensions->functions};
    GNOMON_ASSIGN_OR_RETURN(Plan derived, MakeNode(dataset::DeriveSpec{{named}}, {rows}));
    const auto type = planned.field->dtype.ToArrow();
    if (!derived->schema()->GetFieldByName(named.name)->type()->Equals(*type)) {
      named.expression =
          Concat("cast((", renamed.text(), ") as ", planned.field->dtype.ToString(), ")");
      GNOMON_ASSIGN_OR_RETURN(derived, MakeNode(dataset::DeriveSpec{{named}}, {rows}));
    }
    rows = std::move(derived);
  }
  return rows;
}

/// Of each view's features, between the nodes.
std::vector<std::vector<std::string>> FeatureNames(const FeaturePlan& plan,
                                                   const HiddenNames& hidden) {
  std::vector<std::vector<std::string>> names(plan.views.size());
  for (size_t i = 0; i < plan.views.size(); ++i) {
    for (size_t k = 0; k < plan.views[i].features.size(); ++k) {
      names[i].push_back(hidden.Of({.kind = ColumnSlot::Kind::kView,
                                    .index = static_cast<int>(i),
                                    .feature = static_cast<int>(k)}));
    }
  }
  return names;
}

/// These columns, then the plan's outputs, but for those that are such a column.
Result<Plan> Outputs(const FeaturePlan& plan, const HiddenNames& hidden,
                     const std::vector<std::string>& columns, Plan rows) {
  dataset::ProjectSpec project;
  for (const std::string& name : columns)
    project.expressions.push_back({name, ColumnExpression(name)});
  for (const PlannedOutput& output : plan.outputs) {
    if (std::ranges::find(columns, output.name) != columns.end()) continue;
    project.expressions.push_back({output.name, ColumnExpression(hidden.Of(output.slot))});
  }
  return MakeNode(std::move(project), {std::move(rows)});
}

KeyedView KeysOf(const PlannedView& planned) {
  KeyedView keyed{.view = planned.view,
                  .join_keys = planned.join_keys,
                  .names = planned.entity_columns,
                  .types = {}};
  for (const ValueType& type : planned.key_types) keyed.types.push_back(type.ToArrow());
  return keyed;
}

}  // namespace

int NumWorkers(const RetrievalOptions& options) {
  return options.join.max_workers > 0 ? static_cast<int>(options.join.max_workers) : NumCpus();
}

int NumPartitions(const RetrievalOptions& options) {
  const double partitions =
      NumWorkers(options) * std::max(1.0, options.join.max_parallelism_multiplier);
  return static_cast<int>(std::clamp(partitions, 1.0, 1024.0));
}

Result<Plan> AddViewColumns(const Context& context, const FeaturePlan& plan,
                            const OfflineStore& store, Plan labels, const std::string& time,
                            std::optional<int64_t> min, std::optional<int64_t> max,
                            const std::vector<std::vector<std::string>>& names,
                            const RetrievalOptions& options, DatabaseReads* databases) {
  const ViewPlanner planner(context, *plan.definitions, store, options.created_before, databases);
  for (size_t i = 0; i < plan.views.size(); ++i) {
    const PlannedView& planned = plan.views[i];
    std::optional<int64_t> first;
    if (min && max) first = RangeToRead(planned, *min, *max, options).min;
    auto rows = planner.RowsOf(*planned.view, ColumnsToRead(planned), first, max);
    GNOMON_RETURN_NOT_OK(
        WithContext(rows.status(), Concat("feature view ", Quoted(planned.view->name))));
    GNOMON_ASSIGN_OR_RETURN(auto match, MatchOf(*plan.definitions, planned, time, options));
    auto added = AddView(planned, std::move(match), std::move(labels), *std::move(rows), names[i]);
    GNOMON_RETURN_NOT_OK(
        WithContext(added.status(), Concat("feature view ", Quoted(planned.view->name))));
    labels = *std::move(added);
  }
  return labels;
}

Result<Plan> LowerRetrieval(const Context& context, const FeaturePlan& plan,
                            const OfflineStore& store,
                            const std::shared_ptr<arrow::Table>& entity_rows,
                            const RetrievalOptions& options) {
  GNOMON_RETURN_NOT_OK(CheckEntityRows(plan, *entity_rows->schema()));
  GNOMON_ASSIGN_OR_RETURN(const std::string time, EventTimestampColumn(*entity_rows->schema()));
  GNOMON_ASSIGN_OR_RETURN(const Bounds bounds, BoundsOf(*entity_rows, time));
  DatabaseReads databases{.most_parts = NumPartitions(options)};
  const HiddenNames hidden(plan, *entity_rows->schema());
  GNOMON_ASSIGN_OR_RETURN(Plan rows, LabelsOf(plan, hidden, entity_rows));
  GNOMON_ASSIGN_OR_RETURN(
      rows, AddViewColumns(context, plan, store, std::move(rows), time, bounds.min, bounds.max,
                           FeatureNames(plan, hidden), options, &databases));
  GNOMON_ASSIGN_OR_RETURN(rows, AddExpressions(plan, hidden, std::move(rows)));
  return Outputs(plan, hidden, entity_rows->schema()->field_names(), std::move(rows));
}

Result<Plan> LowerRange(const Context& context, const FeaturePlan& plan, const OfflineStore& store,
                        int64_t start, int64_t end, const RetrievalOptions& options) {
  constexpr const char* kTime = "event_timestamp";
  DatabaseReads databases{.most_parts = NumPartitions(options)};
  const ViewPlanner planner(context, *plan.definitions, store, options.created_before, &databases);
  std::vector<KeyedView> views;
  for (const PlannedView& planned : plan.views) views.push_back(KeysOf(planned));
  std::vector<std::string> columns = views.front().names;
  columns.emplace_back(kTime);
  arrow::FieldVector fields;
  for (const std::string& name : columns) fields.push_back(arrow::field(name, arrow::null()));
  const HiddenNames hidden(plan, arrow::Schema(fields));
  const auto names = FeatureNames(plan, hidden);
  Plan rows;
  if (views.size() == 1 && !views.front().view->is_window()) {
    GNOMON_ASSIGN_OR_RETURN(rows, planner.RowsInRange(views.front(), plan.views.front().features,
                                                      names.front(), start, end));
  } else {
    GNOMON_ASSIGN_OR_RETURN(rows, planner.DistinctRows(views, start, end));
    GNOMON_RETURN_NOT_OK(CheckEntityRows(plan, *rows->schema()));
    GNOMON_ASSIGN_OR_RETURN(rows, AddViewColumns(context, plan, store, std::move(rows), kTime,
                                                 start, end, names, options, &databases));
  }
  GNOMON_ASSIGN_OR_RETURN(rows, AddExpressions(plan, hidden, std::move(rows)));
  return Outputs(plan, hidden, columns, std::move(rows));
}

}  // namespace gnomon::feature
