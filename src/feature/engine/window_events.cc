#include "feature/engine/window_events.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/text.h"
#include "feature/engine/view_source.h"
#include "feature/online/window_row.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

int64_t UnitOf(const arrow::Schema& schema, size_t column) {
  return table::UnitNanos(*schema.field(static_cast<int>(column))->type());
}

}  // namespace

std::vector<std::string> AggregatedColumns(const FeatureView& view) {
  std::vector<std::string> columns;
  for (const Aggregation& aggregation : view.aggregations) {
    if (std::ranges::find(columns, aggregation.column) == columns.end())
      columns.push_back(aggregation.column);
  }
  return columns;
}

WindowEvents::WindowEvents(const Context& context, OnlineTable table, const FeatureView& view,
                           EntityKeyEncoder encoder, EventShape shape, int64_t value_count_bytes)
    : context_(context),
      table_(std::move(table)),
      view_(view),
      encoder_(std::move(encoder)),
      folding_(WindowFolding::Make(table_, view, value_count_bytes)),
      shape_(std::move(shape)),
      time_unit_(UnitOf(*shape_.schema, shape_.num_keys)),
      created_unit_(shape_.has_created ? UnitOf(*shape_.schema, shape_.num_keys + 1) : 0),
      columns_(AggregatedColumns(view)) {
  for (const std::string& column : columns_) {
    const auto first = std::ranges::find(view.aggregations, column, &Aggregation::column);
    types_.push_back(first->column_type);
  }
}

Result<std::unique_ptr<WindowEvents>> WindowEvents::Make(const Context& context, OnlineTable table,
                                                         const FeatureView& view,
                                                         EntityKeyEncoder encoder, EventShape shape,
                                                         int32_t num_partitions,
                                                         int64_t value_count_bytes) {
  std::unique_ptr<WindowEvents> events(new WindowEvents(
      context, std::move(table), view, std::move(encoder), std::move(shape), value_count_bytes));
  std::vector<std::shared_ptr<arrow::DataType>> key_types;
  for (size_t key = 0; key < events->num_keys(); ++key)
    key_types.push_back(events->shape_.schema->field(static_cast<int>(key))->type());
  GNOMON_ASSIGN_OR_RETURN(events->hash_, table::KeyIndex::Make(key_types));
  events->events_ = std::make_unique<RowPartitions>(
      context, events->shape_.schema, key_types.empty() ? 1 : num_partitions, std::string());
  return events;
}

Status WindowEvents::Add(int64_t position, arrow::ArrayVector columns) {
  const auto num_rows = static_cast<size_t>(columns[num_keys()]->length());
  std::vector<int32_t> partitions(num_rows, 0);
  if (num_keys() > 0) {
    const arrow::ArrayVector keys(columns.begin(),
                                  columns.begin() + static_cast<std::ptrdiff_t>(num_keys()));
    GNOMON_RETURN_NOT_OK(hash_->Partition(keys, events_->num_partitions(), partitions));
  }
  null_keys_ += std::ranges::count(partitions, table::KeyIndex::kNull);
  return events_->Add(position, std::move(columns), partitions);
}

Result<std::optional<OnlineBlock>> WindowEvents::NextBlock() {
  while (next_partition_ < events_->num_partitions() && events_->num_rows(next_partition_) == 0)
    ++next_partition_;
  if (next_partition_ == events_->num_partitions()) return std::nullopt;
  GNOMON_RETURN_NOT_OK(context_.Check());
  MemoryReservation taken(context_.memory);
  GNOMON_ASSIGN_OR_RETURN(const auto events, events_->Take(next_partition_++, &taken));
  // The order, the ordered columns and the lists made of them.
  MemoryReservation made(context_.memory);
  GNOMON_RETURN_NOT_OK(made.Grow(2 * taken.bytes() + 32 * events->num_rows()));
  GNOMON_ASSIGN_OR_RETURN(auto block, MakeBlock(*events, std::move(made)));
  return std::optional(std::move(block));
}

/// Events put together by key.
struct WindowEvents::KeyedEvents {
  std::vector<int64_t> order;    ///< rows, by key and then in the order of events
  std::vector<int64_t> offsets;  ///< of each key in `order`, and the end
};

Result<WindowEvents::KeyedEvents> WindowEvents::OrderByKey(const arrow::RecordBatch& events) const {
  const auto num_rows = static_cast<size_t>(events.num_rows());
  const size_t num_keys = shape_.num_keys;
  std::vector<int32_t> ids(num_rows, 0);
  int64_t num_ids = 1;
  if (num_keys > 0) {
    const arrow::ArrayVector& columns = events.columns();
    const arrow::ArrayVector keys(columns.begin(),
                                  columns.begin() + static_cast<std::ptrdiff_t>(num_keys));
    std::vector<std::shared_ptr<arrow::DataType>> types;
    for (const auto& key : keys) types.push_back(key->type());
    GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
    GNOMON_RETURN_NOT_OK(index.Insert(keys, ids));
    num_ids = index.size();
  }
  KeyedEvents keyed;
  keyed.offsets.assign(static_cast<size_t>(num_ids) + 1, 0);
  for (const int32_t id : ids) ++keyed.offsets[static_cast<size_t>(id) + 1];
  for (size_t i = 1; i < keyed.offsets.size(); ++i) keyed.offsets[i] += keyed.offsets[i - 1];
  std::vector<int64_t> next(keyed.offsets.begin(), keyed.offsets.end() - 1);
  keyed.order.resize(num_rows);
  for (size_t row = 0; row < num_rows; ++row) {
    const int64_t place = next[static_cast<size_t>(ids[row])]++;
    keyed.order[static_cast<size_t>(place)] = static_cast<int64_t>(row);
  }
  const int time_place = static_cast<int>(num_keys);
  GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*events.column(time_place)));
  std::vector<int64_t> created(num_rows, kNone);
  if (shape_.has_created) {
    const arrow::Array& column = *events.column(time_place + 1);
    GNOMON_ASSIGN_OR_RETURN(created, table::RawTimes(column));
    for (size_t row = 0; column.null_count() > 0 && row < num_rows; ++row) {
      if (column.IsNull(static_cast<int64_t>(row))) created[row] = kNone;
    }
  }
  const auto key_of = [&](int64_t row) {
    return std::tuple(times[static_cast<size_t>(row)], created[static_cast<size_t>(row)], row);
  };
  for (size_t key = 0; key + 1 < keyed.offsets.size(); ++key) {
    std::ranges::sort(
        std::span(keyed.order)
            .subspan(static_cast<size_t>(keyed.offsets[key]),
                     static_cast<size_t>(keyed.offsets[key + 1] - keyed.offsets[key])),
        {}, key_of);
  }
  return keyed;
}

/// Times in microseconds, and the aggregated columns in the types that the view declares.
Result<std::shared_ptr<arrow::RecordBatch>> WindowEvents::RawEvents(
    const arrow::RecordBatch& events, const std::vector<int64_t>& order) const {
  int place = static_cast<int>(num_keys());
  arrow::FieldVector fields{arrow::field(std::string(kEventTimes), arrow::int64()),
                            arrow::field(std::string(kCreatedTimes), arrow::int64())};
  arrow::ArrayVector columns(2);
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  GNOMON_ASSIGN_OR_RETURN(const auto raw, table::RawTimes(*events.column(place++)));
  // Rounded up, so that "not after t" and "after t - w" hold for microseconds exactly when they
  // hold for the time itself.
  for (const int64_t row : order) {
    GNOMON_RETURN_NOT_OK(times.Append(
        pit::CeilToUnit(pit::ToNanos(raw[static_cast<size_t>(row)], time_unit_), kMicro)));
  }
  if (!shape_.has_created) {
    GNOMON_RETURN_NOT_OK(created.AppendNulls(static_cast<int64_t>(order.size())));
  } else {
    const arrow::Array& column = *events.column(place++);
    GNOMON_ASSIGN_OR_RETURN(const auto raw_created, table::RawTimes(column));
    for (const int64_t row : order) {
      const pit::Nanos nanos = pit::ToNanos(raw_created[static_cast<size_t>(row)], created_unit_);
      GNOMON_RETURN_NOT_OK(column.IsNull(row) ? created.AppendNull()
                                              : created.Append(pit::FloorToUnit(nanos, kMicro)));
    }
  }
  GNOMON_RETURN_NOT_OK(times.Finish(&columns[0]));
  GNOMON_RETURN_NOT_OK(created.Finish(&columns[1]));
  for (size_t i = 0; i < columns_.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column,
                            table::Gather(arrow::ChunkedArray(events.column(place++)), order));
    GNOMON_ASSIGN_OR_RETURN(column, CastSourceColumn(view_, columns_[i], column, types_[i]));
    fields.push_back(arrow::field(columns_[i], column->type()));
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)),
                                  static_cast<int64_t>(order.size()), std::move(columns));
}

/// Puts one row for each key in place of what the block has.
Status WindowEvents::AddRows(const arrow::RecordBatch& events, const KeyedEvents& keyed,
                             OnlineBlock* block) const {
  block->key_bytes.clear();
  block->key_ends.clear();
  const arrow::ArrayVector keys = KeysOf(events);
  for (size_t key = 0; key + 1 < keyed.offsets.size(); ++key) {
    const int64_t row = keyed.order[static_cast<size_t>(keyed.offsets[key])];
    const Status encoded = encoder_.Encode(keys, row, &block->key_bytes).status();
    if (!encoded.ok()) return WithContext(encoded, PlaceOfKeys());
    block->key_ends.push_back(block->key_bytes.size());
  }
  GNOMON_ASSIGN_OR_RETURN(const auto raw, RawEvents(events, keyed.order));
  return MakeWindowRows(table_, *raw, keyed.offsets).Value(&block->values);
}

/// The keys that can be written with all their events; the others go to `failed`.
Result<WindowEvents::KeyedEvents> WindowEvents::FindWritable(const arrow::RecordBatch& events,
                                                             const KeyedEvents& keyed,
                                                             FailedRows* failed) const {
  std::vector<Status> why(keyed.order.size());
  const int first = events.num_columns() - static_cast<int>(columns_.size());
  for (size_t i = 0; i < columns_.size(); ++i) {
    const auto& values = events.column(first + static_cast<int>(i));
    GNOMON_ASSIGN_OR_RETURN(auto column, table::Gather(arrow::ChunkedArray(values), keyed.order));
    GNOMON_RETURN_NOT_OK(FindUncastable(view_, columns_[i], std::move(column), types_[i], &why));
  }
  const arrow::ArrayVector keys = KeysOf(events);
  KeyedEvents writable{.order = {}, .offsets = {0}};
  std::string bytes;
  for (size_t key = 0; key + 1 < keyed.offsets.size(); ++key) {
    const auto begin = static_cast<size_t>(keyed.offsets[key]);
    const auto places =
        std::span(keyed.order).subspan(begin, static_cast<size_t>(keyed.offsets[key + 1]) - begin);
    bytes.clear();
    const Status encoded = encoder_.Encode(keys, places.front(), &bytes).status();
    const auto reasons = std::span(why).subspan(begin, places.size());
    const auto bad = std::ranges::find_if(reasons, [](const Status& each) { return !each.ok(); });
    if (!encoded.ok()) {
      failed->Add(PlaceOfKeys(), encoded);
    } else if (bad != reasons.end()) {
      failed->Add(DescribeEntityKey(bytes), *bad);
    } else {
      writable.order.insert(writable.order.end(), places.begin(), places.end());
      writable.offsets.push_back(static_cast<int64_t>(writable.order.size()));
    }
  }
  return writable;
}

arrow::ArrayVector WindowEvents::KeysOf(const arrow::RecordBatch& events) const {
  const auto columns = events.columns();
  return {columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(num_keys())};
}

std::string WindowEvents::PlaceOfKeys() const {
  return view_.is_derived() ? Concat("a key of feature view ", Quoted(view_.name))
                            : Concat("a key of data source ", Quoted(view_.source));
}

Result<OnlineBlock> WindowEvents::MakeBlock(const arrow::RecordBatch& events,
                                            MemoryReservation memory) const {
  GNOMON_ASSIGN_OR_RETURN(const KeyedEvents keyed, OrderByKey(events));
  OnlineBlock block;
  Status added = AddRows(events, keyed, &block);
  if (IsOfOneRow(added)) {
    GNOMON_ASSIGN_OR_RETURN(const auto writable, FindWritable(events, keyed, &block.failed));
    added = AddRows(events, writable, &block);
  }
  GNOMON_RETURN_NOT_OK(added);
  GNOMON_ASSIGN_OR_RETURN(block.values, folding_.Fold(block.values));
  WindowRowTimes newest = NewestTimes(*block.values);
  block.event_times = std::move(newest.event_times);
  block.created_times = std::move(newest.created_times);
  const int64_t bytes = arrow::util::TotalBufferSize(*block.values);
  GNOMON_RETURN_NOT_OK(memory.Grow(std::max<int64_t>(0, bytes - memory.bytes())));
  memory.Shrink(memory.bytes() - bytes);
  block.memory = std::move(memory);
  return block;
}

}  // namespace gnomon::feature
