#include "feature/engine/window_materialization.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/text.h"
#include "feature/engine/latest_materialization.h"
#include "feature/online/window_row.h"
#include "pit/time_unit.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kPartitionBytes = int64_t{1} << 20;
constexpr int64_t kMostPartitions = 1024;
constexpr int32_t kPartitionsOfUnknownSize = 64;
/// Guessed width of a text or list.
constexpr int64_t kVariableWidth = 32;
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

/// So many that one has about kPartitionBytes.
int32_t NumPartitions(const ViewSource& source, const arrow::Schema& schema) {
  int64_t row_bytes = 0;
  for (const auto& field : schema.fields()) {
    const int width = field->type()->byte_width();
    row_bytes += width > 0 ? width : kVariableWidth;
  }
  int64_t bytes = 0;
  for (int64_t i = 0; i < source.table()->num_partitions(); ++i) {
    const int64_t rows = source.table()->num_rows(i);
    if (rows < 0) return kPartitionsOfUnknownSize;
    bytes += rows * row_bytes;
  }
  return static_cast<int32_t>(std::min(kMostPartitions, bytes / kPartitionBytes + 1));
}

}  // namespace

/// Events put together by key.
struct WindowMaterialization::KeyedEvents {
  std::vector<int64_t> order;    ///< rows, by key and then in the order of events
  std::vector<int64_t> offsets;  ///< of each key in `order`, and the end
};

std::vector<std::string> AggregatedColumns(const FeatureView& view) {
  std::vector<std::string> columns;
  for (const Aggregation& aggregation : view.aggregations) {
    if (std::ranges::find(columns, aggregation.column) == columns.end())
      columns.push_back(aggregation.column);
  }
  return columns;
}

SourceRange RangeUntil(const FeatureView& view, int64_t end) {
  SourceRange range{.min = {}, .max = end, .created_before = {}};
  const auto window = view.LongestWindow();
  int64_t oldest = 0;
  if (window && !__builtin_sub_overflow(end, *window, &oldest)) range.min = oldest;
  return range;
}

Result<std::unique_ptr<ViewBlocks>> WindowMaterialization::Open(
    const Context& context, const Definitions& definitions, const OnlineTable& table,
    const FeatureView& view, const OfflineStore& store, const SharedSources& sources, int64_t end,
    int64_t value_count_bytes) {
  std::vector<std::string> columns = AggregatedColumns(view);
  SourceReads reads;
  GNOMON_ASSIGN_OR_RETURN(ViewSource source,
                          ViewSource::Open(context, definitions, view, store, columns,
                                           RangeUntil(view, end), &reads, sources.TableOf(view)));
  GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, EntityKeysOf(definitions, view));
  std::unique_ptr<WindowMaterialization> made(
      new WindowMaterialization(context, table, std::move(source), std::move(encoder),
                                WindowFolding::Make(table, view, value_count_bytes)));
  for (const std::string& column : columns) {
    const auto first = std::ranges::find(view.aggregations, column, &Aggregation::column);
    made->types_.push_back(first->column_type);
  }
  made->columns_ = std::move(columns);
  GNOMON_ASSIGN_OR_RETURN(const auto values, made->source_.Columns(made->columns_));
  const pit::Nanos last = pit::ToNanos(end, kMicro);
  ViewScan scan{.values = values, .first = {}, .last = last};
  const auto window = view.LongestWindow();
  if (window) scan.first = last - pit::ToNanos(*window, kMicro) + 1;
  WindowMaterialization* const self = made.get();
  made->pass_.emplace(
      made->context_, made->source_, std::move(scan),
      [self](const ViewBatch& batch) {
        return self->source_.WithoutMemory(self->AddEvents(batch));
      },
      [self, values] { return self->BeginEvents(values); });
  return made;
}

Status WindowMaterialization::BeginEvents(const std::vector<int>& values) {
  events_.reset();
  null_keys_ = 0;
  std::vector<std::shared_ptr<arrow::DataType>> key_types;
  for (const int key : source_.keys())
    key_types.push_back(source_.table()->schema()->field(key)->type());
  GNOMON_ASSIGN_OR_RETURN(hash_, table::KeyIndex::Make(key_types));
  auto schema = source_.EventSchema(values);
  const int32_t num_partitions = source_.keys().empty() ? 1 : NumPartitions(source_, *schema);
  events_ =
      std::make_unique<RowPartitions>(context_, std::move(schema), num_partitions, std::string());
  return Status::OK();
}

Status WindowMaterialization::AddEvents(const ViewBatch& batch) {
  std::vector<int32_t> partitions(static_cast<size_t>(batch.num_rows), 0);
  if (!batch.keys.empty())
    GNOMON_RETURN_NOT_OK(hash_->Partition(batch.keys, events_->num_partitions(), partitions));
  null_keys_ += std::ranges::count(partitions, table::KeyIndex::kNull);
  return events_->Add(NumberOfRow(batch.partition, batch.first_row), batch.EventColumns(),
                      partitions);
}

Status WindowMaterialization::FinishPass(MaterializationResult* result) {
  const ViewScanStats stats = pass_->stats();
  result->source_rows = stats.rows;
  result->skipped_rows = stats.null_times + null_keys_;
  GNOMON_RETURN_NOT_OK(source_.WithoutMemory(events_->Finish()));
  result->spilled_bytes = events_->spilled_bytes();
  return Status::OK();
}

Result<std::optional<OnlineBlock>> WindowMaterialization::NextBlock() {
  while (next_partition_ < events_->num_partitions() && events_->num_rows(next_partition_) == 0)
    ++next_partition_;
  if (next_partition_ == events_->num_partitions()) return std::nullopt;
  GNOMON_RETURN_NOT_OK(context_.Check());
  MemoryReservation taken(context_.memory);
  const auto make = [&]() -> Result<OnlineBlock> {
    GNOMON_ASSIGN_OR_RETURN(const auto events, events_->Take(next_partition_++, &taken));
    // The order, the ordered columns and the lists made of them.
    MemoryReservation made(context_.memory);
    GNOMON_RETURN_NOT_OK(made.Grow(2 * taken.bytes() + 32 * events->num_rows()));
    return MakeBlock(*events, std::move(made));
  };
  auto block = make();
  if (!block.ok()) return source_.WithoutMemory(block.status());
  return std::optional(*std::move(block));
}

Result<WindowMaterialization::KeyedEvents> WindowMaterialization::OrderByKey(
    const arrow::RecordBatch& events) const {
  const auto num_rows = static_cast<size_t>(events.num_rows());
  const auto num_keys = source_.keys().size();
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
  if (source_.created() >= 0) {
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
Result<std::shared_ptr<arrow::RecordBatch>> WindowMaterialization::RawEvents(
    const arrow::RecordBatch& events, const std::vector<int64_t>& order) const {
  int place = static_cast<int>(source_.keys().size());
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
        pit::CeilToUnit(pit::ToNanos(raw[static_cast<size_t>(row)], source_.time_unit()), kMicro)));
  }
  if (source_.created() < 0) {
    GNOMON_RETURN_NOT_OK(created.AppendNulls(static_cast<int64_t>(order.size())));
  } else {
    const arrow::Array& column = *events.column(place++);
    GNOMON_ASSIGN_OR_RETURN(const auto raw_created, table::RawTimes(column));
    for (const int64_t row : order) {
      const pit::Nanos nanos =
          pit::ToNanos(raw_created[static_cast<size_t>(row)], source_.created_unit());
      GNOMON_RETURN_NOT_OK(column.IsNull(row) ? created.AppendNull()
                                              : created.Append(pit::FloorToUnit(nanos, kMicro)));
    }
  }
  GNOMON_RETURN_NOT_OK(times.Finish(&columns[0]));
  GNOMON_RETURN_NOT_OK(created.Finish(&columns[1]));
  for (size_t i = 0; i < columns_.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column,
                            table::Gather(arrow::ChunkedArray(events.column(place++)), order));
    GNOMON_ASSIGN_OR_RETURN(column,
                            CastSourceColumn(source_.view(), columns_[i], column, types_[i]));
    fields.push_back(arrow::field(columns_[i], column->type()));
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)),
                                  static_cast<int64_t>(order.size()), std::move(columns));
}

/// Puts one row for each key in place of what the block has.
Status WindowMaterialization::AddRows(const arrow::RecordBatch& events, const KeyedEvents& keyed,
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
Result<WindowMaterialization::KeyedEvents> WindowMaterialization::FindWritable(
    const arrow::RecordBatch& events, const KeyedEvents& keyed, FailedRows* failed) const {
  std::vector<Status> why(keyed.order.size());
  const int first = events.num_columns() - static_cast<int>(columns_.size());
  for (size_t i = 0; i < columns_.size(); ++i) {
    const auto& values = events.column(first + static_cast<int>(i));
    GNOMON_ASSIGN_OR_RETURN(auto column, table::Gather(arrow::ChunkedArray(values), keyed.order));
    GNOMON_RETURN_NOT_OK(
        FindUncastable(source_.view(), columns_[i], std::move(column), types_[i], &why));
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

arrow::ArrayVector WindowMaterialization::KeysOf(const arrow::RecordBatch& events) const {
  const auto columns = events.columns();
  return {columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(source_.keys().size())};
}

std::string WindowMaterialization::PlaceOfKeys() const {
  return Concat("a key of data source ", Quoted(source_.source().name));
}

Result<OnlineBlock> WindowMaterialization::MakeBlock(const arrow::RecordBatch& events,
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
