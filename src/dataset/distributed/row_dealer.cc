#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/distributed/block_source_internal.h"
#include "dataset/distributed/row_dealer_internal.h"
#include "dataset/distributed/row_place_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/partition_hash.h"
#include "dataset/range_partition.h"

namespace gnomon::dataset::internal {

namespace {

class HashDealer : public RowDealer {
 public:
  HashDealer(const proto::StageHash& hash, int num_partitions)
      : shuffle_{.num_partitions = num_partitions,
                 .keys = {hash.keys().begin(), hash.keys().end()}} {}

  Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) override {
    return PartitionOfRows(rows, shuffle_, 0);
  }

 private:
  const RepartitionSpec shuffle_;
};

class OrderDealer : public RowDealer {
 public:
  OrderDealer(const std::string& column, int num_partitions)
      : column_(column), last_(num_partitions - 1) {}

  Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) override {
    const auto column = rows.GetColumnByName(column_);
    if (column == nullptr || column->type_id() != arrow::Type::INT64) {
      return Error(ErrorKind::kInternal, "rows without their order: ", column_);
    }
    const auto& positions = static_cast<const arrow::Int64Array&>(*column);
    std::vector<int32_t> partitions(static_cast<size_t>(rows.num_rows()));
    for (size_t row = 0; row < partitions.size(); ++row) {
      // What stands behind every position is the last partition's.
      const int64_t from = positions.Value(static_cast<int64_t>(row)) >> kRowBits;
      partitions[row] = static_cast<int32_t>(std::clamp<int64_t>(from, 0, last_));
    }
    return partitions;
  }

 private:
  const std::string column_;
  const int64_t last_;
};

class RoundRobinDealer : public RowDealer {
 public:
  RoundRobinDealer(const RowPlace& place, int num_partitions)
      : shuffle_{.num_partitions = num_partitions}, row_(place.first_row) {}

  Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) override {
    const int64_t first = std::exchange(row_, row_ + rows.num_rows());
    return PartitionOfRows(rows, shuffle_, first);
  }

 private:
  const RepartitionSpec shuffle_;
  int64_t row_;
};

class RunDealer : public RowDealer {
 public:
  RunDealer(const RowPlace& place, int64_t run_rows, int num_partitions)
      : runs_(place.total_rows, run_rows, num_partitions), row_(place.first_row) {}

  Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) override {
    std::vector<int32_t> partitions(static_cast<size_t>(rows.num_rows()));
    for (int32_t& partition : partitions) {
      partition = static_cast<int32_t>(runs_.PartitionOf(row_++));
    }
    return partitions;
  }

 private:
  const RowRuns runs_;
  int64_t row_;
};

class RangeDealer : public RowDealer {
 public:
  explicit RangeDealer(RangePartition ranges) : ranges_(std::move(ranges)) {}
  Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) override {
    return ranges_.RangesOf(rows);
  }

 private:
  const RangePartition ranges_;
};

Result<std::unique_ptr<RowDealer>> MakeRangeDealer(const runtime::TaskContext& task,
                                                   const proto::StageRanges& ranges) {
  std::vector<SortKey> keys;
  for (const auto& key : ranges.keys()) {
    keys.push_back({key.column(), key.descending(), key.nulls_first()});
  }
  // One task chose the boundaries and gave one batch at most.
  GNOMON_ASSIGN_OR_RETURN(const auto reader, task.OpenInput(static_cast<size_t>(ranges.edge())));
  if (reader == nullptr) return Error(ErrorKind::kInternal, "ranges without boundaries");
  std::shared_ptr<arrow::RecordBatch> boundaries;
  GNOMON_RETURN_NOT_OK(reader->ReadNext(&boundaries));
  if (boundaries == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(boundaries, arrow::RecordBatch::MakeEmpty(reader->schema()));
  }
  GNOMON_ASSIGN_OR_RETURN(auto partition, RangePartition::Make(std::move(keys), *boundaries));
  return std::make_unique<RangeDealer>(std::move(partition));
}

}  // namespace

Result<std::unique_ptr<RowDealer>> MakeRowDealer(const runtime::TaskContext& task,
                                                 const proto::StageFragment& fragment) {
  const proto::StageDeal& deal = fragment.deal();
  const int num_partitions = fragment.num_partitions();
  switch (deal.how_case()) {
    case proto::StageDeal::kHash:
      return std::make_unique<HashDealer>(deal.hash(), num_partitions);
    case proto::StageDeal::kOrder:
      return std::make_unique<OrderDealer>(deal.order().column(), num_partitions);
    case proto::StageDeal::kRow: {
      GNOMON_ASSIGN_OR_RETURN(const RowPlace place, PlaceOf(task, fragment.counts()));
      if (deal.row().run_rows() == 0)
        return std::make_unique<RoundRobinDealer>(place, num_partitions);
      return std::make_unique<RunDealer>(place, deal.row().run_rows(), num_partitions);
    }
    case proto::StageDeal::kRanges:
      return MakeRangeDealer(task, deal.ranges());
    case proto::StageDeal::HOW_NOT_SET:
      break;
  }
  return nullptr;
}

}  // namespace gnomon::dataset::internal
