#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "table/partitioned_table.h"

namespace gnomon::table {

/// Another table under its own name: tests derive from it to see how a table is read.
class ForwardingTable : public PartitionedTable {
 public:
  explicit ForwardingTable(std::shared_ptr<const PartitionedTable> table)
      : table_(std::move(table)) {}
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
  bool LiesOutside(int64_t partition, int time_column, const TimeRange& range) const override {
    return table_->LiesOutside(partition, time_column, range);
  }
  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    return table_->Scan(context, partition, columns, batch_rows);
  }
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    return table_->Gather(context, partition, columns, rows);
  }

 private:
  const std::shared_ptr<const PartitionedTable> table_;
};

}  // namespace gnomon::table
