#include <algorithm>
#include <numeric>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>
#include <arrow/util/checked_cast.h>

#include "base/clock.h"
#include "base/parallel.h"
#include "dataset/operators/operator_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

Result<BatchPtr> Operator::Next() {
  const double start = MonotonicSeconds();
  Result<BatchPtr> result = BatchPtr();
  while (!ended_) {
    Status status = context().Check();
    result = status.ok() ? Pull() : Result<BatchPtr>(std::move(status));
    if (result.ok() && *result != nullptr && (*result)->num_rows() == 0) continue;
    ended_ = !result.ok() || *result == nullptr;
    break;
  }
  stats_->seconds += MonotonicSeconds() - start;
  if (result.ok() && *result != nullptr) {
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(**result));
    stats_->rows += (*result)->num_rows();
    stats_->bytes += bytes;
    ++stats_->batches;
  }
  return result;
}

Result<int64_t> BatchBytes(const arrow::RecordBatch& batch) {
  return arrow::util::ReferencedBufferSize(batch);
}

Result<BatchPtr> GatherRows(const Context& context, const SchemaPtr& schema,
                            std::span<const BatchPtr> batches, std::span<const int64_t> indices) {
  arrow::ArrayVector columns(static_cast<size_t>(schema->num_fields()));
  const auto gather = [&](int64_t i) -> Status {
    arrow::ArrayVector chunks;
    for (const BatchPtr& batch : batches) chunks.push_back(batch->column(static_cast<int>(i)));
    const arrow::ChunkedArray column(std::move(chunks), schema->field(static_cast<int>(i))->type());
    GNOMON_ASSIGN_OR_RETURN(columns[static_cast<size_t>(i)], table::Gather(column, indices));
    return Status::OK();
  };
  constexpr size_t kFewRows = 4096;
  if (indices.size() < kFewRows) {
    for (int i = 0; i < schema->num_fields(); ++i) GNOMON_RETURN_NOT_OK(gather(i));
  } else {
    GNOMON_RETURN_NOT_OK(ParallelFor(context, schema->num_fields(), gather));
  }
  return arrow::RecordBatch::Make(schema, static_cast<int64_t>(indices.size()), std::move(columns));
}

Result<BatchPtr> GatherRows(const Context& context, const BatchPtr& batch,
                            std::span<const int64_t> indices) {
  return GatherRows(context, batch->schema(), std::span(&batch, 1), indices);
}

Result<BatchPtr> ConcatenateBatches(const std::vector<BatchPtr>& batches) {
  if (batches.size() == 1) return batches[0];
  const auto& schema = batches[0]->schema();
  int64_t rows = 0;
  for (const BatchPtr& batch : batches) rows += batch->num_rows();
  arrow::ArrayVector columns;
  for (int i = 0; i < schema->num_fields(); ++i) {
    arrow::ArrayVector pieces;
    for (const BatchPtr& batch : batches) pieces.push_back(batch->column(i));
    GNOMON_ASSIGN_OR_RETURN(auto column, arrow::Concatenate(pieces));
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(schema, rows, std::move(columns));
}

Result<BatchPtr> WithInt64Column(const arrow::RecordBatch& batch, const std::string& name,
                                 std::vector<int64_t> values) {
  auto column = std::make_shared<arrow::Int64Array>(batch.num_rows(),
                                                    arrow::Buffer::FromVector(std::move(values)));
  return batch.AddColumn(batch.num_columns(), arrow::field(name, arrow::int64(), false),
                         std::move(column));
}

std::vector<int64_t> Positions(int64_t first, int64_t count) {
  std::vector<int64_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

std::span<const int64_t> Int64Column(const arrow::RecordBatch& batch, int column) {
  const auto& array =
      arrow::internal::checked_cast<const arrow::Int64Array&>(*batch.column(column));
  return {array.raw_values(), static_cast<size_t>(array.length())};
}

Result<BatchPtr> MemorySource::Next() {
  if (next_ == batches_.size()) return nullptr;
  return std::move(batches_[next_++]);
}

Result<BatchPtr> Rebatcher::Next() {
  while (!ended_ && pending_rows_ < rows_) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, input_->Next());
    ended_ = batch == nullptr;
    if (ended_) break;
    pending_rows_ += batch->num_rows();
    pending_.push_back(std::move(batch));
  }
  if (pending_rows_ == 0) return nullptr;
  std::vector<BatchPtr> taken;
  for (int64_t wanted = std::min(rows_, pending_rows_); wanted > 0;) {
    BatchPtr& front = pending_.front();
    const int64_t rows = std::min(wanted, front->num_rows());
    taken.push_back(rows == front->num_rows() ? front : front->Slice(0, rows));
    if (rows == front->num_rows()) {
      pending_.erase(pending_.begin());
    } else {
      front = front->Slice(rows);
    }
    wanted -= rows;
    pending_rows_ -= rows;
  }
  return ConcatenateBatches(taken);
}

}  // namespace gnomon::dataset::internal
