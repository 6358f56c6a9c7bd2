#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "base/mutex.h"
#include "runtime/spill_file.h"

namespace gnomon::feature {

/// Rows of one schema cut up into partitions. Batches stay in memory while half of the budget stays
/// free for what is done with them, and go to one unnamed file when it does not. Add is
/// thread-safe; afterwards one thread takes partition after partition.
class RowPartitions {
 public:
  /// An empty `spill_folder` is runtime::DefaultSpillFolder().
  RowPartitions(const Context& context, std::shared_ptr<arrow::Schema> schema,
                int32_t num_partitions, std::string spill_folder);

  /// `position` orders batches, in whatever order they come. Rows with a negative partition are
  /// left out.
  Status Add(int64_t position, arrow::ArrayVector columns,
             std::span<const int32_t> partition_of_row);
  /// Of one partition only: all rows of a batch.
  Status AddBatch(int64_t position, const arrow::RecordBatch& batch);
  /// No more rows come.
  Status Finish();

  int32_t num_partitions() const { return num_partitions_; }
  int64_t num_rows(int32_t partition) const;
  /// Bytes in the file.
  int64_t spilled_bytes() const { return file_ ? file_->bytes() : 0; }

  /// The rows of a partition in the order of the positions, as one batch whose memory is taken from
  /// the budget: kExhausted when it refuses. Each partition may be taken once.
  Result<std::shared_ptr<arrow::RecordBatch>> Take(int32_t partition, MemoryReservation* memory);

  /// A column of a partition in the pieces that it lies in, in the order of the positions, instead
  /// of Take: nothing is copied, pieces stay in memory or in the mapped file as long as this.
  arrow::ArrayVector Pieces(int32_t partition, int column) const;

  /// Of one partition only, instead of Take: its rows as the batches that were added (those without
  /// rows are none), in the order of the positions. Each may be taken once.
  int64_t num_batches() const { return static_cast<int64_t>(chunks_.size()); }
  std::shared_ptr<arrow::RecordBatch> TakeBatch(int64_t number, MemoryReservation* memory);
  /// All of them as a table, part of which may lie in the mapped file.
  Result<std::shared_ptr<arrow::Table>> TakeTable(MemoryReservation* memory);

 private:
  struct Chunk {
    int64_t position = 0;
    arrow::ArrayVector columns;    ///< ordered by partition
    std::vector<int64_t> offsets;  ///< of each partition, and the end
    int64_t place = -1;            ///< of its batch in the file; -1: in memory
  };

  Result<Chunk> MakeChunk(int64_t position, arrow::ArrayVector columns,
                          std::span<const int32_t> partition_of_row) const;
  Status Keep(Chunk chunk);
  bool TakeSpare(int64_t bytes);

  const Context context_;
  const std::shared_ptr<arrow::Schema> schema_;
  const int32_t num_partitions_;
  const std::string spill_folder_;
  Mutex mutex_;
  // Guarded by mutex_ until Finish.
  std::vector<Chunk> chunks_;
  MemoryReservation memory_;  // of the chunks in memory
  std::optional<runtime::SpillFile> file_;
  int64_t spilled_batches_ = 0;
};

}  // namespace gnomon::feature
