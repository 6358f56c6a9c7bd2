#include "feature/engine/view_source.h"

#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/parent_rows.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

void AddOnce(const std::string& name, std::vector<std::string>* names) {
  if (std::ranges::find(*names, name) == names->end()) names->push_back(name);
}

/// `columns` and those that the filter reads.
Result<std::set<std::string>> WithFilterColumns(const FeatureView& view,
                                                const std::vector<std::string>& columns) {
  std::set<std::string> wanted(columns.begin(), columns.end());
  if (view.filter.empty()) return wanted;
  GNOMON_ASSIGN_OR_RETURN(expr::Expression filter, expr::Expression::Parse(view.filter));
  for (const std::string& column : filter.columns()) wanted.insert(column);
  return wanted;
}

}  // namespace

Result<std::vector<std::string>> SourceColumns(const Definitions& definitions,
                                               const FeatureView& view, const DataSource& source,
                                               const std::vector<std::string>& columns) {
  GNOMON_ASSIGN_OR_RETURN(auto wanted, WithFilterColumns(view, columns));
  for (auto step = view.transformations.rbegin(); step != view.transformations.rend(); ++step) {
    if (wanted.erase(step->name) == 0) continue;
    GNOMON_ASSIGN_OR_RETURN(expr::Expression expression, expr::Expression::Parse(step->expression));
    for (const std::string& column : expression.columns()) wanted.insert(column);
  }
  GNOMON_ASSIGN_OR_RETURN(std::vector<std::string> names, JoinKeys(definitions, view));
  AddOnce(source.timestamp_field, &names);
  if (!source.created_timestamp_column.empty()) AddOnce(source.created_timestamp_column, &names);
  for (const std::string& column : wanted) AddOnce(column, &names);
  return names;
}

Result<std::set<std::string>> NeededTransformations(const FeatureView& view,
                                                    const std::vector<std::string>& columns) {
  GNOMON_ASSIGN_OR_RETURN(auto wanted, WithFilterColumns(view, columns));
  std::set<std::string> needed;
  for (auto step = view.transformations.rbegin(); step != view.transformations.rend(); ++step) {
    if (!wanted.contains(step->name)) continue;
    needed.insert(step->name);
    GNOMON_ASSIGN_OR_RETURN(expr::Expression expression, expr::Expression::Parse(step->expression));
    for (const std::string& column : expression.columns()) wanted.insert(column);
  }
  return needed;
}

Result<ScanOptions> ReadOf(const Definitions& definitions, const FeatureView& view,
                           const DataSource& source, const std::vector<std::string>& columns,
                           const SourceRange& range) {
  ScanOptions options;
  GNOMON_ASSIGN_OR_RETURN(options.columns, SourceColumns(definitions, view, source, columns));
  GNOMON_ASSIGN_OR_RETURN(options.required_columns, JoinKeys(definitions, view));
  if (range.min || range.max) {
    options.time_range =
        table::TimeRange{range.min.value_or(INT64_MIN), range.max.value_or(INT64_MAX)};
  }
  return options;
}

Result<ViewSource> ViewSource::Open(const Context& context, const Definitions& definitions,
                                    const FeatureView& view, const OfflineStore& store,
                                    const std::vector<std::string>& columns,
                                    const SourceRange& range, SourceReads* reads,
                                    std::shared_ptr<const table::PartitionedTable> rows) {
  ViewSource opened;
  opened.view_ = &view;
  GNOMON_ASSIGN_OR_RETURN(opened.source_, SourceOf(definitions, view));
  GNOMON_ASSIGN_OR_RETURN(opened.join_keys_, JoinKeys(definitions, view));
  const std::string name = Concat("feature view ", Quoted(view.name));
  if (view.is_derived()) {
    GNOMON_ASSIGN_OR_RETURN(const auto names,
                            SourceColumns(definitions, view, opened.source_, columns));
    GNOMON_ASSIGN_OR_RETURN(auto parents,
                            ReadParentRows(context, view, names, range, definitions, store, reads));
    opened.memory_ = std::move(parents.memory);
    opened.table_ = table::PartitionedTable::Of(std::move(parents.table), name);
  } else {
    if (rows == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(const ScanOptions options,
                              ReadOf(definitions, view, opened.source_, columns, range));
      GNOMON_ASSIGN_OR_RETURN(rows, store.Open(context, opened.source_, options));
    }
    opened.table_ = table::PartitionedTable::Renamed(rows, name, rows->schema());
  }
  GNOMON_ASSIGN_OR_RETURN(const auto needed, NeededTransformations(view, columns));
  GNOMON_ASSIGN_OR_RETURN(opened.table_, DeriveColumns(opened.table_, view.transformations, needed,
                                                       definitions.functions()));
  GNOMON_RETURN_NOT_OK(opened.Bind(definitions));
  return opened;
}

Status ViewSource::Bind(const Definitions& definitions) {
  GNOMON_ASSIGN_OR_RETURN(keys_, Columns(join_keys_));
  GNOMON_ASSIGN_OR_RETURN(time_, TimeColumn("timestamp_field", source_.timestamp_field));
  if (!source_.created_timestamp_column.empty()) {
    GNOMON_ASSIGN_OR_RETURN(
        created_, TimeColumn("created_timestamp_column", source_.created_timestamp_column));
  }
  if (view_->filter.empty()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(expr::Expression parsed, expr::Expression::Parse(view_->filter));
  GNOMON_ASSIGN_OR_RETURN(filter_, parsed.Bind(*table_->schema(), definitions.functions()));
  GNOMON_ASSIGN_OR_RETURN(filter_columns_, Columns(parsed.columns()));
  return Status::OK();
}

std::shared_ptr<arrow::Schema> ViewSource::EventSchema(const std::vector<int>& values) const {
  arrow::FieldVector fields;
  const auto add = [&](int column) { fields.push_back(table_->schema()->field(column)); };
  std::ranges::for_each(keys_, add);
  add(time_);
  if (created_ >= 0) add(created_);
  std::ranges::for_each(values, add);
  return arrow::schema(std::move(fields));
}

Status ViewSource::WithoutMemory(const Status& status) const {
  if (status.ok() || KindOf(status) != ErrorKind::kExhausted) return status;
  const std::string what = view_->is_derived() ? Concat("source views of ", view_->name)
                                               : Concat("data source ", Quoted(source_.name));
  return WithHint(WithContext(status, what),
                  "raise --memory-limit (memory_limit in feature_store.yaml)");
}

Status NoSourceColumn(const FeatureView& view, const DataSource& source, const std::string& column,
                      const arrow::Schema& schema) {
  const std::string where =
      view.is_derived() ? Concat("the source views of ", Quoted(view.name))
                        : Concat("data source ", Quoted(source.name), " (", source.Place(), ")");
  return MakeError(ErrorKind::kNotFound,
                   Concat("no column ", Quoted(column), " in ", where, ", which feature view ",
                          Quoted(view.name), " needs"),
                   {}, DidYouMean(column, schema.field_names()));
}

Result<int> ViewSource::Column(const std::string& name) const {
  const int place = table_->schema()->GetFieldIndex(name);
  if (place >= 0) return place;
  return NoSourceColumn(*view_, source_, name, *table_->schema());
}

Result<int> ViewSource::TimeColumn(const std::string& what, const std::string& name) const {
  GNOMON_ASSIGN_OR_RETURN(const int place, Column(name));
  const auto& type = table_->schema()->field(place)->type();
  if (table::IsTime(*type)) return place;
  return Error(ErrorKind::kUser, what, " ", Quoted(name), " of data source ", Quoted(source_.name),
               " is no time: ", type->ToString());
}

Result<std::vector<int>> ViewSource::Columns(const std::vector<std::string>& names) const {
  std::vector<int> places;
  for (const std::string& name : names) {
    GNOMON_ASSIGN_OR_RETURN(const int place, Column(name));
    places.push_back(place);
  }
  return places;
}

Result<std::shared_ptr<arrow::Array>> CastSourceColumn(const FeatureView& view,
                                                       const std::string& name,
                                                       const std::shared_ptr<arrow::Array>& column,
                                                       const ValueType& type) {
  auto cast = table::CastLossless(column, type.ToArrow());
  if (cast.ok()) return cast;
  return WithHint(
      WithContext(cast.status(),
                  Concat("column ", Quoted(name), " of ",
                         view.is_derived() ? Concat("source views of ", view.name)
                                           : Concat("data source ", Quoted(view.source)))),
      "the source has changed since `gnomon apply`; `gnomon validate` compares them");
}

int64_t ViewSource::time_unit() const {
  return table::UnitNanos(*table_->schema()->field(time_)->type());
}

int64_t ViewSource::created_unit() const {
  return table::UnitNanos(*table_->schema()->field(created_)->type());
}

}  // namespace gnomon::feature
