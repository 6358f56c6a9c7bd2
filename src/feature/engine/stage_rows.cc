#include "feature/engine/stage_rows.h"

#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory_reservation.h"
#include "feature/engine/stage_retrieval.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kBatchRows = int64_t{64} * 1024;

/// Rows that are in memory, and counted as long as they are.
class CountedRows : public HistoricalRows {
 public:
  CountedRows(std::unique_ptr<HistoricalRows> rows, MemoryReservation memory)
      : memory_(std::move(memory)), rows_(std::move(rows)) {}
  const std::shared_ptr<arrow::Schema>& schema() const override { return rows_->schema(); }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return rows_->Next(); }
  const RetrievalStats& stats() const override { return rows_->stats(); }

 private:
  const MemoryReservation memory_;
  const std::unique_ptr<HistoricalRows> rows_;
};

}  // namespace

Result<std::unique_ptr<HistoricalRows>> OpenInProcesses(const Context& context,
                                                        const FeaturePlan& plan,
                                                        const OfflineStore& store,
                                                        const table::PartitionedTable& entity_rows,
                                                        const RetrievalOptions& options) {
  MemoryReservation memory(context.memory);
  std::vector<int> columns(static_cast<size_t>(entity_rows.schema()->num_fields()));
  for (size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<int>(i);
  arrow::RecordBatchVector batches;
  for (int64_t partition = 0; partition < entity_rows.num_partitions(); ++partition) {
    GNOMON_ASSIGN_OR_RETURN(const auto stream,
                            entity_rows.Scan(context, partition, columns, kBatchRows));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, stream->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
      GNOMON_RETURN_NOT_OK(
          WithHint(WithContext(memory.Grow(bytes), "entity rows"),
                   "isolation: process keeps the entity rows in memory; isolation: thread does "
                   "not"));
      batches.push_back(std::move(batch));
    }
  }
  GNOMON_ASSIGN_OR_RETURN(auto table,
                          arrow::Table::FromRecordBatches(entity_rows.schema(), batches));
  RetrievalStats stats;
  MemoryReservation of_rows(context.memory);
  GNOMON_ASSIGN_OR_RETURN(auto rows, RetrieveInProcesses(context, plan, store, std::move(table),
                                                         options, &stats, &of_rows));
  return std::make_unique<CountedRows>(RowsOfTable(std::move(rows), std::move(stats)),
                                       std::move(of_rows));
}

Result<std::unique_ptr<HistoricalRows>> OpenRangeInProcesses(const Context& context,
                                                             const FeaturePlan& plan,
                                                             const OfflineStore& store,
                                                             int64_t start, int64_t end,
                                                             const RetrievalOptions& options) {
  RetrievalStats stats;
  MemoryReservation of_rows(context.memory);
  GNOMON_ASSIGN_OR_RETURN(auto rows, RetrieveRangeInProcesses(context, plan, store, start, end,
                                                              options, &stats, &of_rows));
  return std::make_unique<CountedRows>(RowsOfTable(std::move(rows), std::move(stats)),
                                       std::move(of_rows));
}

}  // namespace gnomon::feature
