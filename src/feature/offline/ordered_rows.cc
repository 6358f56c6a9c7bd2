#include <algorithm>
#include <compare>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory_reservation.h"
#include "base/parallel.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/offline/database_store_internal.h"
#include "table/column.h"

namespace gnomon::feature {

namespace {

constexpr int64_t kMostRows = int64_t{1} << 20;    // of a partition
constexpr int64_t kFewestRows = int64_t{1} << 15;  // that are worth another partition
constexpr int64_t kBatchRows = int64_t{1} << 16;

class TableRows : public table::PartitionStream {
 public:
  TableRows(std::shared_ptr<arrow::Table> table, int64_t batch_rows)
      : table_(std::move(table)), batches_(*table_) {
    batches_.set_chunksize(batch_rows);
  }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    std::shared_ptr<arrow::RecordBatch> batch;
    GNOMON_RETURN_NOT_OK(batches_.ReadNext(&batch));
    return batch;
  }

 private:
  std::shared_ptr<arrow::Table> table_;
  arrow::TableBatchReader batches_;
};

/// What decides a row's place.
struct Rank {
  int64_t time = 0;
  uint64_t hash = 0;
  auto operator<=>(const Rank&) const = default;
};

struct RankedRow {
  Rank rank;
  int64_t row;
  auto operator<=>(const RankedRow&) const = default;
};

/// Rows of `table` in order.
struct Partition {
  std::shared_ptr<arrow::Table> table;
  /// Their places in `table`, in chunks of kBatchRows; null when they stand in it in order, and
  /// nothing else does.
  std::shared_ptr<arrow::ChunkedArray> order;
  int64_t num_rows = 0;
  int64_t first_time = 0;
  int64_t last_time = 0;

  int64_t PlaceOf(int64_t row) const {
    if (order == nullptr) return row;
    const arrow::Array& chunk = *order->chunk(static_cast<int>(row / kBatchRows));
    return static_cast<const arrow::Int64Array&>(chunk).Value(row % kBatchRows);
  }
};

/// A partition whose rows are picked from all over its table.
class PickedRows : public table::PartitionStream {
 public:
  PickedRows(Context context, Partition partition, std::shared_ptr<arrow::Table> columns,
             int64_t batch_rows)
      : context_(std::move(context)),
        partition_(std::move(partition)),
        columns_(std::move(columns)),
        batch_rows_(std::clamp<int64_t>(batch_rows, 1, kBatchRows)) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    const int64_t end = std::min(partition_.num_rows, next_ + batch_rows_);
    if (next_ == end) return nullptr;
    places_.clear();
    for (; next_ < end; ++next_) places_.push_back(partition_.PlaceOf(next_));
    arrow::ArrayVector arrays;
    for (const auto& column : columns_->columns()) {
      GNOMON_ASSIGN_OR_RETURN(auto array, table::Gather(*column, places_));
      arrays.push_back(std::move(array));
    }
    return arrow::RecordBatch::Make(columns_->schema(), static_cast<int64_t>(places_.size()),
                                    std::move(arrays));
  }

 private:
  const Context context_;
  const Partition partition_;
  const std::shared_ptr<arrow::Table> columns_;
  const int64_t batch_rows_;
  int64_t next_ = 0;
  std::vector<int64_t> places_;
};

/// Rows in mapped files, which stay where they are, and the order in which they are to be seen.
class OrderedPartitions : public table::PartitionedTable {
 public:
  /// `time_column`: by whose microseconds the partitions are ordered; -1 for none.
  OrderedPartitions(std::string name, std::shared_ptr<arrow::Schema> schema, int time_column,
                    std::vector<Partition> partitions)
      : name_(std::move(name)),
        schema_(std::move(schema)),
        time_column_(time_column),
        partitions_(std::move(partitions)) {}

  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return static_cast<int64_t>(partitions_.size()); }
  int64_t num_rows(int64_t partition) const override { return At(partition).num_rows; }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    const Partition& rows = At(partition);
    if (rows.num_rows == 0) return 0;
    int64_t bytes = 0;
    for (const int column : columns)
      bytes += arrow::util::ReferencedBufferSize(*rows.table->column(column)).ValueOr(0);
    const double share =
        static_cast<double>(rows.num_rows) / static_cast<double>(rows.table->num_rows());
    return static_cast<int64_t>(static_cast<double>(bytes) * share);
  }
  bool reads_columns_apart(int64_t /*partition*/) const override { return true; }
  bool LiesOutside(int64_t partition, int time_column,
                   const table::TimeRange& range) const override {
    const Partition& rows = At(partition);
    return time_column >= 0 && time_column == time_column_ && rows.num_rows > 0 &&
           (rows.last_time < range.min || rows.first_time > range.max);
  }
  Result<std::unique_ptr<table::PartitionStream>> Scan(const Context& context, int64_t partition,
                                                       const std::vector<int>& columns,
                                                       int64_t batch_rows) const override {
    const Partition& rows = At(partition);
    GNOMON_ASSIGN_OR_RETURN(auto table, rows.table->SelectColumns(columns));
    if (rows.order == nullptr) return std::make_unique<TableRows>(std::move(table), batch_rows);
    return std::make_unique<PickedRows>(context, rows, std::move(table), batch_rows);
  }
  Result<arrow::ArrayVector> Gather(const Context& /*context*/, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    const Partition& from = At(partition);
    std::vector<int64_t> places;
    if (from.order != nullptr) {
      places.reserve(rows.size());
      for (const int64_t row : rows) places.push_back(from.PlaceOf(row));
      rows = places;
    }
    arrow::ArrayVector values;
    for (const int column : columns) {
      GNOMON_ASSIGN_OR_RETURN(auto array, table::Gather(*from.table->column(column), rows));
      values.push_back(std::move(array));
    }
    return values;
  }

 private:
  const Partition& At(int64_t partition) const {
    return partitions_[static_cast<size_t>(partition)];
  }
  const std::string name_;
  const std::shared_ptr<arrow::Schema> schema_;
  const int time_column_;
  const std::vector<Partition> partitions_;
};

/// The batches of a finished file, mapped.
Result<std::shared_ptr<arrow::Table>> Mapped(runtime::SpillFile* file,
                                             const std::shared_ptr<arrow::Schema>& schema) {
  GNOMON_ASSIGN_OR_RETURN(const auto reader, file->Read());
  arrow::RecordBatchVector batches;
  GNOMON_ASSIGN_OR_RETURN(batches, reader->ToRecordBatches());
  return arrow::Table::FromRecordBatches(schema, batches);
}

/// The ranks of a chunk's rows.
class Ranks {
 public:
  Ranks(const arrow::Array& hashes, const arrow::Array* times)
      : hashes_(static_cast<const arrow::Int64Array&>(hashes)), times_(times) {}
  Rank At(int64_t row) const { return {TimeAt(row), static_cast<uint64_t>(hashes_.Value(row))}; }

 private:
  int64_t TimeAt(int64_t row) const {
    if (times_ == nullptr) return 0;
    if (times_->IsNull(row)) return std::numeric_limits<int64_t>::min();
    return times_->type_id() == arrow::Type::TIMESTAMP
               ? static_cast<const arrow::TimestampArray&>(*times_).Value(row)
               : static_cast<const arrow::Date32Array&>(*times_).Value(row);
  }
  const arrow::Int64Array& hashes_;
  const arrow::Array* times_;
};

/// All rows as they came, with their hash in the last column.
class UnorderedRows {
 public:
  /// Rows of a time column of another type, or of none, are ordered by their hash alone.
  UnorderedRows(std::shared_ptr<arrow::Table> table, const std::string& time_column)
      : table_(std::move(table)), time_column_(table_->schema()->GetFieldIndex(time_column)) {
    if (time_column_ < 0) return;
    const auto id = table_->field(time_column_)->type()->id();
    if (id != arrow::Type::TIMESTAMP && id != arrow::Type::DATE32) time_column_ = -1;
  }

  const std::shared_ptr<arrow::Table>& table() const { return table_; }
  /// The time column, if its numbers are microseconds; else -1.
  int micros_column() const {
    if (time_column_ < 0) return -1;
    const arrow::DataType& type = *table_->field(time_column_)->type();
    return type.id() == arrow::Type::TIMESTAMP &&
                   static_cast<const arrow::TimestampType&>(type).unit() == arrow::TimeUnit::MICRO
               ? time_column_
               : -1;
  }

  /// Calls use(rank, row) for every `step`th row.
  template <typename Use>
  Status ForEach(int64_t step, const Use& use) const {
    const auto& hashes = *table_->column(table_->num_columns() - 1);
    int64_t first = 0;
    for (int chunk = 0; chunk < hashes.num_chunks(); ++chunk) {
      const int64_t length = hashes.chunk(chunk)->length();
      const Ranks ranks(
          *hashes.chunk(chunk),
          time_column_ < 0 ? nullptr : table_->column(time_column_)->chunk(chunk).get());
      for (int64_t i = (step - first % step) % step; i < length; i += step)
        GNOMON_RETURN_NOT_OK(use(ranks.At(i), first + i));
      first += length;
    }
    return Status::OK();
  }

  /// Ranks that cut the rows into `parts` of about the same size.
  Result<std::vector<Rank>> Cuts(int64_t parts) const {
    constexpr int64_t kSamples = 512;  // of a part
    std::vector<Rank> samples;
    const int64_t step = std::max<int64_t>(1, table_->num_rows() / (parts * kSamples));
    GNOMON_RETURN_NOT_OK(ForEach(step, [&](const Rank& rank, int64_t /*row*/) {
      samples.push_back(rank);
      return Status::OK();
    }));
    std::ranges::sort(samples);
    std::vector<Rank> cuts;
    for (size_t i = 1; i < static_cast<size_t>(parts); ++i)
      cuts.push_back(samples[samples.size() * i / static_cast<size_t>(parts)]);
    return cuts;
  }

 private:
  std::shared_ptr<arrow::Table> table_;
  int time_column_;
};

/// The rows whose ranks lie in one part, in order.
Status Collect(const UnorderedRows& all, const std::vector<Rank>& cuts, size_t part,
               MemoryReservation* memory, std::vector<RankedRow>* rows) {
  const auto collect = [&](const Rank& rank, int64_t row) -> Status {
    if ((part > 0 && rank < cuts[part - 1]) || (part < cuts.size() && rank >= cuts[part]))
      return Status::OK();
    if (rows->size() == rows->capacity()) {
      const size_t room = std::max<size_t>(1024, rows->capacity() * 2);
      GNOMON_RETURN_NOT_OK(
          memory->Grow(static_cast<int64_t>((room - rows->capacity()) * sizeof(RankedRow))));
      rows->reserve(room);
    }
    rows->push_back({rank, row});
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(all.ForEach(1, collect));
  if (!std::ranges::is_sorted(*rows)) std::ranges::sort(*rows);
  return Status::OK();
}

/// The places of rows, in a file of their own.
Result<std::shared_ptr<arrow::ChunkedArray>> StoredOrder(const Context& context,
                                                         const std::vector<RankedRow>& rows) {
  const auto schema = arrow::schema({arrow::field("row", arrow::int64(), false)});
  GNOMON_ASSIGN_OR_RETURN(runtime::SpillFile file, runtime::SpillFile::Create(schema));
  for (size_t first = 0; first < rows.size(); first += static_cast<size_t>(kBatchRows)) {
    GNOMON_RETURN_NOT_OK(context.Check());
    arrow::Int64Builder places;
    const size_t end = std::min(rows.size(), first + static_cast<size_t>(kBatchRows));
    GNOMON_RETURN_NOT_OK(places.Reserve(static_cast<int64_t>(end - first)));
    for (size_t i = first; i < end; ++i) places.UnsafeAppend(rows[i].row);
    GNOMON_ASSIGN_OR_RETURN(const auto array, places.Finish());
    GNOMON_RETURN_NOT_OK(file.Write(*arrow::RecordBatch::Make(schema, array->length(), {array})));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto table, Mapped(&file, schema));
  return table->column(0);
}

Result<Partition> OrderPart(const Context& context, const UnorderedRows& all,
                            const std::vector<Rank>& cuts, size_t part) {
  MemoryReservation memory(context.memory);
  std::vector<RankedRow> rows;
  GNOMON_RETURN_NOT_OK(Collect(all, cuts, part, &memory, &rows));
  Partition partition;
  GNOMON_ASSIGN_OR_RETURN(partition.table,
                          all.table()->RemoveColumn(all.table()->num_columns() - 1));
  partition.num_rows = static_cast<int64_t>(rows.size());
  if (rows.empty()) {
    partition.table = partition.table->Slice(0, 0);
    return partition;
  }
  partition.first_time = rows.front().rank.time;
  partition.last_time = rows.back().rank.time;
  const auto follows = [](const RankedRow& a, const RankedRow& b) { return b.row != a.row + 1; };
  if (std::ranges::adjacent_find(rows, follows) == rows.end()) {
    partition.table = partition.table->Slice(rows.front().row, partition.num_rows);
  } else {
    GNOMON_ASSIGN_OR_RETURN(partition.order, StoredOrder(context, rows));
  }
  return partition;
}

// The years that a SQL literal can have.
constexpr int64_t kLeastMicros = -62'135'596'800'000'000;
constexpr int64_t kGreatestMicros = 253'402'300'799'999'999;

}  // namespace

Result<std::shared_ptr<table::PartitionedTable>> OrderedRows(
    const Context& context, std::vector<runtime::SpillFile> runs,
    const std::shared_ptr<arrow::Schema>& schema, const std::string& time_column,
    const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(
      const auto with_hash,
      schema->AddField(schema->num_fields(), arrow::field(kRowHash, arrow::int64())));
  std::vector<std::shared_ptr<arrow::Table>> tables;
  for (runtime::SpillFile& run : runs) {
    GNOMON_ASSIGN_OR_RETURN(auto table, Mapped(&run, with_hash));
    tables.push_back(std::move(table));
  }
  runs.clear();
  GNOMON_ASSIGN_OR_RETURN(auto table, arrow::ConcatenateTables(tables));
  const int64_t rows = table->num_rows();
  const UnorderedRows all(std::move(table), time_column);
  const int64_t parts = std::max<int64_t>(
      {1, (rows + kMostRows - 1) / kMostRows, std::min<int64_t>(NumThreads(), rows / kFewestRows)});
  GNOMON_ASSIGN_OR_RETURN(const auto cuts, all.Cuts(parts));
  std::vector<Partition> ordered(static_cast<size_t>(parts));
  GNOMON_RETURN_NOT_OK(ParallelFor(context, parts, [&](int64_t part) -> Status {
    const auto place = static_cast<size_t>(part);
    return OrderPart(context, all, cuts, place).Value(&ordered[place]);
  }));
  return std::make_shared<OrderedPartitions>(name, schema, all.micros_column(), std::move(ordered));
}

Result<std::shared_ptr<arrow::Table>> ReadOpened(const Context& context,
                                                 const table::PartitionedTable& opened,
                                                 const std::vector<std::string>& columns) {
  std::vector<int> places;
  arrow::FieldVector fields;
  const auto names = columns.empty() ? opened.schema()->field_names() : columns;
  for (const std::string& name : names) {
    places.push_back(opened.schema()->GetFieldIndex(name));
    fields.push_back(opened.schema()->field(places.back()));
  }
  arrow::RecordBatchVector batches;
  for (int64_t partition = 0; partition < opened.num_partitions(); ++partition) {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, opened.Scan(context, partition, places, kBatchRows));
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, rows->Next());
      if (batch == nullptr) break;
      batches.push_back(std::move(batch));
    }
  }
  return arrow::Table::FromRecordBatches(arrow::schema(std::move(fields)), batches);
}

std::string TimeCondition(const std::string& quoted_column, const table::TimeRange& range,
                          const std::string& type) {
  std::string bounds;
  if (range.min >= kLeastMicros && range.min <= kGreatestMicros)
    bounds = Concat(quoted_column, " >= ", type, " '", FormatTimestamp(range.min), "'");
  if (range.max >= kLeastMicros && range.max <= kGreatestMicros) {
    bounds += Concat(bounds.empty() ? "" : " AND ", quoted_column, " <= ", type, " '",
                     FormatTimestamp(range.max), "'");
  }
  return bounds.empty() ? bounds : Concat("((", bounds, ") OR ", quoted_column, " IS NULL)");
}

}  // namespace gnomon::feature
