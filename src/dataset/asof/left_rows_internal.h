#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "table/partitioned_table.h"

namespace gnomon::dataset::internal {

/// The left table's whole rows, in order, for the output. Where they are few and the budget allows
/// it, the reading of keys and times keeps them; otherwise they are read a second time. Not
/// thread-safe.
class LeftRows {
 public:
  /// `most_rows` of a batch that is read again. The table outlives this.
  LeftRows(const Context& context, const table::PartitionedTable& table, int64_t most_rows);

  /// Should whole rows be read and kept? Decided by what the files say about their size.
  bool keeps() const { return keeps_; }
  /// The next rows of the first reading, with all columns. Drops all that were kept, and keeps no
  /// more, when they grow larger than the files said or the budget refuses.
  Status Keep(std::shared_ptr<arrow::RecordBatch> batch);

  /// The next rows, at least one; null at the end. `num_rows` are those of the table.
  Result<std::shared_ptr<arrow::RecordBatch>> Next(int64_t num_rows);

 private:
  Status ReserveForReading(int64_t num_rows);

  Context context_;
  const table::PartitionedTable& table_;
  const int64_t most_rows_;
  std::vector<int> columns_;  ///< all
  bool keeps_ = false;
  std::vector<std::shared_ptr<arrow::RecordBatch>> kept_;
  size_t next_ = 0;  ///< of the kept ones
  MemoryReservation memory_;
  int64_t batch_rows_ = 0;  ///< 0: not known yet
  int64_t partition_ = -1;
  std::unique_ptr<table::PartitionStream> stream_;
};

}  // namespace gnomon::dataset::internal
