#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_reader.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_row.h"
#include "feature/store/feature_store.h"
#include "feature/store/feature_store_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

/// Pushed rows of one view: encoded keys, times, value columns of their declared types. Rows with a
/// null key or time are left out.
struct PushedRows {
  std::vector<std::string> keys;
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
  std::vector<int64_t> rows;  ///< in the pushed batch
  std::vector<std::string> names;
  arrow::ArrayVector columns;  ///< whole columns of the pushed batch
};

Result<std::shared_ptr<arrow::Array>> Require(const arrow::RecordBatch& rows,
                                              const std::string& name, const FeatureView& view) {
  if (auto column = rows.GetColumnByName(name)) return column;
  return MakeError(
      ErrorKind::kUser,
      Concat("pushed rows for feature view ", Quoted(view.name), " have no column ", Quoted(name)),
      {}, DidYouMean(name, rows.schema()->field_names()));
}

/// Microseconds, nanoseconds rounded up as in materialization.
Result<std::vector<int64_t>> EventMicros(const arrow::Array& times) {
  GNOMON_ASSIGN_OR_RETURN(auto raw, table::RawTimes(times));
  const int64_t unit = table::UnitNanos(*times.type());
  for (int64_t& time : raw) time = pit::CeilToUnit(pit::ToNanos(time, unit), 1000);
  return raw;
}

Result<PushedRows> ReadPushed(const Definitions& definitions, const FeatureView& view,
                              const DataSource& source, const arrow::RecordBatch& rows) {
  PushedRows pushed;
  GNOMON_ASSIGN_OR_RETURN(auto join_keys, JoinKeys(definitions, view));
  std::vector<ValueType> types;
  arrow::ArrayVector keys;
  for (size_t i = 0; i < join_keys.size(); ++i) {
    types.push_back(definitions.FindEntity(view.entities[i])->value_type);
    GNOMON_ASSIGN_OR_RETURN(auto key, Require(rows, join_keys[i], view));
    keys.push_back(std::move(key));
  }
  const std::string time_name = rows.GetColumnByName(source.timestamp_field) != nullptr
                                    ? source.timestamp_field
                                    : std::string("event_timestamp");
  GNOMON_ASSIGN_OR_RETURN(auto time_column, Require(rows, time_name, view));
  if (!table::IsTime(*time_column->type())) {
    return Error(ErrorKind::kUser, "column ", Quoted(time_name),
                 " of the pushed rows is no time: ", time_column->type()->ToString());
  }
  GNOMON_ASSIGN_OR_RETURN(auto times, EventMicros(*time_column));
  std::vector<int64_t> created(times.size(), INT64_MIN);
  if (auto column = rows.GetColumnByName(source.created_timestamp_column)) {
    GNOMON_ASSIGN_OR_RETURN(created, table::TimesAsMicros(*column));
    for (int64_t i = 0; i < column->length(); ++i) {
      if (column->IsNull(i)) created[static_cast<size_t>(i)] = INT64_MIN;
    }
  }
  auto add = [&](const std::string& name, ValueType type) -> Status {
    if (std::ranges::find(pushed.names, name) != pushed.names.end()) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(auto column, Require(rows, name, view));
    auto cast = table::CastLossless(column, type.ToArrow());
    if (!cast.ok()) return WithContext(cast.status(), Concat("pushed column ", Quoted(name)));
    pushed.names.push_back(name);
    pushed.columns.push_back(*std::move(cast));
    return Status::OK();
  };
  if (view.is_window()) {
    for (const Aggregation& aggregation : view.aggregations) {
      GNOMON_RETURN_NOT_OK(add(aggregation.column, aggregation.column_type));
    }
  } else {
    for (const Field& field : view.schema) GNOMON_RETURN_NOT_OK(add(field.name, field.dtype));
  }
  GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, EntityKeyEncoder::Make(join_keys, types));
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    if (time_column->IsNull(row)) continue;
    std::string key;
    GNOMON_ASSIGN_OR_RETURN(bool complete, encoder.Encode(keys, row, &key));
    if (!complete) continue;
    pushed.keys.push_back(std::move(key));
    pushed.event_times.push_back(times[static_cast<size_t>(row)]);
    pushed.created_times.push_back(created[static_cast<size_t>(row)]);
    pushed.rows.push_back(row);
  }
  return pushed;
}

Result<arrow::ArrayVector> GatherAll(const arrow::ArrayVector& columns,
                                     const std::vector<int64_t>& rows) {
  arrow::ArrayVector gathered;
  for (const auto& column : columns) {
    GNOMON_ASSIGN_OR_RETURN(auto values, table::Gather(arrow::ChunkedArray(column), rows));
    gathered.push_back(std::move(values));
  }
  return gathered;
}

/// Row numbers of `pushed` by key, each key's rows in (event time, created time, input) order.
std::map<std::string_view, std::vector<size_t>> ByKey(const PushedRows& pushed) {
  std::map<std::string_view, std::vector<size_t>> groups;
  for (size_t i = 0; i < pushed.keys.size(); ++i) groups[pushed.keys[i]].push_back(i);
  for (auto& [key, group] : groups) {
    std::ranges::stable_sort(group, {}, [&](size_t i) {
      return std::pair(pushed.event_times[i], pushed.created_times[i]);
    });
  }
  return groups;
}

Status PushLatest(const Context& context, OnlineStore& online, const OnlineTable& table,
                  const PushedRows& pushed) {
  OnlineRows write;
  std::vector<int64_t> rows;
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
  for (const auto& [key, group] : ByKey(pushed)) {
    const size_t newest = group.back();
    write.keys.push_back(key);
    rows.push_back(pushed.rows[newest]);
    event_times.push_back(pushed.event_times[newest]);
    created_times.push_back(pushed.created_times[newest]);
  }
  GNOMON_ASSIGN_OR_RETURN(auto columns, GatherAll(pushed.columns, rows));
  write.event_times = event_times;
  write.created_times = created_times;
  write.values =
      arrow::RecordBatch::Make(table.schema, static_cast<int64_t>(rows.size()), std::move(columns));
  GNOMON_ASSIGN_OR_RETURN(auto writer, online.BeginWrite(context, table));
  GNOMON_RETURN_NOT_OK(writer->Write(context, write));
  return writer->Commit(context);
}

Status PushWindow(const Context& context, OnlineStore& online, const OnlineTable& table,
                  const FeatureView& view, const PushedRows& pushed, int64_t value_count_bytes) {
  std::vector<int64_t> rows;
  std::vector<int64_t> offsets;
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  OnlineRead read{.table = &table, .keys = {}, .fields = {}};
  for (const auto& [key, group] : ByKey(pushed)) {
    read.keys.push_back(key);
    offsets.push_back(static_cast<int64_t>(rows.size()));
    for (size_t i : group) {
      rows.push_back(pushed.rows[i]);
      GNOMON_RETURN_NOT_OK(times.Append(pushed.event_times[i]));
      const int64_t micros = pushed.created_times[i];
      GNOMON_RETURN_NOT_OK(micros == INT64_MIN ? created.AppendNull() : created.Append(micros));
    }
  }
  offsets.push_back(static_cast<int64_t>(rows.size()));
  read.fields.resize(static_cast<size_t>(table.schema->num_fields()));
  std::iota(read.fields.begin(), read.fields.end(), 0);

  arrow::ArrayVector columns(2);
  GNOMON_RETURN_NOT_OK(times.Finish(&columns[0]));
  GNOMON_RETURN_NOT_OK(created.Finish(&columns[1]));
  GNOMON_ASSIGN_OR_RETURN(auto values, GatherAll(pushed.columns, rows));
  arrow::FieldVector fields{arrow::field(std::string(kEventTimes), arrow::int64()),
                            arrow::field(std::string(kCreatedTimes), arrow::int64())};
  for (size_t i = 0; i < values.size(); ++i) {
    fields.push_back(arrow::field(pushed.names[i], values[i]->type()));
    columns.push_back(std::move(values[i]));
  }
  auto raw = arrow::RecordBatch::Make(arrow::schema(std::move(fields)),
                                      static_cast<int64_t>(rows.size()), std::move(columns));
  GNOMON_ASSIGN_OR_RETURN(auto added, MakeWindowRows(table, *raw, offsets));
  const WindowFolding folding = WindowFolding::Make(table, view, value_count_bytes);
  WindowRowTimes newest;
  return online.Update(context, read, [&](const OnlineValues& stored) -> Result<OnlineRows> {
    OnlineRows write;
    write.keys = read.keys;
    GNOMON_ASSIGN_OR_RETURN(write.values, folding.Merge(stored, *added));
    newest = NewestTimes(*write.values);
    write.event_times = newest.event_times;
    write.created_times = newest.created_times;
    return write;
  });
}

std::vector<std::string> PushNames(const Definitions& definitions) {
  std::vector<std::string> names = definitions.ViewNames();
  for (const FeatureView& view : definitions.feature_views) {
    if (!view.push_source.empty()) names.push_back(view.push_source);
  }
  return names;
}

/// Adds the rows to the source of the views, once where several share it.
Status PushOffline(const Context& context, const Definitions& definitions,
                   const std::vector<const FeatureView*>& views, OfflineStore& offline,
                   const arrow::RecordBatch& rows) {
  std::map<std::string, DataSource> sources;
  for (const FeatureView* view : views) {
    if (view->is_derived()) {
      return Error(ErrorKind::kUser, "feature view ", Quoted(view->name),
                   " has source views: push to the data source of ", view->source_views[0]);
    }
    GNOMON_ASSIGN_OR_RETURN(DataSource source, SourceOf(definitions, *view));
    sources.insert_or_assign(view->source, std::move(source));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto table, arrow::Table::FromRecordBatches({rows.Slice(0)}));
  const std::string part = Concat("pushed-", JobId::Make(context.clock->NowMicros()).value);
  for (const auto& [name, source] : sources) {
    GNOMON_RETURN_NOT_OK(offline.Append(context, source, part, *table));
  }
  return Status::OK();
}

/// Writes the rows to those of the views that are online; the number of entity rows.
Result<int64_t> PushOnline(const Context& context, FeatureStore::Impl& impl,
                           const Definitions& definitions,
                           const std::vector<const FeatureView*>& views,
                           const arrow::RecordBatch& rows) {
  std::vector<std::pair<const FeatureView*, PushedRows>> pushed;
  for (const FeatureView* view : views) {
    if (!view->online) continue;
    GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, *view));
    GNOMON_ASSIGN_OR_RETURN(PushedRows read, ReadPushed(definitions, *view, source, rows));
    pushed.emplace_back(view, std::move(read));
  }
  if (pushed.empty())
    return Error(ErrorKind::kUser, "feature view ", Quoted(views[0]->name), " is not online");
  int64_t entity_rows = 0;
  for (auto& [view, read] : pushed) {
    if (read.keys.empty()) continue;
    GNOMON_ASSIGN_OR_RETURN(OnlineTable table, OnlineTableOf(impl.config.project, *view));
    if (view->is_window()) {
      GNOMON_RETURN_NOT_OK(PushWindow(context, *impl.online, table, *view, read,
                                      impl.config.online_store.value_counts_mb << 20));
    } else {
      GNOMON_RETURN_NOT_OK(PushLatest(context, *impl.online, table, read));
    }
    std::ranges::sort(read.keys);
    entity_rows += std::ranges::distance(read.keys.begin(), std::ranges::unique(read.keys).begin());
  }
  return entity_rows;
}

}  // namespace

Result<PushMode> ParsePushMode(std::string_view text) {
  if (text == "online") return PushMode::kOnline;
  if (text == "offline") return PushMode::kOffline;
  if (text == "online_and_offline") return PushMode::kOnlineAndOffline;
  return Error(ErrorKind::kUser,
               "unknown push mode (online, offline, online_and_offline): ", Quoted(text));
}

Result<int64_t> FeatureStore::Push(const Context& context, const std::string& name,
                                   const arrow::RecordBatch& rows, PushMode mode) {
  const auto definitions = this->definitions();
  const auto views = definitions->PushTargets(name);
  if (views.empty()) {
    return MakeError(ErrorKind::kNotFound,
                     Concat("no feature view and no push source has this name: ", Quoted(name)), {},
                     DidYouMean(name, PushNames(*definitions)));
  }
  if (mode != PushMode::kOnline) {
    GNOMON_RETURN_NOT_OK(PushOffline(context, *definitions, views, *impl_->offline, rows));
    if (mode == PushMode::kOffline) return rows.num_rows();
  }
  return PushOnline(context, *impl_, *definitions, views, rows);
}

Result<int64_t> FeatureStore::WriteToOnlineStore(const Context& context, const std::string& name,
                                                 const arrow::RecordBatch& rows) {
  const auto definitions = this->definitions();
  const FeatureView* view = definitions->FindFeatureView(name);
  if (view == nullptr) {
    return MakeError(ErrorKind::kNotFound, Concat("feature view does not exist: ", Quoted(name)),
                     {}, DidYouMean(name, definitions->ViewNames()));
  }
  return PushOnline(context, *impl_, *definitions, {view}, rows);
}

}  // namespace gnomon::feature
