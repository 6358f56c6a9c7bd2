#include "feature/online/window_row.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <ranges>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/event_lists_internal.h"
#include "feature/online/window_folding.h"
#include "table/column.h"

namespace gnomon::feature {

using internal::EventLists;
using internal::kNoTime;
using internal::MakeCreatedLists;
using internal::MakeLists;

namespace {

std::shared_ptr<arrow::DataType> ItemType(const arrow::Field& field) {
  return static_cast<const arrow::ListType&>(*field.type()).value_type();
}

/// Times with INT64_MIN for nulls; empty when there are none at all.
std::vector<int64_t> TimesOf(const arrow::Array& column) {
  std::vector<int64_t> times(static_cast<size_t>(column.length()), kNoTime);
  const auto& values = static_cast<const arrow::Int64Array&>(column);
  bool any = false;
  for (int64_t row = 0; row < column.length(); ++row) {
    if (values.IsNull(row) || values.Value(row) == kNoTime) continue;
    times[static_cast<size_t>(row)] = values.Value(row);
    any = true;
  }
  if (!any) times.clear();
  return times;
}

Result<std::shared_ptr<arrow::Array>> GatherFrom(std::shared_ptr<arrow::Array> first,
                                                 std::shared_ptr<arrow::Array> second,
                                                 std::span<const int64_t> indices) {
  const auto type = first->type();
  const arrow::ChunkedArray chunks(arrow::ArrayVector{std::move(first), std::move(second)}, type);
  return table::Gather(chunks, indices);
}

/// A list column whose every row is null.
Result<std::shared_ptr<arrow::Array>> NoLists(const std::shared_ptr<arrow::DataType>& type,
                                              int64_t num_rows) {
  return arrow::MakeArrayOfNull(type, num_rows);
}

/// Rows in a new order as lists of their groups.
struct Grouping {
  std::vector<int64_t> indices;  ///< in list order
  std::vector<int32_t> offsets;  ///< by group, one more than groups
};

Status TooLong(const OnlineTable& table) {
  return Error(ErrorKind::kExhausted, "window rows of one batch exceed 2^31 events: view ",
               Quoted(table.view));
}

/// Merges the events of one row of each side by (time, created), stored first.
struct Event {
  int64_t time;
  int64_t created;
  bool added;
  int64_t place;  ///< in its row's lists
};

void MergeRow(const EventLists& stored_times, const EventLists& stored_created,
              const EventLists& added_times, const EventLists& added_created, int64_t row,
              WindowReach reach, std::vector<Event>* merged) {
  merged->clear();
  for (int64_t place = 0; place < stored_times.length(row); ++place) {
    merged->push_back(
        {stored_times.TimeAt(row, place), stored_created.TimeAt(row, place), false, place});
  }
  for (int64_t place = 0; place < added_times.length(row); ++place) {
    merged->push_back(
        {added_times.TimeAt(row, place), added_created.TimeAt(row, place), true, place});
  }
  std::ranges::stable_sort(*merged, {},
                           [](const Event& event) { return std::pair(event.time, event.created); });
  if (!reach.has_value() || merged->empty()) return;
  const int64_t newest = merged->back().time;
  const int64_t oldest = newest < kNoTime + *reach ? kNoTime : newest - *reach;
  std::erase_if(*merged,
                [&](const Event& event) { return event.time <= oldest && event.time != newest; });
}

}  // namespace

Result<std::shared_ptr<arrow::RecordBatch>> MakeWindowRows(const OnlineTable& table,
                                                           const arrow::RecordBatch& rows,
                                                           std::span<const int64_t> group_offsets) {
  if (group_offsets.empty() || group_offsets.front() < 0 ||
      group_offsets.back() > rows.num_rows()) {
    return Error(ErrorKind::kInternal, "group offsets leave the rows: ", rows.num_rows());
  }
  const auto time_column = rows.GetColumnByName(std::string(kEventTimes));
  if (time_column == nullptr || time_column->type_id() != arrow::Type::INT64) {
    return Error(ErrorKind::kInternal, "window rows have no int64 column ", kEventTimes);
  }
  const int64_t first = group_offsets.front();
  const int64_t length = group_offsets.back() - first;
  if (length > std::numeric_limits<int32_t>::max()) return TooLong(table);
  const auto times = std::static_pointer_cast<arrow::Int64Array>(time_column->Slice(first, length));
  const auto created_column = rows.GetColumnByName(std::string(kCreatedTimes));
  std::vector<int64_t> created;
  if (created_column != nullptr && created_column->type_id() == arrow::Type::INT64) {
    created = TimesOf(*created_column->Slice(first, length));
  }

  const auto key = [&](int64_t row) {
    return std::pair(times->Value(row),
                     created.empty() ? kNoTime : created[static_cast<size_t>(row)]);
  };
  Grouping grouping;
  grouping.indices.resize(static_cast<size_t>(length));
  std::iota(grouping.indices.begin(), grouping.indices.end(), int64_t{0});
  bool in_order = true;
  for (size_t group = 0; group + 1 < group_offsets.size(); ++group) {
    grouping.offsets.push_back(static_cast<int32_t>(group_offsets[group] - first));
    const std::span<int64_t> part(
        grouping.indices.data() + (group_offsets[group] - first),
        static_cast<size_t>(group_offsets[group + 1] - group_offsets[group]));
    if (std::ranges::is_sorted(part, {}, key)) continue;
    in_order = false;
    std::ranges::stable_sort(part, {}, key);
  }
  grouping.offsets.push_back(static_cast<int32_t>(length));

  const int64_t num_groups = static_cast<int64_t>(group_offsets.size()) - 1;
  arrow::ArrayVector columns;
  for (const auto& field : table.schema->fields()) {
    std::shared_ptr<arrow::Array> values = rows.GetColumnByName(field->name());
    if (IsDerivedColumn(field->name()) || (field->name() == kCreatedTimes && created.empty())) {
      GNOMON_ASSIGN_OR_RETURN(auto none, NoLists(field->type(), num_groups));
      columns.push_back(std::move(none));
      continue;
    }
    if (values == nullptr) {
      return Error(ErrorKind::kInternal, "window rows have no column ", Quoted(field->name()));
    }
    values = values->Slice(first, length);
    if (!values->type()->Equals(*ItemType(*field))) {
      auto cast = table::CastLossless(values, ItemType(*field));
      if (!cast.ok())
        return WithContext(cast.status(), Concat(table.view, ": column ", Quoted(field->name())));
      values = *std::move(cast);
    }
    if (!in_order) {
      GNOMON_ASSIGN_OR_RETURN(values, table::Gather(arrow::ChunkedArray(values), grouping.indices));
    }
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                            field->name() == kCreatedTimes
                                ? MakeCreatedLists(field->type(), grouping.offsets, *values)
                                : MakeLists(field->type(), grouping.offsets, std::move(values)));
  }
  return arrow::RecordBatch::Make(table.schema, num_groups, std::move(columns));
}

Result<std::shared_ptr<arrow::RecordBatch>> MergeWindowRows(const OnlineTable& table,
                                                            WindowReach reach,
                                                            const OnlineValues& stored,
                                                            const arrow::RecordBatch& added) {
  GNOMON_ASSIGN_OR_RETURN(auto merged, internal::MergeEvents(table, reach, stored, added, {}));
  return std::move(merged.rows);
}

Result<std::shared_ptr<arrow::Array>> internal::MakeLists(
    const std::shared_ptr<arrow::DataType>& type, std::span<const int32_t> offsets,
    std::shared_ptr<arrow::Array> values) {
  arrow::Int32Builder builder;
  GNOMON_RETURN_NOT_OK(builder.AppendValues(offsets.data(), static_cast<int64_t>(offsets.size())));
  GNOMON_ASSIGN_OR_RETURN(const auto offset_array, builder.Finish());
  return arrow::ListArray::FromArrays(type, *offset_array, *values);
}

Result<std::shared_ptr<arrow::Array>> internal::MakeCreatedLists(
    const std::shared_ptr<arrow::DataType>& type, std::span<const int32_t> offsets,
    const arrow::Array& values) {
  const auto& created = static_cast<const arrow::Int64Array&>(values);
  const auto has_time = [&](int32_t i) {
    return created.IsValid(i) && created.Value(i) != kNoTime;
  };
  auto items = std::make_shared<arrow::Int64Builder>();
  arrow::ListBuilder lists(arrow::default_memory_pool(), items, type);
  for (size_t group = 0; group + 1 < offsets.size(); ++group) {
    const auto events = std::views::iota(offsets[group], offsets[group + 1]);
    if (std::ranges::none_of(events, has_time)) {
      GNOMON_RETURN_NOT_OK(lists.AppendNull());
      continue;
    }
    GNOMON_RETURN_NOT_OK(lists.Append());
    for (const int32_t i : events)
      GNOMON_RETURN_NOT_OK(has_time(i) ? items->Append(created.Value(i)) : items->AppendNull());
  }
  return lists.Finish();
}

Result<internal::MergedEvents> internal::MergeEvents(const OnlineTable& table, WindowReach reach,
                                                     const OnlineValues& stored,
                                                     const arrow::RecordBatch& added,
                                                     std::span<const int64_t> firsts) {
  const int64_t num_rows = added.num_rows();
  if (static_cast<int>(stored.columns.size()) != table.schema->num_fields() ||
      stored.found.size() != static_cast<size_t>(num_rows)) {
    return Error(ErrorKind::kInternal, "stored and added window rows differ in shape: view ",
                 Quoted(table.view));
  }
  const int time_field = table.schema->GetFieldIndex(std::string(kEventTimes));
  const int created_field = table.schema->GetFieldIndex(std::string(kCreatedTimes));
  const EventLists stored_times(stored.columns[static_cast<size_t>(time_field)]);
  const EventLists stored_created(stored.columns[static_cast<size_t>(created_field)]);
  const EventLists added_times(added.column(time_field));
  const EventLists added_created(added.column(created_field));

  // Which event of which side stands where, by row; the lists of each column are gathered by it.
  std::vector<int32_t> offsets = {0};
  std::vector<Event> events;
  std::vector<int64_t> event_rows;
  std::vector<Event> merged;
  for (int64_t row = 0; row < num_rows; ++row) {
    MergeRow(stored_times, stored_created, added_times, added_created, row, reach, &merged);
    events.insert(events.end(), merged.begin(), merged.end());
    event_rows.insert(event_rows.end(), merged.size(), row);
    if (events.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
      return TooLong(table);
    offsets.push_back(static_cast<int32_t>(events.size()));
  }
  MergedEvents result;
  for (size_t i = 0; i < events.size() && !firsts.empty(); ++i) {
    const bool first =
        !events[i].added && events[i].place < firsts[static_cast<size_t>(event_rows[i])];
    result.stored.push_back(first ? 1 : 0);
  }
  const bool any_created =
      std::ranges::any_of(events, [](const Event& event) { return event.created != kNoTime; });

  arrow::ArrayVector columns;
  std::vector<int64_t> indices(events.size());
  for (int field = 0; field < table.schema->num_fields(); ++field) {
    const auto& type = table.schema->field(field)->type();
    if (IsDerivedColumn(table.schema->field(field)->name()) ||
        (field == created_field && !any_created)) {
      GNOMON_ASSIGN_OR_RETURN(auto none, NoLists(type, num_rows));
      columns.push_back(std::move(none));
      continue;
    }
    const EventLists old_lists(stored.columns[static_cast<size_t>(field)]);
    const EventLists new_lists(added.column(field));
    // A list that is shorter than its row's times (a column that came later) is null there.
    for (size_t i = 0; i < events.size(); ++i) {
      const EventLists& lists = events[i].added ? new_lists : old_lists;
      const int64_t row = event_rows[i];
      const int64_t base = events[i].added ? old_lists.values()->length() : 0;
      indices[i] =
          events[i].place < lists.length(row) ? base + lists.begin(row) + events[i].place : -1;
    }
    GNOMON_ASSIGN_OR_RETURN(auto values,
                            GatherFrom(old_lists.values(), new_lists.values(), indices));
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                            field == created_field ? MakeCreatedLists(type, offsets, *values)
                                                   : MakeLists(type, offsets, std::move(values)));
  }
  result.rows = arrow::RecordBatch::Make(table.schema, num_rows, std::move(columns));
  return result;
}

WindowRowTimes NewestTimes(const arrow::RecordBatch& window_rows) {
  const EventLists times(window_rows.GetColumnByName(std::string(kEventTimes)));
  const EventLists created(window_rows.GetColumnByName(std::string(kCreatedTimes)));
  WindowRowTimes newest;
  for (int64_t row = 0; row < window_rows.num_rows(); ++row) {
    const int64_t last = times.length(row) - 1;
    newest.event_times.push_back(last < 0 ? 0 : times.TimeAt(row, last));
    newest.created_times.push_back(last < 0 ? kNoTime : created.TimeAt(row, last));
  }
  return newest;
}

}  // namespace gnomon::feature
