#include "feature/engine/view_columns.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "feature/engine/time_unit.h"
#include "pit/asof_join.h"
#include "pit/window.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kFindGrain = 128 * 1024;
constexpr int64_t kJoinGrain = 2 * 1024 * 1024;

const Aggregation* FindAggregation(const FeatureView& view, const std::string& name) {
  auto found = std::ranges::find(view.aggregations, name, &Aggregation::name);
  return found == view.aggregations.end() ? nullptr : &*found;
}

/// Ids of the source rows among the labels' keys.
Result<std::vector<int32_t>> FindIds(const Context& context, const PlannedView& planned,
                                     const Labels::Keys& keys, const SourceRows& rows) {
  std::vector<int32_t> ids(static_cast<size_t>(rows.num_rows()), 0);
  if (keys.index == nullptr) return ids;
  auto status =
      ParallelRanges(context, rows.num_rows(), kFindGrain, [&](int64_t begin, int64_t end) {
        arrow::ArrayVector slices;
        for (const auto& key : rows.keys) slices.push_back(key->Slice(begin, end - begin));
        return keys.index->Find(slices, std::span(ids).subspan(static_cast<size_t>(begin),
                                                               static_cast<size_t>(end - begin)));
      });
  GNOMON_RETURN_NOT_OK(WithContext(
      status, Concat("join keys ", Join(planned.entity_columns, ", "),
                     " of the entity rows and feature view ", Quoted(planned.view->name))));
  return ids;
}

/// Label times in the rows' unit, rounded down.
std::vector<int64_t> LabelTimes(const Labels& labels, int64_t unit_nanos) {
  if (labels.unit_nanos() == unit_nanos) return labels.times();
  std::vector<int64_t> times(labels.times());
  for (int64_t& time : times) time = FloorToUnit(ToNanos(time, labels.unit_nanos()), unit_nanos);
  return times;
}

/// The oldest row that still counts for each label, in the rows' unit.
std::vector<int64_t> OldestTimes(const Labels& labels, int64_t ttl_micros, int64_t unit_nanos) {
  std::vector<int64_t> oldest(labels.times().size(), INT64_MIN);
  if (ttl_micros <= 0) return oldest;
  const Nanos ttl = ToNanos(ttl_micros, kMicro);
  for (size_t i = 0; i < oldest.size(); ++i) {
    oldest[i] = CeilToUnit(ToNanos(labels.times()[i], labels.unit_nanos()) - ttl, unit_nanos);
  }
  return oldest;
}

Result<std::vector<int64_t>> JoinRows(const Context& context, const PlannedView& planned,
                                      const Labels& labels, const SourceRows& rows,
                                      const std::vector<int32_t>& ids,
                                      const RetrievalOptions& options) {
  const std::vector<int64_t> times = LabelTimes(labels, rows.unit_nanos);
  const std::vector<int64_t> oldest = OldestTimes(labels, planned.view->ttl, rows.unit_nanos);
  const pit::AsOfOptions join_options{.filter_by_created = options.filter_by_created_timestamp};
  GNOMON_ASSIGN_OR_RETURN(
      pit::AsOfJoin join,
      pit::AsOfJoin::Make(context, labels.KeysOf(planned).ids, times, oldest, join_options));
  auto add = [&](pit::AsOfJoin* into, int64_t begin, int64_t end) {
    const auto from = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(end - begin);
    std::span<const int64_t> created(rows.created);
    if (!created.empty()) created = created.subspan(from, count);
    return into->AddRows(std::span(ids).subspan(from, count),
                         std::span(rows.times).subspan(from, count), created, begin);
  };
  // Partial joins over parts of the rows merge by maximum, so large sources are joined by all
  // threads.
  const int64_t parts = std::clamp<int64_t>(rows.num_rows() / kJoinGrain, 1, NumThreads());
  if (parts == 1) {
    GNOMON_RETURN_NOT_OK(add(&join, 0, rows.num_rows()));
    return join.Finish();
  }
  std::vector<std::unique_ptr<pit::AsOfJoin>> partial(static_cast<size_t>(parts));
  GNOMON_RETURN_NOT_OK(ParallelFor(context, parts, [&](int64_t part) {
    GNOMON_ASSIGN_OR_RETURN(pit::AsOfJoin own, join.MakePartial());
    GNOMON_RETURN_NOT_OK(
        add(&own, rows.num_rows() * part / parts, rows.num_rows() * (part + 1) / parts));
    partial[static_cast<size_t>(part)] = std::make_unique<pit::AsOfJoin>(std::move(own));
    return Status::OK();
  }));
  for (const auto& part : partial) GNOMON_RETURN_NOT_OK(join.Merge(*part));
  return join.Finish();
}

Result<std::vector<std::shared_ptr<arrow::Array>>> LatestColumns(const Context& context,
                                                                 const PlannedView& planned,
                                                                 const Labels& labels,
                                                                 const SourceRows& rows,
                                                                 const RetrievalOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(auto ids, FindIds(context, planned, labels.KeysOf(planned), rows));
  GNOMON_ASSIGN_OR_RETURN(auto winners, JoinRows(context, planned, labels, rows, ids, options));
  std::vector<std::shared_ptr<arrow::Array>> columns(planned.features.size());
  GNOMON_RETURN_NOT_OK(ParallelFor(context, static_cast<int64_t>(columns.size()), [&](int64_t i) {
    const Field& field = *planned.features[static_cast<size_t>(i)];
    GNOMON_ASSIGN_OR_RETURN(auto source, rows.Column(field.name));
    GNOMON_ASSIGN_OR_RETURN(auto values, table::Gather(arrow::ChunkedArray(source), winners));
    auto cast = table::CastLossless(values, field.dtype.ToArrow());
    if (!cast.ok()) {
      return WithContext(cast.status(), Concat("feature ", planned.view->name, ":", field.name));
    }
    columns[static_cast<size_t>(i)] = *std::move(cast);
    return Status::OK();
  }));
  return columns;
}

Result<std::vector<std::shared_ptr<arrow::Array>>> WindowColumns(const Context& context,
                                                                 const PlannedView& planned,
                                                                 const Labels& labels,
                                                                 SourceRows rows,
                                                                 const RetrievalOptions& options) {
  const FeatureView& view = *planned.view;
  // Windows are given in microseconds, so coarser event times move up to them; finer ones stay.
  const int64_t unit = std::min(rows.unit_nanos, kMicro);
  if (!RefineUnit(&rows.times, rows.unit_nanos, unit) ||
      !RefineUnit(&rows.created, rows.unit_nanos, unit)) {
    return Error(
        ErrorKind::kUser, "feature view ", Quoted(view.name),
        " has event times that microseconds cannot hold, so its windows cannot be evaluated");
  }
  GNOMON_ASSIGN_OR_RETURN(auto ids, FindIds(context, planned, labels.KeysOf(planned), rows));
  pit::Events events{.ids = ids, .times = rows.times, .created = rows.created, .columns = {}};
  std::vector<std::string> names;
  std::vector<pit::AggregateSpec> specs;
  for (const Field* field : planned.features) {
    const Aggregation* aggregation = FindAggregation(view, field->name);
    if (aggregation == nullptr) {
      return Error(ErrorKind::kInternal, "feature ", Quoted(field->name), " has no aggregation");
    }
    auto place = std::ranges::find(names, aggregation->column);
    if (place == names.end()) {
      GNOMON_ASSIGN_OR_RETURN(auto column, rows.Column(aggregation->column));
      GNOMON_ASSIGN_OR_RETURN(column,
                              table::CastLossless(column, aggregation->column_type.ToArrow()));
      events.columns.push_back(std::move(column));
      names.push_back(aggregation->column);
      place = names.end() - 1;
    }
    GNOMON_ASSIGN_OR_RETURN(pit::AggregateSpec spec, AggregateSpecOf(*aggregation));
    spec.column = static_cast<int>(place - names.begin());
    spec.ticks_per_micro = kMicro / unit;
    if (aggregation->time_window)
      spec.window = FloorToUnit(ToNanos(*aggregation->time_window, kMicro), unit);
    specs.push_back(spec);
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto columns,
      pit::AggregateWindows(context, events, labels.KeysOf(planned).ids, LabelTimes(labels, unit),
                            specs, options.filter_by_created_timestamp));
  for (size_t i = 0; i < columns.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(columns[i],
                            table::CastLossless(columns[i], planned.features[i]->dtype.ToArrow()));
  }
  return columns;
}

}  // namespace

Status CheckEntityRows(const FeaturePlan& plan, const arrow::Schema& schema) {
  const auto missing = [&](const std::string& name, const std::string& what) {
    return MakeError(ErrorKind::kUser,
                     Concat("entity rows have no column ", Quoted(name), ", ", what), {},
                     Concat("columns: ", Join(schema.field_names(), ", ")));
  };
  GNOMON_RETURN_NOT_OK(EventTimestampColumn(schema).status());
  for (const PlannedOutput& output : plan.outputs) {
    if (schema.GetFieldIndex(output.name) < 0) continue;
    return MakeError(
        ErrorKind::kUser,
        Concat("feature ", Quoted(output.name), " is also a column of the entity rows"), {},
        "ask for full feature names (view__feature) or rename the column");
  }
  for (const PlannedView& planned : plan.views) {
    for (const std::string& name : planned.entity_columns) {
      if (schema.GetFieldByName(name) != nullptr) continue;
      return missing(name, Concat("a join key of feature view ", Quoted(planned.view->name)));
    }
  }
  for (const Field& field : plan.request_fields) {
    if (schema.GetFieldByName(field.name) != nullptr) continue;
    return missing(field.name, "request data of an on-demand feature view");
  }
  return Status::OK();
}

Result<Labels> Labels::Make(const Context& context, const FeaturePlan& plan,
                            const arrow::Table& entity_rows) {
  Labels labels;
  labels.num_rows_ = entity_rows.num_rows();
  GNOMON_RETURN_NOT_OK(CheckEntityRows(plan, *entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(std::string time_name, EventTimestampColumn(*entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(auto time_column,
                          table::SingleChunk(*entity_rows.GetColumnByName(time_name)));
  GNOMON_ASSIGN_OR_RETURN(labels.times_, table::RawTimes(*time_column));
  labels.unit_nanos_ = table::UnitNanos(*time_column->type());

  bool any = false;
  for (int64_t i = 0; i < labels.num_rows_; ++i) {
    if (time_column->IsNull(i)) continue;
    const Nanos nanos = ToNanos(labels.times_[static_cast<size_t>(i)], labels.unit_nanos_);
    const int64_t low = FloorToUnit(nanos, kMicro);
    const int64_t high = CeilToUnit(nanos, kMicro);
    labels.min_micros_ = any ? std::min(labels.min_micros_, low) : low;
    labels.max_micros_ = any ? std::max(labels.max_micros_, high) : high;
    any = true;
  }

  std::vector<bool> null_key(static_cast<size_t>(labels.num_rows_), false);
  for (const PlannedView& planned : plan.views) {
    if (labels.keys_.contains(planned.entity_columns)) continue;
    Keys& keys = labels.keys_[planned.entity_columns];
    keys.ids.assign(static_cast<size_t>(labels.num_rows_), 0);
    if (!planned.entity_columns.empty()) {
      arrow::ArrayVector columns;
      std::vector<std::shared_ptr<arrow::DataType>> types;
      for (const std::string& name : planned.entity_columns) {
        GNOMON_ASSIGN_OR_RETURN(auto array, table::SingleChunk(*entity_rows.GetColumnByName(name)));
        types.push_back(array->type());
        columns.push_back(std::move(array));
      }
      auto index = table::KeyIndex::Make(types);
      if (!index.ok()) return WithContext(index.status(), "entity rows");
      keys.index = std::make_shared<table::KeyIndex>(*std::move(index));
      GNOMON_RETURN_NOT_OK(keys.index->Insert(columns, keys.ids));
    }
    for (size_t i = 0; i < keys.ids.size(); ++i) {
      if (time_column->IsNull(static_cast<int64_t>(i))) keys.ids[i] = table::KeyIndex::kNull;
      if (keys.ids[i] == table::KeyIndex::kNull) null_key[i] = true;
    }
    GNOMON_RETURN_NOT_OK(context.Check());
  }
  labels.null_key_rows_ = std::ranges::count(null_key, true);
  return labels;
}

std::vector<std::string> ColumnsToRead(const PlannedView& planned) {
  std::vector<std::string> columns;
  for (const Field* field : planned.features) {
    std::string name = field->name;
    if (planned.view->is_window()) {
      if (const Aggregation* aggregation = FindAggregation(*planned.view, field->name))
        name = aggregation->column;
    }
    if (std::ranges::find(columns, name) == columns.end()) columns.push_back(std::move(name));
  }
  return columns;
}

SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options) {
  const FeatureView& view = *planned.view;
  SourceRange range{.min = {}, .max = max_micros, .created_before = options.created_before};
  std::optional<int64_t> reach;
  if (view.is_window()) {
    reach = view.LongestWindow();
  } else if (view.ttl > 0) {
    reach = view.ttl;
  }
  int64_t min = 0;
  if (reach && !__builtin_sub_overflow(min_micros, *reach, &min)) range.min = min;
  return range;
}

Result<std::vector<std::shared_ptr<arrow::Array>>> ViewColumns(const Context& context,
                                                               const PlannedView& planned,
                                                               const Labels& labels,
                                                               SourceReader* reader,
                                                               const RetrievalOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(
      SourceRows rows,
      reader->Read(context, *planned.view, ColumnsToRead(planned),
                   RangeToRead(planned, labels.min_micros(), labels.max_micros(), options)));
  if (planned.view->is_window())
    return WindowColumns(context, planned, labels, std::move(rows), options);
  return LatestColumns(context, planned, labels, rows, options);
}

}  // namespace gnomon::feature
