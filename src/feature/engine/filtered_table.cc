#include "feature/engine/filtered_table.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include "feature/engine/derived_columns.h"

namespace gnomon::feature {
namespace {

using table::PartitionedTable;
using table::PartitionStream;

/// `times` with nulls everywhere but in `kept`.
Result<std::shared_ptr<arrow::Array>> KeepTimes(const std::shared_ptr<arrow::Array>& times,
                                                const std::vector<int64_t>& kept) {
  const arrow::ArrayData& data = *times->data();
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> validity,
                          arrow::AllocateEmptyBitmap(data.offset + data.length));
  int64_t null_count = data.length;
  for (const int64_t row : kept) {
    if (times->IsNull(row)) continue;
    arrow::bit_util::SetBit(validity->mutable_data(), data.offset + row);
    --null_count;
  }
  auto filtered = data.Copy();
  filtered->buffers[0] = std::move(validity);
  filtered->null_count = null_count;
  return arrow::MakeArray(std::move(filtered));
}

class FilteredStream : public PartitionStream {
 public:
  FilteredStream(std::unique_ptr<PartitionStream> stream, expr::BoundExpression filter,
                 int num_columns, int time_place, int64_t first_row)
      : stream_(std::move(stream)),
        filter_(std::move(filter)),
        num_columns_(num_columns),
        time_place_(time_place),
        row_(first_row) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, stream_->Next());
    if (batch == nullptr) return nullptr;
    const auto kept = filter_.Select(*batch);
    if (!kept.ok()) return WithRowMoved(kept.status(), row_);
    row_ += batch->num_rows();
    arrow::FieldVector fields = batch->schema()->fields();
    arrow::ArrayVector columns = batch->columns();
    const auto place = static_cast<size_t>(time_place_);
    GNOMON_ASSIGN_OR_RETURN(columns[place], KeepTimes(columns[place], *kept));
    fields[place] = fields[place]->WithNullable(true);
    fields.resize(static_cast<size_t>(num_columns_));
    columns.resize(static_cast<size_t>(num_columns_));
    return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), batch->num_rows(),
                                    std::move(columns));
  }

 private:
  std::unique_ptr<PartitionStream> stream_;
  expr::BoundExpression filter_;
  int num_columns_;  ///< that were asked for; behind them those of the filter
  int time_place_;
  int64_t row_;  ///< of the table, where partitions know their rows
};

class FilteredTable : public PartitionedTable {
 public:
  explicit FilteredTable(const ViewSource& source)
      : table_(source.table()),
        filter_(*source.filter()),
        filter_columns_(source.filter_columns()),
        time_column_(source.time()) {}

  const std::string& name() const override { return table_->name(); }
  const std::shared_ptr<arrow::Schema>& schema() const override { return table_->schema(); }
  int64_t num_partitions() const override { return table_->num_partitions(); }
  int64_t num_rows(int64_t partition) const override { return table_->num_rows(partition); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    return table_->NumBytes(partition, columns);
  }
  bool reads_columns_apart(int64_t partition) const override {
    return table_->reads_columns_apart(partition);
  }
  bool LiesOutside(int64_t partition, int time_column,
                   const table::TimeRange& range) const override {
    return table_->LiesOutside(partition, time_column, range);
  }
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    return table_->Gather(context, partition, columns, rows);
  }

  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    const auto time = std::ranges::find(columns, time_column_);
    if (time == columns.end()) return table_->Scan(context, partition, columns, batch_rows);
    std::vector<int> wanted = columns;
    for (const int column : filter_columns_) {
      if (std::ranges::find(wanted, column) == wanted.end()) wanted.push_back(column);
    }
    GNOMON_ASSIGN_OR_RETURN(auto stream, table_->Scan(context, partition, wanted, batch_rows));
    return std::make_unique<FilteredStream>(
        std::move(stream), filter_, static_cast<int>(columns.size()),
        static_cast<int>(time - columns.begin()), FirstRowOf(*table_, partition));
  }

 private:
  std::shared_ptr<const PartitionedTable> table_;
  expr::BoundExpression filter_;
  std::vector<int> filter_columns_;
  int time_column_;
};

}  // namespace

std::shared_ptr<const PartitionedTable> FilterRows(const ViewSource& source) {
  if (source.filter() == nullptr) return source.table();
  return std::make_shared<FilteredTable>(source);
}

}  // namespace gnomon::feature
