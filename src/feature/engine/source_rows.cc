#include "feature/engine/source_rows.h"

#include <algorithm>
#include <set>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/text.h"
#include "expr/expression.h"
#include "feature/engine/parent_rows.h"
#include "feature/engine/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

void AddOnce(const std::string& name, std::vector<std::string>* names) {
  if (std::ranges::find(*names, name) == names->end()) names->push_back(name);
}

/// Columns of the source (after field mapping) that the view needs to produce `columns`.
Result<std::vector<std::string>> SourceColumns(const Definitions& definitions,
                                               const FeatureView& view, const DataSource& source,
                                               const std::vector<std::string>& columns) {
  std::set<std::string> wanted(columns.begin(), columns.end());
  if (!view.filter.empty()) {
    GNOMON_ASSIGN_OR_RETURN(expr::Expression filter, expr::Expression::Parse(view.filter));
    for (const std::string& column : filter.columns()) wanted.insert(column);
  }
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

/// Adds the transformed columns that are needed, in order.
Result<std::shared_ptr<arrow::RecordBatch>> Transform(const FeatureView& view,
                                                      const expr::FunctionSet* functions,
                                                      std::shared_ptr<arrow::RecordBatch> batch,
                                                      const std::set<std::string>& needed) {
  for (const Transformation& step : view.transformations) {
    if (!needed.contains(step.name)) continue;
    GNOMON_ASSIGN_OR_RETURN(expr::Expression parsed, expr::Expression::Parse(step.expression));
    GNOMON_ASSIGN_OR_RETURN(expr::BoundExpression bound, parsed.Bind(*batch->schema(), functions));
    GNOMON_ASSIGN_OR_RETURN(auto values, bound.Evaluate(*batch));
    auto field = arrow::field(step.name, bound.type());
    const int place = batch->schema()->GetFieldIndex(step.name);
    if (place >= 0) {
      GNOMON_ASSIGN_OR_RETURN(batch, batch->SetColumn(place, field, values));
    } else {
      GNOMON_ASSIGN_OR_RETURN(batch, batch->AddColumn(batch->num_columns(), field, values));
    }
  }
  return batch;
}

/// Names of the transformations that `columns` and the filter reach.
Result<std::set<std::string>> NeededTransformations(const FeatureView& view,
                                                    const std::vector<std::string>& columns) {
  std::set<std::string> wanted(columns.begin(), columns.end());
  if (!view.filter.empty()) {
    GNOMON_ASSIGN_OR_RETURN(expr::Expression filter, expr::Expression::Parse(view.filter));
    for (const std::string& column : filter.columns()) wanted.insert(column);
  }
  std::set<std::string> needed;
  for (auto step = view.transformations.rbegin(); step != view.transformations.rend(); ++step) {
    if (!wanted.contains(step->name)) continue;
    needed.insert(step->name);
    GNOMON_ASSIGN_OR_RETURN(expr::Expression expression, expr::Expression::Parse(step->expression));
    for (const std::string& column : expression.columns()) wanted.insert(column);
  }
  return needed;
}

Result<std::shared_ptr<arrow::Array>> RequireColumn(const arrow::RecordBatch& batch,
                                                    const std::string& name,
                                                    const FeatureView& view) {
  auto column = batch.GetColumnByName(name);
  if (column != nullptr) return column;
  return MakeError(
      ErrorKind::kNotFound,
      Concat("source of feature view ", Quoted(view.name), " has no column ", Quoted(name)), {},
      DidYouMean(name, batch.schema()->field_names()));
}

/// Reads the created timestamps and brings both time columns to the finer of their units. When the
/// event times do not fit that unit, the created times are rounded down to theirs instead.
Status ReadCreated(const DataSource& source, SourceRows* rows) {
  GNOMON_ASSIGN_OR_RETURN(auto created, rows->Column(source.created_timestamp_column));
  if (!table::IsTime(*created->type())) {
    return Error(ErrorKind::kUser, "created_timestamp_column ",
                 Quoted(source.created_timestamp_column), " of data source ", Quoted(source.name),
                 " is no time: ", created->type()->ToString());
  }
  GNOMON_ASSIGN_OR_RETURN(rows->created, table::RawTimes(*created));
  const int64_t created_nanos = table::UnitNanos(*created->type());
  if (created_nanos < rows->unit_nanos &&
      RefineUnit(&rows->times, rows->unit_nanos, created_nanos)) {
    rows->unit_nanos = created_nanos;
  }
  if (created_nanos != rows->unit_nanos) {
    for (int64_t& value : rows->created)
      value = FloorToUnit(ToNanos(value, created_nanos), rows->unit_nanos);
  }
  for (int64_t i = 0; created->null_count() > 0 && i < created->length(); ++i) {
    if (created->IsNull(i)) rows->created[static_cast<size_t>(i)] = INT64_MIN;
  }
  return Status::OK();
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> SourceRows::Column(const std::string& name) const {
  auto column = table->GetColumnByName(name);
  if (column == nullptr) return Error(ErrorKind::kInternal, "column was not read: ", Quoted(name));
  return table::SingleChunk(*column);
}

Status SourceReader::Want(const FeatureView& view, const std::vector<std::string>& columns,
                          const SourceRange& range) {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions_, view));
  GNOMON_ASSIGN_OR_RETURN(auto names, SourceColumns(definitions_, view, source, columns));
  if (view.is_derived()) {
    const FeatureView* parent = OnlyPlainParent(definitions_, view);
    if (parent == nullptr) return Status::OK();
    return Want(*parent, ParentFeatures(definitions_, view, names), range);
  }
  Scan& scan = wanted_[source.name];
  const size_t before = scan.columns.size();
  for (const std::string& name : names) AddOnce(name, &scan.columns);
  GNOMON_ASSIGN_OR_RETURN(const auto keys, JoinKeys(definitions_, view));
  for (const std::string& name : keys) AddOnce(name, &scan.required_columns);
  AddOnce(source.timestamp_field, &scan.required_columns);
  const int64_t min = range.min.value_or(INT64_MIN);
  const int64_t max = range.max.value_or(INT64_MAX);
  if (scan.columns.size() != before || min < scan.min || max > scan.max) scan.table = nullptr;
  scan.min = std::min(scan.min, min);
  scan.max = std::max(scan.max, max);
  return Status::OK();
}

Result<std::shared_ptr<arrow::Table>> SourceReader::ReadSource(const Context& context,
                                                               const DataSource& source) {
  Scan& scan = wanted_[source.name];
  if (scan.table != nullptr) return scan.table;
  ScanOptions options{
      .columns = scan.columns, .required_columns = scan.required_columns, .time_range = {}};
  if (scan.min != INT64_MIN || scan.max != INT64_MAX)
    options.time_range = table::TimeRange{scan.min, scan.max};
  GNOMON_ASSIGN_OR_RETURN(scan.table, store_.Read(context, source, options));
  scan.memory = std::make_unique<MemoryReservation>(context.memory);
  const Status reserved = scan.memory->Grow(arrow::util::TotalBufferSize(*scan.table));
  if (!reserved.ok()) {
    return WithHint(WithContext(reserved, Concat("data source ", Quoted(source.name))),
                    "raise --memory-limit (memory_limit in feature_store.yaml)");
  }
  rows_read_ += scan.table->num_rows();
  ++scans_;
  return scan.table;
}

Result<SourceRows> SourceReader::Read(const Context& context, const FeatureView& view,
                                      const std::vector<std::string>& columns,
                                      const SourceRange& range) {
  GNOMON_RETURN_NOT_OK(Want(view, columns, range));
  GNOMON_ASSIGN_OR_RETURN(const DataSource view_source, SourceOf(definitions_, view));
  const DataSource* source = &view_source;
  std::shared_ptr<arrow::Table> table;
  if (view.is_derived()) {
    GNOMON_ASSIGN_OR_RETURN(const auto names, SourceColumns(definitions_, view, *source, columns));
    GNOMON_ASSIGN_OR_RETURN(
        table, ReadParentRows(context, view, names, range, definitions_, store_, this));
  } else {
    GNOMON_ASSIGN_OR_RETURN(table, ReadSource(context, *source));
  }
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(auto batch, table::SingleBatch(*table));
  GNOMON_ASSIGN_OR_RETURN(auto needed, NeededTransformations(view, columns));
  GNOMON_ASSIGN_OR_RETURN(batch,
                          Transform(view, definitions_.functions(), std::move(batch), needed));

  // Which rows stay: the filter is true, the event timestamp is there, the row existed at
  // created_before.
  GNOMON_ASSIGN_OR_RETURN(auto time_column, RequireColumn(*batch, source->timestamp_field, view));
  std::vector<int64_t> kept;
  bool all = time_column->null_count() == 0;
  if (!view.filter.empty()) {
    GNOMON_ASSIGN_OR_RETURN(expr::Expression parsed, expr::Expression::Parse(view.filter));
    GNOMON_ASSIGN_OR_RETURN(expr::BoundExpression filter,
                            parsed.Bind(*batch->schema(), definitions_.functions()));
    GNOMON_ASSIGN_OR_RETURN(kept, filter.Select(*batch));
    all = false;
  } else if (!all || range.created_before) {
    kept.resize(static_cast<size_t>(batch->num_rows()));
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<int64_t>(i);
  }
  SourceRows rows;
  rows.null_times = time_column->null_count();
  if (rows.null_times > 0)
    std::erase_if(kept, [&](int64_t row) { return time_column->IsNull(row); });
  if (range.created_before && !source->created_timestamp_column.empty()) {
    GNOMON_ASSIGN_OR_RETURN(auto created,
                            RequireColumn(*batch, source->created_timestamp_column, view));
    GNOMON_ASSIGN_OR_RETURN(auto micros, table::TimesAsMicros(*created));
    std::erase_if(kept, [&](int64_t row) {
      return created->IsValid(row) && micros[static_cast<size_t>(row)] > *range.created_before;
    });
    all = false;
  }

  GNOMON_ASSIGN_OR_RETURN(auto names, JoinKeys(definitions_, view));
  const size_t num_keys = names.size();
  AddOnce(source->timestamp_field, &names);
  if (!source->created_timestamp_column.empty()) AddOnce(source->created_timestamp_column, &names);
  for (const std::string& column : columns) AddOnce(column, &names);
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const std::string& name : names) {
    GNOMON_ASSIGN_OR_RETURN(auto column, RequireColumn(*batch, name, view));
    if (!all) {
      GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), kept));
    }
    fields.push_back(arrow::field(name, column->type()));
    arrays.push_back(std::move(column));
  }
  const int64_t num_rows = all ? batch->num_rows() : static_cast<int64_t>(kept.size());
  rows.table = arrow::Table::Make(arrow::schema(std::move(fields)), arrays, num_rows);
  rows.keys.assign(arrays.begin(), arrays.begin() + static_cast<std::ptrdiff_t>(num_keys));
  GNOMON_ASSIGN_OR_RETURN(rows.time_column, rows.Column(source->timestamp_field));
  if (!table::IsTime(*rows.time_column->type())) {
    return Error(ErrorKind::kUser, "timestamp_field ", Quoted(source->timestamp_field),
                 " of data source ", Quoted(source->name),
                 " is no time: ", rows.time_column->type()->ToString());
  }
  rows.unit_nanos = table::UnitNanos(*rows.time_column->type());
  GNOMON_ASSIGN_OR_RETURN(rows.times, table::RawTimes(*rows.time_column));
  if (!source->created_timestamp_column.empty()) GNOMON_RETURN_NOT_OK(ReadCreated(*source, &rows));
  return rows;
}

}  // namespace gnomon::feature
