#include <algorithm>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "dataset/asof/late_gather_internal.h"
#include "dataset/asof/left_rows_internal.h"
#include "dataset/asof/memory_internal.h"

namespace gnomon::dataset::internal {

namespace {

/// More is read again rather than held through the matching.
constexpr int64_t kMostKeptBytes = int64_t{64} << 20;

/// Do the files say that all columns together are small?
bool IsSmall(const table::PartitionedTable& table, const std::vector<int>& columns) {
  int64_t bytes = 0;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    const int64_t more = table.NumBytes(partition, columns);
    if (more < 0) return false;
    bytes += more;
    if (bytes > kMostKeptBytes) return false;
  }
  return true;
}

}  // namespace

LeftRows::LeftRows(const Context& context, const table::PartitionedTable& table, int64_t most_rows)
    : context_(context), table_(table), most_rows_(most_rows), memory_(context.memory) {
  for (int i = 0; i < table.schema()->num_fields(); ++i) columns_.push_back(i);
  keeps_ = IsSmall(table, columns_);
}

Status LeftRows::Keep(std::shared_ptr<arrow::RecordBatch> batch) {
  if (batch->num_rows() == 0) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  const bool fits = memory_.bytes() + bytes <= kMostKeptBytes;
  if (keeps_ && fits && TryGrowSpare(context_, bytes, &memory_)) {
    kept_.push_back(std::move(batch));
    return Status::OK();
  }
  keeps_ = false;
  kept_.clear();
  memory_.Clear();
  return Status::OK();
}

/// Rows that are decoded together: a whole block where memory is plenty.
Status LeftRows::ReserveForReading(int64_t num_rows) {
  int64_t row_bytes = 0;
  for (const auto& field : table_.schema()->fields()) row_bytes += ValueBytes(*field->type());
  // What the output still holds of the batch before is counted, too.
  row_bytes = 2 * std::max<int64_t>(1, row_bytes);
  const int64_t fitting = AvailableBytes(context_) / (8 * row_bytes);
  batch_rows_ = std::clamp<int64_t>(fitting, 1024, std::max<int64_t>(1024, most_rows_));
  return memory_.Grow(std::min(batch_rows_, num_rows) * row_bytes);
}

Result<std::shared_ptr<arrow::RecordBatch>> LeftRows::Next(int64_t num_rows) {
  if (keeps_) {
    if (next_ == kept_.size()) return nullptr;
    return std::move(kept_[next_++]);
  }
  if (batch_rows_ == 0) GNOMON_RETURN_NOT_OK(ReserveForReading(num_rows));
  while (true) {
    if (stream_ == nullptr) {
      if (++partition_ >= table_.num_partitions()) return nullptr;
      GNOMON_ASSIGN_OR_RETURN(stream_, table_.Scan(context_, partition_, columns_, batch_rows_));
    }
    GNOMON_ASSIGN_OR_RETURN(auto batch, stream_->Next());
    if (batch != nullptr && batch->num_rows() > 0) return batch;
    if (batch == nullptr) stream_.reset();
  }
}

}  // namespace gnomon::dataset::internal
