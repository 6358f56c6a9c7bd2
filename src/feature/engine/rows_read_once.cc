#include "feature/engine/rows_read_once.h"

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/memory_reservation.h"
#include "feature/engine/row_partitions.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kBatchRows = int64_t{64} * 1024;

struct KeptRows {
  MemoryReservation memory;
  std::shared_ptr<table::PartitionedTable> table;
};

}  // namespace

Result<std::shared_ptr<const table::PartitionedTable>> ReadOnce(
    const Context& context, const table::PartitionedTable& table) {
  std::vector<int> columns(static_cast<size_t>(table.schema()->num_fields()));
  std::iota(columns.begin(), columns.end(), 0);
  RowPartitions rows(context, table.schema(), 1, std::string());
  int64_t position = 0;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    GNOMON_ASSIGN_OR_RETURN(const auto stream, table.Scan(context, partition, columns, kBatchRows));
    while (true) {
      GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_ASSIGN_OR_RETURN(const auto batch, stream->Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(rows.AddBatch(position++, *batch));
    }
  }
  GNOMON_RETURN_NOT_OK(rows.Finish());
  const auto kept = std::make_shared<KeptRows>();
  kept->memory = MemoryReservation(context.memory);
  GNOMON_ASSIGN_OR_RETURN(auto whole, rows.TakeTable(&kept->memory));
  kept->table = table::PartitionedTable::Of(std::move(whole), table.name());
  return std::shared_ptr<const table::PartitionedTable>(kept, kept->table.get());
}

}  // namespace gnomon::feature
