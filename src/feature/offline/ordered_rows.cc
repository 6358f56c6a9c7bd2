#include <algorithm>
#include <utility>

#include <arrow/array.h>
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

/// Tables in mapped files, one a partition.
class MappedPartitions : public table::PartitionedTable {
 public:
  MappedPartitions(std::string name, std::shared_ptr<arrow::Schema> schema,
                   std::vector<std::shared_ptr<arrow::Table>> partitions)
      : name_(std::move(name)), schema_(std::move(schema)), partitions_(std::move(partitions)) {}

  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return static_cast<int64_t>(partitions_.size()); }
  int64_t num_rows(int64_t partition) const override { return At(partition).num_rows(); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    int64_t bytes = 0;
    for (const int column : columns)
      bytes += arrow::util::ReferencedBufferSize(*At(partition).column(column)).ValueOr(0);
    return bytes;
  }
  bool reads_columns_apart(int64_t /*partition*/) const override { return true; }
  bool LiesOutside(int64_t /*partition*/, int /*time_column*/,
                   const table::TimeRange& /*range*/) const override {
    return false;
  }
  Result<std::unique_ptr<table::PartitionStream>> Scan(const Context& /*context*/,
                                                       int64_t partition,
                                                       const std::vector<int>& columns,
                                                       int64_t batch_rows) const override {
    GNOMON_ASSIGN_OR_RETURN(auto table, At(partition).SelectColumns(columns));
    return std::make_unique<TableRows>(std::move(table), batch_rows);
  }
  Result<arrow::ArrayVector> Gather(const Context& /*context*/, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    arrow::ArrayVector values;
    for (const int column : columns) {
      GNOMON_ASSIGN_OR_RETURN(auto array, table::Gather(*At(partition).column(column), rows));
      values.push_back(std::move(array));
    }
    return values;
  }

 private:
  const arrow::Table& At(int64_t partition) const {
    return *partitions_[static_cast<size_t>(partition)];
  }
  const std::string name_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::vector<std::shared_ptr<arrow::Table>> partitions_;
};

struct HashedRow {
  uint64_t hash;
  int64_t row;
  auto operator<=>(const HashedRow&) const = default;
};

/// The batches of a finished file, mapped.
Result<std::shared_ptr<arrow::Table>> Mapped(runtime::SpillFile* file,
                                             const std::shared_ptr<arrow::Schema>& schema) {
  GNOMON_ASSIGN_OR_RETURN(const auto reader, file->Read());
  arrow::RecordBatchVector batches;
  GNOMON_ASSIGN_OR_RETURN(batches, reader->ToRecordBatches());
  return arrow::Table::FromRecordBatches(schema, batches);
}

/// Which of `parts` equal ranges of all hashes.
uint64_t PartOf(uint64_t hash, uint64_t parts) { return (hash >> 32) * parts >> 32; }

Status Collect(const arrow::ChunkedArray& hashes, uint64_t part, uint64_t parts,
               MemoryReservation* memory, std::vector<HashedRow>* rows) {
  int64_t first = 0;
  for (const auto& chunk : hashes.chunks()) {
    const auto& values = static_cast<const arrow::Int64Array&>(*chunk);
    for (int64_t i = 0; i < values.length(); ++i) {
      const auto hash = static_cast<uint64_t>(values.Value(i));
      if (PartOf(hash, parts) != part) continue;
      if (rows->size() == rows->capacity()) {
        const size_t room = std::max<size_t>(1024, rows->capacity() * 2);
        GNOMON_RETURN_NOT_OK(
            memory->Grow(static_cast<int64_t>((room - rows->capacity()) * sizeof(HashedRow))));
        rows->reserve(room);
      }
      rows->push_back({hash, first + i});
    }
    first += chunk->length();
  }
  return Status::OK();
}

/// The rows of one range of hashes in order, in a file of their own.
Result<std::shared_ptr<arrow::Table>> OrderPart(const Context& context, const arrow::Table& all,
                                                const std::shared_ptr<arrow::Schema>& schema,
                                                uint64_t part, uint64_t parts) {
  MemoryReservation memory(context.memory);
  std::vector<HashedRow> rows;
  GNOMON_RETURN_NOT_OK(Collect(*all.column(schema->num_fields()), part, parts, &memory, &rows));
  std::ranges::sort(rows);
  GNOMON_ASSIGN_OR_RETURN(runtime::SpillFile file, runtime::SpillFile::Create(schema));
  std::vector<int64_t> indices;
  for (size_t first = 0; first < rows.size(); first += static_cast<size_t>(kBatchRows)) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const size_t end = std::min(rows.size(), first + static_cast<size_t>(kBatchRows));
    indices.clear();
    for (size_t i = first; i < end; ++i) indices.push_back(rows[i].row);
    arrow::ArrayVector columns;
    for (int column = 0; column < schema->num_fields(); ++column) {
      GNOMON_ASSIGN_OR_RETURN(auto array, table::Gather(*all.column(column), indices));
      columns.push_back(std::move(array));
    }
    GNOMON_RETURN_NOT_OK(file.Write(*arrow::RecordBatch::Make(
        schema, static_cast<int64_t>(indices.size()), std::move(columns))));
  }
  return Mapped(&file, schema);
}

// The years that a SQL literal can have.
constexpr int64_t kLeastMicros = -62'135'596'800'000'000;
constexpr int64_t kGreatestMicros = 253'402'300'799'999'999;

}  // namespace

Result<std::shared_ptr<table::PartitionedTable>> OrderedRows(
    const Context& context, std::vector<runtime::SpillFile> runs,
    const std::shared_ptr<arrow::Schema>& schema, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(
      const auto with_hash,
      schema->AddField(schema->num_fields(), arrow::field(kRowHash, arrow::int64())));
  std::vector<std::shared_ptr<arrow::Table>> tables;
  for (runtime::SpillFile& run : runs) {
    GNOMON_ASSIGN_OR_RETURN(auto table, Mapped(&run, with_hash));
    tables.push_back(std::move(table));
  }
  runs.clear();
  GNOMON_ASSIGN_OR_RETURN(const auto all, arrow::ConcatenateTables(tables));
  const int64_t rows = all->num_rows();
  const int64_t parts = std::max<int64_t>(
      {1, (rows + kMostRows - 1) / kMostRows, std::min<int64_t>(NumThreads(), rows / kFewestRows)});
  std::vector<std::shared_ptr<arrow::Table>> ordered(static_cast<size_t>(parts));
  GNOMON_RETURN_NOT_OK(ParallelFor(context, parts, [&](int64_t part) -> Status {
    return OrderPart(context, *all, schema, static_cast<uint64_t>(part),
                     static_cast<uint64_t>(parts))
        .Value(&ordered[static_cast<size_t>(part)]);
  }));
  return std::make_shared<MappedPartitions>(name, schema, std::move(ordered));
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
