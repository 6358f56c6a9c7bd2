#include "feature/engine/materialization.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/progress.h"
#include "base/text.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/source_rows.h"
#include "feature/engine/time_unit.h"
#include "feature/engine/view_columns.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_reader.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_row.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;
constexpr int64_t kBatchRows = 16 * 1024;

/// What is to be written: one row per key.
struct KeyedRows {
  std::vector<int64_t> key_rows;  ///< a source row that holds the key
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
  std::shared_ptr<arrow::RecordBatch> values;
};

/// Rounded up, so that "not after t" and "after t - w" hold for microseconds exactly when they hold
/// for the time itself.
int64_t EventMicros(const SourceRows& rows, int64_t row) {
  return CeilToUnit(ToNanos(rows.times[static_cast<size_t>(row)], rows.unit_nanos), kMicro);
}

int64_t CreatedMicros(const SourceRows& rows, int64_t row) {
  if (rows.created.empty()) return INT64_MIN;
  const int64_t created = rows.created[static_cast<size_t>(row)];
  return created == INT64_MIN ? created : FloorToUnit(ToNanos(created, rows.unit_nanos), kMicro);
}

/// The order of rows of one key: event time, created time, input order.
bool Older(const SourceRows& rows, int64_t left, int64_t right) {
  const auto l = static_cast<size_t>(left);
  const auto r = static_cast<size_t>(right);
  if (rows.times[l] != rows.times[r]) return rows.times[l] < rows.times[r];
  if (!rows.created.empty() && rows.created[l] != rows.created[r])
    return rows.created[l] < rows.created[r];
  return left < right;
}

Result<std::vector<int32_t>> KeyIds(const SourceRows& rows, int64_t* num_keys) {
  std::vector<int32_t> ids(static_cast<size_t>(rows.num_rows()), 0);
  *num_keys = 1;
  if (rows.keys.empty()) return ids;
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const auto& key : rows.keys) types.push_back(key->type());
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
  GNOMON_RETURN_NOT_OK(index.Insert(rows.keys, ids));
  *num_keys = index.size();
  return ids;
}

Result<std::shared_ptr<arrow::Array>> ColumnAs(const FeatureView& view, const SourceRows& rows,
                                               const std::string& name,
                                               const std::vector<int64_t>& order,
                                               const std::shared_ptr<arrow::DataType>& type) {
  GNOMON_ASSIGN_OR_RETURN(auto column, rows.Column(name));
  GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), order));
  auto cast = table::CastLossless(column, type);
  if (cast.ok()) return cast;
  return WithHint(
      WithContext(cast.status(),
                  Concat("column ", Quoted(name), " of ",
                         view.is_derived() ? Concat("source views of ", view.name)
                                           : Concat("data source ", Quoted(view.source)))),
      "the source has changed since `gnomon apply`; `gnomon validate` compares them");
}

Result<KeyedRows> LatestRows(const FeatureView& view, const SourceRows& rows,
                             const std::vector<int32_t>& ids, int64_t num_keys, Nanos first_nanos,
                             Nanos last_nanos, MaterializationResult* result) {
  std::vector<int64_t> newest(static_cast<size_t>(num_keys), -1);
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    const Nanos nanos = ToNanos(rows.times[static_cast<size_t>(row)], rows.unit_nanos);
    if (nanos < first_nanos || nanos > last_nanos) continue;
    ++result->source_rows;
    const int32_t id = ids[static_cast<size_t>(row)];
    if (id < 0) {
      ++result->skipped_rows;
      continue;
    }
    int64_t& best = newest[static_cast<size_t>(id)];
    if (best < 0 || Older(rows, best, row)) best = row;
  }
  std::erase(newest, -1);
  KeyedRows keyed;
  keyed.key_rows = std::move(newest);
  for (int64_t row : keyed.key_rows) {
    keyed.event_times.push_back(EventMicros(rows, row));
    keyed.created_times.push_back(CreatedMicros(rows, row));
  }
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (const Field& field : view.schema) {
    GNOMON_ASSIGN_OR_RETURN(
        auto column, ColumnAs(view, rows, field.name, keyed.key_rows, field.dtype.ToArrow()));
    fields.push_back(arrow::field(field.name, column->type()));
    columns.push_back(std::move(column));
  }
  keyed.values =
      arrow::RecordBatch::Make(arrow::schema(std::move(fields)),
                               static_cast<int64_t>(keyed.key_rows.size()), std::move(columns));
  return keyed;
}

Result<KeyedRows> WindowRows(const OnlineTable& table, const FeatureView& view,
                             const SourceRows& rows, const std::vector<int32_t>& ids, int64_t end,
                             int64_t value_count_bytes, MaterializationResult* result) {
  const Nanos last = ToNanos(end, kMicro);
  const auto window = view.LongestWindow();
  std::vector<int64_t> order;
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    const Nanos nanos = ToNanos(rows.times[static_cast<size_t>(row)], rows.unit_nanos);
    if (nanos > last || (window && nanos <= last - ToNanos(*window, kMicro))) continue;
    ++result->source_rows;
    if (ids[static_cast<size_t>(row)] < 0) {
      ++result->skipped_rows;
      continue;
    }
    order.push_back(row);
  }
  std::ranges::sort(order, [&](int64_t left, int64_t right) {
    const int32_t l = ids[static_cast<size_t>(left)];
    const int32_t r = ids[static_cast<size_t>(right)];
    return l != r ? l < r : Older(rows, left, right);
  });

  KeyedRows keyed;
  std::vector<int64_t> offsets;
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t row = order[i];
    if (i == 0 || ids[static_cast<size_t>(row)] != ids[static_cast<size_t>(order[i - 1])]) {
      offsets.push_back(static_cast<int64_t>(i));
      keyed.key_rows.push_back(row);
    }
    GNOMON_RETURN_NOT_OK(times.Append(EventMicros(rows, row)));
    const int64_t micros = CreatedMicros(rows, row);
    GNOMON_RETURN_NOT_OK(micros == INT64_MIN ? created.AppendNull() : created.Append(micros));
  }
  offsets.push_back(static_cast<int64_t>(order.size()));
  arrow::FieldVector fields{arrow::field(std::string(kEventTimes), arrow::int64()),
                            arrow::field(std::string(kCreatedTimes), arrow::int64())};
  arrow::ArrayVector columns(2);
  GNOMON_RETURN_NOT_OK(times.Finish(&columns[0]));
  GNOMON_RETURN_NOT_OK(created.Finish(&columns[1]));
  for (const Aggregation& aggregation : view.aggregations) {
    if (std::ranges::find(fields, aggregation.column,
                          [](const auto& field) { return field->name(); }) != fields.end()) {
      continue;
    }
    GNOMON_ASSIGN_OR_RETURN(auto column, ColumnAs(view, rows, aggregation.column, order,
                                                  aggregation.column_type.ToArrow()));
    fields.push_back(arrow::field(aggregation.column, column->type()));
    columns.push_back(std::move(column));
  }
  auto raw = arrow::RecordBatch::Make(arrow::schema(std::move(fields)),
                                      static_cast<int64_t>(order.size()), std::move(columns));
  GNOMON_ASSIGN_OR_RETURN(keyed.values, MakeWindowRows(table, *raw, offsets));
  const WindowFolding folding = WindowFolding::Make(table, view, value_count_bytes);
  GNOMON_ASSIGN_OR_RETURN(keyed.values, folding.Fold(keyed.values));
  WindowRowTimes newest = NewestTimes(*keyed.values);
  keyed.event_times = std::move(newest.event_times);
  keyed.created_times = std::move(newest.created_times);
  return keyed;
}

/// Columns that are written: features of a plain view, aggregated columns of a window view.
std::vector<std::string> ColumnsToWrite(const FeatureView& view) {
  std::vector<std::string> columns;
  auto add = [&](const std::string& name) {
    if (std::ranges::find(columns, name) == columns.end()) columns.push_back(name);
  };
  for (const Aggregation& aggregation : view.aggregations) add(aggregation.column);
  if (!view.is_window()) {
    for (const Field& field : view.schema) add(field.name);
  }
  return columns;
}

Status WriteRows(const Context& context, const Definitions& definitions, const FeatureView& view,
                 const SourceRows& rows, const KeyedRows& keyed, OnlineWriter* writer,
                 ProgressPhase* phase) {
  GNOMON_ASSIGN_OR_RETURN(auto join_keys, JoinKeys(definitions, view));
  std::vector<ValueType> types;
  for (const std::string& name : view.entities)
    types.push_back(definitions.FindEntity(name)->value_type);
  GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, EntityKeyEncoder::Make(join_keys, types));
  const auto total = static_cast<int64_t>(keyed.key_rows.size());
  for (int64_t begin = 0; begin < total; begin += kBatchRows) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const int64_t count = std::min(kBatchRows, total - begin);
    std::string bytes;
    std::vector<size_t> ends;
    for (int64_t i = begin; i < begin + count; ++i) {
      GNOMON_RETURN_NOT_OK(
          encoder.Encode(rows.keys, keyed.key_rows[static_cast<size_t>(i)], &bytes).status());
      ends.push_back(bytes.size());
    }
    OnlineRows batch;
    size_t start = 0;
    for (size_t end : ends) {
      batch.keys.push_back(std::string_view(bytes).substr(start, end - start));
      start = end;
    }
    batch.event_times = std::span(keyed.event_times)
                            .subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    batch.created_times = std::span(keyed.created_times)
                              .subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    batch.values = keyed.values->Slice(begin, count);
    GNOMON_RETURN_NOT_OK(writer->Write(context, batch));
    phase->Advance(count);
    GNOMON_RETURN_NOT_OK(FaultPoint("materialize.after_batch", context.stop));
  }
  return Status::OK();
}

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

}  // namespace

Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              int64_t value_count_bytes) {
  MaterializationResult result;
  SourceRange range{.min = start, .max = end, .created_before = {}};
  if (view.is_window()) {
    const auto window = view.LongestWindow();
    int64_t oldest = 0;
    range.min = window && !__builtin_sub_overflow(end, *window, &oldest) ? std::optional(oldest)
                                                                         : std::nullopt;
  }
  SourceReader reader(offline, definitions);
  GNOMON_ASSIGN_OR_RETURN(SourceRows rows, reader.Read(context, view, ColumnsToWrite(view), range));
  result.skipped_rows = rows.null_times;
  int64_t num_keys = 0;
  GNOMON_ASSIGN_OR_RETURN(auto ids, KeyIds(rows, &num_keys));
  GNOMON_ASSIGN_OR_RETURN(OnlineTable table, OnlineTableOf(project, view));
  KeyedRows keyed;
  if (view.is_window()) {
    GNOMON_ASSIGN_OR_RETURN(keyed,
                            WindowRows(table, view, rows, ids, end, value_count_bytes, &result));
  } else {
    GNOMON_ASSIGN_OR_RETURN(keyed, LatestRows(view, rows, ids, num_keys, ToNanos(start, kMicro),
                                              ToNanos(end, kMicro), &result));
  }
  result.rows = static_cast<int64_t>(keyed.key_rows.size());

  if (!view.sink_source.empty()) {
    GNOMON_RETURN_NOT_OK(WriteSink(context, definitions, view, offline, start, end));
  }
  ProgressPhase phase(context.progress, Concat("materialize ", view.name), result.rows, "keys");
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_write", context.stop));
  GNOMON_ASSIGN_OR_RETURN(auto writer, online.BeginWrite(context, table));
  GNOMON_RETURN_NOT_OK(WriteRows(context, definitions, view, rows, keyed, writer.get(), &phase));
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_commit", context.stop));
  GNOMON_RETURN_NOT_OK(writer->Commit(context));
  return result;
}

}  // namespace gnomon::feature
