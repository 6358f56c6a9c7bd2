#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "dataset/scan.h"
#include "expr/expression.h"
#include "feature/engine/view_plan_internal.h"
#include "feature/engine/view_source.h"
#include "feature/plan/feature_plan.h"
#include "table/column.h"
#include "table/folder_columns.h"

namespace gnomon::feature {
namespace {

using dataset::ColumnExpression;
using dataset::MakeNode;
using dataset::NamedExpression;
using dataset::Plan;

std::shared_ptr<const expr::FunctionSet> FunctionsOf(const Definitions& definitions) {
  return definitions.extensions == nullptr ? nullptr : definitions.extensions->functions;
}

/// The name in the files of a column's name after mapping.
std::string SourceName(const DataSource& source, const std::string& column) {
  for (const auto& [from, to] : source.field_mapping) {
    if (to == column) return from;
  }
  return column;
}

/// Rows of a time between the bounds, where the language compares such times. The others come too:
/// no label sees them.
Result<Plan> Between(Plan rows, const std::string& time, std::optional<int64_t> min,
                     std::optional<int64_t> max) {
  const auto& type = rows->schema()->GetFieldByName(time)->type();
  if (type->id() != arrow::Type::TIMESTAMP || table::UnitNanos(*type) > 1'000'000) return rows;
  const auto bounded = [&](Plan of, const char* sign, int64_t bound) -> Plan {
    auto node = MakeNode(dataset::FilterSpec{Concat(ColumnExpression(time), sign, "timestamp '",
                                                    FormatTimestamp(bound), "'")},
                         {of});
    return node.ok() ? *std::move(node) : of;
  };
  if (min) rows = bounded(std::move(rows), " >= ", *min);
  if (max) rows = bounded(std::move(rows), " <= ", *max);
  return rows;
}

/// Has the column a finer unit than the language compares times in?
bool HasNanos(const Plan& rows, const std::string& column) {
  return table::UnitNanos(*rows->schema()->GetFieldByName(column)->type()) < 1000;
}

}  // namespace

Result<Plan> ViewPlanner::Scan(const FeatureView& view, const DataSource& source,
                               const std::vector<std::string>& columns,
                               const std::optional<table::TimeRange>& times) const {
  GNOMON_ASSIGN_OR_RETURN(auto keys, JoinKeys(definitions_, view));
  const ScanOptions options{
      .columns = columns, .required_columns = std::move(keys), .time_range = times};
  if (source.type == "file") return ScanFiles(view, source, options);
  return DatabaseRows(context_, store_, source, options, databases_);
}

Result<Plan> ViewPlanner::ScanFiles(const FeatureView& view, const DataSource& source,
                                    const ScanOptions& options) const {
  GNOMON_ASSIGN_OR_RETURN(const SourceFiles files, store_.Files(source));
  // Looks at every file: a key or time that one lacks is an error.
  GNOMON_ASSIGN_OR_RETURN(const auto table, store_.Open(context_, source, options));
  GNOMON_ASSIGN_OR_RETURN(const auto folders,
                          table::FolderSchema(context_, files.path, files.format));
  arrow::FieldVector fields;
  std::vector<dataset::FieldMapping> mapping;
  dataset::ProjectSpec asked;
  bool of_folders = false;
  for (const std::string& column : options.columns) {
    const auto field = table->schema()->GetFieldByName(column);
    if (field == nullptr) return NoSourceColumn(view, source, column, *table->schema());
    const std::string name = SourceName(source, column);
    const bool of_folder = folders->GetFieldIndex(name) >= 0;
    of_folders = of_folders || of_folder;
    asked.expressions.push_back({column, ColumnExpression(of_folder ? name : column)});
    if (of_folder) continue;
    fields.push_back(arrow::field(name, field->type()));
    if (name != column) mapping.push_back({name, column});
  }
  auto scan = dataset::OpenScan(context_, {files.path},
                                {.format = files.format,
                                 .schema = arrow::schema(std::move(fields)),
                                 .field_mapping = std::move(mapping),
                                 .hive_partitions = of_folders});
  if (scan.ok() && of_folders) scan = MakeNode(std::move(asked), {*std::move(scan)});
  if (scan.ok()) return scan;
  return WithContext(scan.status(), Concat("data source ", Quoted(source.name)));
}

Result<Plan> ViewPlanner::PlainParentRows(const FeatureView& parent,
                                          const std::vector<std::string>& features) const {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, parent));
  GNOMON_ASSIGN_OR_RETURN(Plan rows, RowsOf(parent, features, {}, {}));
  dataset::ProjectSpec project;
  for (const std::string& name : parent.entities) {
    const Entity& entity = *definitions_.FindEntity(name);
    project.expressions.push_back({.name = entity.join_key,
                                   .expression = ColumnExpression(entity.join_key),
                                   .type = entity.value_type.ToArrow()});
  }
  for (const std::string& feature : features) {
    project.expressions.push_back({.name = feature,
                                   .expression = ColumnExpression(feature),
                                   .type = parent.FindField(feature)->dtype.ToArrow()});
  }
  const std::string time = ColumnExpression(source.timestamp_field);
  project.expressions.push_back({"event_timestamp", time});
  if (!source.created_timestamp_column.empty()) {
    project.expressions.push_back(
        {"created_timestamp", ColumnExpression(source.created_timestamp_column)});
  }
  GNOMON_ASSIGN_OR_RETURN(rows,
                          MakeNode(dataset::FilterSpec{Concat(time, " is not null")}, {rows}));
  return MakeNode(std::move(project), {std::move(rows)});
}

Result<Plan> ViewPlanner::JoinedParentRows(const FeatureView& view,
                                           const std::vector<std::string>& columns) const {
  // The features that are asked for, of views in their order.
  std::vector<std::string> refs;
  std::vector<std::string> names;
  for (const ParentColumn& column : ParentColumns(definitions_, view)) {
    if (std::ranges::find(columns, column.column) == columns.end()) continue;
    refs.push_back(Concat(column.view, ":", column.feature));
    names.push_back(column.column);
  }
  const std::shared_ptr<const Definitions> borrowed(std::shared_ptr<const void>(), &definitions_);
  // All views' rows count, also of those of which nothing is asked. Their times take the finest
  // unit.
  std::vector<std::pair<DataSource, Plan>> parents;
  auto unit = arrow::TimeUnit::MICRO;
  for (const std::string& name : view.source_views) {
    const FeatureView& parent = *definitions_.FindFeatureView(name);
    GNOMON_ASSIGN_OR_RETURN(DataSource source, SourceOf(definitions_, parent));
    GNOMON_ASSIGN_OR_RETURN(Plan rows, RowsOf(parent, {}, {}, {}));
    if (HasNanos(rows, source.timestamp_field)) unit = arrow::TimeUnit::NANO;
    parents.emplace_back(std::move(source), std::move(rows));
  }
  std::vector<Plan> parts;
  GNOMON_ASSIGN_OR_RETURN(const auto keys, JoinKeys(definitions_, view));
  for (auto& [source, rows] : parents) {
    dataset::ProjectSpec project;
    std::vector<std::string> present;
    for (const std::string& key : keys) {
      const auto entity = std::ranges::find(definitions_.entities, key, &Entity::join_key);
      const std::string text = ColumnExpression(key);
      project.expressions.push_back(
          {.name = key, .expression = text, .type = entity->value_type.ToArrow()});
      present.push_back(Concat(text, " is not null"));
    }
    const std::string time = ColumnExpression(source.timestamp_field);
    project.expressions.push_back({"event_timestamp", time, arrow::timestamp(unit, "UTC")});
    present.push_back(Concat(time, " is not null"));
    if (created_before_ && !source.created_timestamp_column.empty()) {
      if (HasNanos(rows, source.created_timestamp_column)) {
        return Error(ErrorKind::kUnsupported,
                     "created_before of nanoseconds in a view over several views");
      }
      const std::string created = ColumnExpression(source.created_timestamp_column);
      present.push_back(Concat("(", created, " is null or ", created, " <= timestamp '",
                               FormatTimestamp(*created_before_), "')"));
    }
    GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(dataset::FilterSpec{Join(present, " and ")}, {rows}));
    GNOMON_ASSIGN_OR_RETURN(parts.emplace_back(), MakeNode(std::move(project), {std::move(rows)}));
  }
  GNOMON_ASSIGN_OR_RETURN(Plan labels, MakeNode(dataset::UnionSpec{}, std::move(parts)));
  std::vector<std::string> distinct = keys;
  distinct.emplace_back("event_timestamp");
  GNOMON_ASSIGN_OR_RETURN(labels, MakeNode(dataset::AggregateSpec{.keys = distinct}, {labels}));
  GNOMON_ASSIGN_OR_RETURN(
      labels, MakeNode(dataset::SortSpec{.keys = {{.column = "event_timestamp"}}}, {labels}));
  if (refs.empty()) return labels;
  GNOMON_ASSIGN_OR_RETURN(const FeaturePlan plan, PlanFeatures(borrowed, refs, true));
  std::vector<std::vector<std::string>> outputs;
  for (const PlannedView& planned : plan.views) outputs.emplace_back(planned.features.size());
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const ColumnSlot& slot = plan.outputs[i].slot;
    outputs[static_cast<size_t>(slot.index)][static_cast<size_t>(slot.feature)] = names[i];
  }
  const RetrievalOptions options{.created_before = created_before_};
  return AddViewColumns(context_, plan, store_, labels, "event_timestamp", {}, {}, outputs, options,
                        databases_);
}

Result<Plan> ViewPlanner::ParentRows(const FeatureView& view,
                                     const std::vector<std::string>& columns) const {
  const FeatureView* parent =
      view.source_views.size() == 1 ? definitions_.FindFeatureView(view.source_views[0]) : nullptr;
  if (parent == nullptr || parent->is_window()) return JoinedParentRows(view, columns);
  std::vector<std::string> features;
  for (const ParentColumn& column : ParentColumns(definitions_, view)) {
    if (std::ranges::find(columns, column.column) != columns.end())
      features.push_back(column.feature);
  }
  return PlainParentRows(*parent, features);
}

Result<Plan> ViewPlanner::RowsOf(const FeatureView& view, const std::vector<std::string>& columns,
                                 std::optional<int64_t> min, std::optional<int64_t> max) const {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, view));
  GNOMON_ASSIGN_OR_RETURN(const auto names, SourceColumns(definitions_, view, source, columns));
  Plan rows;
  if (view.is_derived()) {
    GNOMON_ASSIGN_OR_RETURN(rows, ParentRows(view, names));
  } else {
    std::optional<table::TimeRange> times;
    if (min || max) {
      times = {.min = min.value_or(std::numeric_limits<int64_t>::min()),
               .max = max.value_or(std::numeric_limits<int64_t>::max())};
    }
    GNOMON_ASSIGN_OR_RETURN(rows, Scan(view, source, names, times));
  }
  GNOMON_ASSIGN_OR_RETURN(rows, Between(std::move(rows), source.timestamp_field, min, max));
  GNOMON_ASSIGN_OR_RETURN(const auto needed, NeededTransformations(view, columns));
  const auto functions = FunctionsOf(definitions_);
  for (const Transformation& step : view.transformations) {
    if (!needed.contains(step.name)) continue;
    const NamedExpression named{
        .name = step.name, .expression = step.expression, .type = nullptr, .functions = functions};
    GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(dataset::DeriveSpec{{named}}, {std::move(rows)}));
  }
  if (view.filter.empty()) return rows;
  return MakeNode(dataset::FilterSpec{view.filter, functions}, {std::move(rows)});
}

Result<Plan> ViewPlanner::RowsWithoutTime(const FeatureView& view) const {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, view));
  if (view.is_derived() || source.type != "file") return Plan();
  const ScanOptions options{
      .columns = {source.timestamp_field}, .required_columns = {}, .time_range = {}};
  GNOMON_ASSIGN_OR_RETURN(Plan rows, ScanFiles(view, source, options));
  return MakeNode(dataset::FilterSpec{Concat(ColumnExpression(source.timestamp_field), " is null")},
                  {std::move(rows)});
}

}  // namespace gnomon::feature
