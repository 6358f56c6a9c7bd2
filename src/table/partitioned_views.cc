#include <algorithm>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "table/column.h"
#include "table/partitioned_table.h"

/// Partitioned tables that are not files: one in memory, and one under other names.
namespace gnomon::table {

namespace {

class TableStream : public PartitionStream {
 public:
  TableStream(std::shared_ptr<arrow::Table> table, int64_t batch_rows)
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

class TableInMemory : public PartitionedTable {
 public:
  TableInMemory(std::shared_ptr<arrow::Table> table, std::string name)
      : table_(std::move(table)), schema_(table_->schema()), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return 1; }
  int64_t num_rows(int64_t /*partition*/) const override { return table_->num_rows(); }
  int64_t NumBytes(int64_t /*partition*/, const std::vector<int>& columns) const override {
    int64_t bytes = 0;
    for (const int column : columns)
      bytes += arrow::util::ReferencedBufferSize(*table_->column(column)).ValueOr(0);
    return bytes;
  }
  bool reads_columns_apart(int64_t /*partition*/) const override { return true; }
  bool LiesOutside(int64_t /*partition*/, int /*time_column*/,
                   const TimeRange& /*range*/) const override {
    return false;
  }

  Result<std::unique_ptr<PartitionStream>> Scan(const Context& /*context*/, int64_t /*partition*/,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    GNOMON_ASSIGN_OR_RETURN(auto table, table_->SelectColumns(columns));
    return std::make_unique<TableStream>(std::move(table), batch_rows);
  }

  Result<arrow::ArrayVector> Gather(const Context& /*context*/, int64_t /*partition*/,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    arrow::ArrayVector values;
    for (const int column : columns) {
      GNOMON_ASSIGN_OR_RETURN(auto array, table::Gather(*table_->column(column), rows));
      values.push_back(std::move(array));
    }
    return values;
  }

 private:
  std::shared_ptr<arrow::Table> table_;
  std::shared_ptr<arrow::Schema> schema_;
  std::string name_;
};

Status InContext(const Status& status, const std::string& context) {
  return context.empty() ? status : WithContext(status, context);
}

class RenamedStream : public PartitionStream {
 public:
  RenamedStream(std::unique_ptr<PartitionStream> stream, std::shared_ptr<arrow::Schema> schema,
                std::string in_errors)
      : stream_(std::move(stream)), schema_(std::move(schema)), in_errors_(std::move(in_errors)) {}
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    auto batch = stream_->Next();
    if (!batch.ok()) return InContext(batch.status(), in_errors_);
    if (*batch == nullptr) return nullptr;
    return arrow::RecordBatch::Make(schema_, (*batch)->num_rows(), (*batch)->columns());
  }
  int64_t first_row() const override { return stream_->first_row(); }
  PageCounts pages() const override { return stream_->pages(); }

 private:
  std::unique_ptr<PartitionStream> stream_;
  std::shared_ptr<arrow::Schema> schema_;
  std::string in_errors_;
};

class RenamedTable : public PartitionedTable {
 public:
  RenamedTable(std::shared_ptr<const PartitionedTable> table, std::string name,
               std::shared_ptr<arrow::Schema> schema, std::string in_errors)
      : table_(std::move(table)),
        name_(std::move(name)),
        schema_(std::move(schema)),
        in_errors_(std::move(in_errors)) {}

  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  int64_t num_partitions() const override { return table_->num_partitions(); }
  int64_t num_rows(int64_t partition) const override { return table_->num_rows(partition); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    return table_->NumBytes(partition, columns);
  }
  bool reads_columns_apart(int64_t partition) const override {
    return table_->reads_columns_apart(partition);
  }
  bool LiesOutside(int64_t partition, int time_column, const TimeRange& range) const override {
    return table_->LiesOutside(partition, time_column, range);
  }
  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    return Named(table_->Scan(context, partition, columns, batch_rows), columns);
  }
  Result<std::unique_ptr<PartitionStream>> ScanTimes(const Context& context, int64_t partition,
                                                     const std::vector<int>& columns,
                                                     int64_t batch_rows, int time_column,
                                                     const TimeRange& range) const override {
    return Named(table_->ScanTimes(context, partition, columns, batch_rows, time_column, range),
                 columns);
  }
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    auto values = table_->Gather(context, partition, columns, rows);
    return values.ok() ? values : InContext(values.status(), in_errors_);
  }

 private:
  Result<std::unique_ptr<PartitionStream>> Named(Result<std::unique_ptr<PartitionStream>> stream,
                                                 const std::vector<int>& columns) const {
    if (!stream.ok()) return InContext(stream.status(), in_errors_);
    arrow::FieldVector fields;
    for (const int column : columns) fields.push_back(schema_->field(column));
    return std::make_unique<RenamedStream>(*std::move(stream), arrow::schema(std::move(fields)),
                                           in_errors_);
  }

  std::shared_ptr<const PartitionedTable> table_;
  std::string name_;
  std::shared_ptr<arrow::Schema> schema_;
  std::string in_errors_;
};

}  // namespace

std::shared_ptr<PartitionedTable> PartitionedTable::Of(std::shared_ptr<arrow::Table> table,
                                                       std::string name) {
  return std::make_shared<TableInMemory>(std::move(table), std::move(name));
}

std::shared_ptr<PartitionedTable> PartitionedTable::Renamed(
    std::shared_ptr<const PartitionedTable> table, std::string name,
    std::shared_ptr<arrow::Schema> schema, std::string in_errors) {
  GNOMON_CHECK(schema->num_fields() == table->schema()->num_fields(), name);
  return std::make_shared<RenamedTable>(std::move(table), std::move(name), std::move(schema),
                                        std::move(in_errors));
}

}  // namespace gnomon::table
