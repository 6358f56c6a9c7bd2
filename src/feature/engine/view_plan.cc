#include <algorithm>
#include <iterator>
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

constexpr const char* kEventTimestamp = "event_timestamp";

/// Has the column a finer unit than the language compares times in?
bool HasNanos(const Plan& rows, const std::string& column) {
  return table::UnitNanos(*rows->schema()->GetFieldByName(column)->type()) < 1000;
}

/// A name that no column of the rows has.
std::string NewName(const Plan& rows, const std::string& like) {
  std::string name = like;
  while (rows->schema()->GetFieldIndex(name) >= 0) name.insert(name.begin(), '_');
  return name;
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

/// The rows between `min` and `max`, exactly: the view's keys, their time in this unit and
/// `features`; rows without a time, with a null key (unless `null_keys`) or created too late are
/// left out.
Result<Plan> ViewPlanner::KeysAndTimes(const KeyedView& view, dataset::ProjectSpec features,
                                       Plan rows, const Range& range, bool null_keys) const {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, *view.view));
  dataset::TimeRangeSpec times{.time = source.timestamp_field,
                               .first = range.min,
                               .last = range.max,
                               .name = NewName(rows, kEventTimestamp),
                               .unit = range.unit};
  if (created_before_ && !source.created_timestamp_column.empty()) {
    times.created = source.created_timestamp_column;
    times.created_before = created_before_;
  }
  dataset::ProjectSpec project;
  std::vector<std::string> present;
  for (size_t i = 0; i < view.join_keys.size(); ++i) {
    const std::string text = ColumnExpression(view.join_keys[i]);
    project.expressions.push_back(
        {.name = view.names[i], .expression = text, .type = view.types[i]});
    if (!null_keys) present.push_back(Concat(text, " is not null"));
  }
  project.expressions.push_back({kEventTimestamp, ColumnExpression(times.name)});
  std::ranges::move(features.expressions, std::back_inserter(project.expressions));
  GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(std::move(times), {std::move(rows)}));
  if (!present.empty()) {
    GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(dataset::FilterSpec{Join(present, " and ")}, {rows}));
  }
  return MakeNode(std::move(project), {std::move(rows)});
}

Result<Plan> ViewPlanner::DistinctRows(const std::vector<KeyedView>& views,
                                       std::optional<int64_t> min,
                                       std::optional<int64_t> max) const {
  // Their times take the finest unit.
  std::vector<Plan> parts;
  Range range{.min = min, .max = max};
  for (const KeyedView& keyed : views) {
    GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, *keyed.view));
    GNOMON_ASSIGN_OR_RETURN(parts.emplace_back(), RowsOf(*keyed.view, {}, min, max));
    if (HasNanos(parts.back(), source.timestamp_field)) range.unit = arrow::TimeUnit::NANO;
  }
  std::vector<std::string> distinct = views.front().names;
  distinct.emplace_back(kEventTimestamp);
  for (size_t i = 0; i < views.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(parts[i],
                            KeysAndTimes(views[i], {}, std::move(parts[i]), range, false));
    dataset::ProjectSpec order;
    for (const std::string& name : distinct)
      order.expressions.push_back({name, ColumnExpression(name)});
    GNOMON_ASSIGN_OR_RETURN(parts[i], MakeNode(std::move(order), {std::move(parts[i])}));
  }
  GNOMON_ASSIGN_OR_RETURN(Plan rows, MakeNode(dataset::UnionSpec{}, std::move(parts)));
  GNOMON_ASSIGN_OR_RETURN(rows, MakeNode(dataset::AggregateSpec{.keys = distinct}, {rows}));
  return MakeNode(dataset::SortSpec{.keys = {{.column = kEventTimestamp}}}, {std::move(rows)});
}

Result<Plan> ViewPlanner::RowsInRange(const KeyedView& view,
                                      const std::vector<const Field*>& features,
                                      const std::vector<std::string>& feature_names, int64_t min,
                                      int64_t max) const {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, *view.view));
  std::vector<std::string> columns;
  dataset::ProjectSpec project;
  for (size_t i = 0; i < features.size(); ++i) {
    columns.push_back(features[i]->name);
    project.expressions.push_back({.name = feature_names[i],
                                   .expression = ColumnExpression(features[i]->name),
                                   .type = features[i]->dtype.ToArrow()});
  }
  GNOMON_ASSIGN_OR_RETURN(Plan rows, RowsOf(*view.view, columns, min, max));
  Range range{.min = min, .max = max};
  if (HasNanos(rows, source.timestamp_field)) range.unit = arrow::TimeUnit::NANO;
  return KeysAndTimes(view, std::move(project), std::move(rows), range, /*null_keys=*/true);
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
  // All views' rows count, also of those of which nothing is asked.
  GNOMON_ASSIGN_OR_RETURN(const auto keys, JoinKeys(definitions_, view));
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const std::string& key : keys) {
    const auto entity = std::ranges::find(definitions_.entities, key, &Entity::join_key);
    types.push_back(entity->value_type.ToArrow());
  }
  std::vector<KeyedView> parents;
  for (const std::string& name : view.source_views)
    parents.push_back({definitions_.FindFeatureView(name), keys, keys, types});
  GNOMON_ASSIGN_OR_RETURN(Plan labels, DistinctRows(parents, {}, {}));
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
