#include "feature/engine/row_partitions.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

int64_t BytesOf(const arrow::Array& column) {
  return arrow::util::ReferencedBufferSize(column).ValueOr(0);
}

}  // namespace

RowPartitions::RowPartitions(const Context& context, std::shared_ptr<arrow::Schema> schema,
                             int32_t num_partitions, std::string spill_folder)
    : context_(context),
      schema_(std::move(schema)),
      num_partitions_(num_partitions),
      spill_folder_(std::move(spill_folder)),
      memory_(context.memory) {}

Result<RowPartitions::Chunk> RowPartitions::MakeChunk(
    int64_t position, arrow::ArrayVector columns, std::span<const int32_t> partition_of_row) const {
  Chunk chunk{.position = position, .columns = std::move(columns), .offsets = {}};
  std::vector<int64_t>& offsets = chunk.offsets;
  offsets.assign(static_cast<size_t>(num_partitions_) + 1, 0);
  for (const int32_t partition : partition_of_row) {
    if (partition >= 0) ++offsets[static_cast<size_t>(partition) + 1];
  }
  for (size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  const auto num_rows = static_cast<int64_t>(partition_of_row.size());
  if (num_partitions_ == 1 && offsets.back() == num_rows) return chunk;
  std::vector<int64_t> order(static_cast<size_t>(offsets.back()));
  std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
  for (size_t row = 0; row < partition_of_row.size(); ++row) {
    if (partition_of_row[row] < 0) continue;
    const auto place = next[static_cast<size_t>(partition_of_row[row])]++;
    order[static_cast<size_t>(place)] = static_cast<int64_t>(row);
  }
  for (auto& column : chunk.columns) {
    GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), order));
  }
  return chunk;
}

Status RowPartitions::Add(int64_t position, arrow::ArrayVector columns,
                          std::span<const int32_t> partition_of_row) {
  GNOMON_ASSIGN_OR_RETURN(Chunk chunk, MakeChunk(position, std::move(columns), partition_of_row));
  if (chunk.offsets.back() == 0) return Status::OK();
  return Keep(std::move(chunk));
}

Status RowPartitions::AddBatch(int64_t position, const arrow::RecordBatch& batch) {
  const std::vector<int32_t> all(static_cast<size_t>(batch.num_rows()), 0);
  return Add(position, batch.columns(), all);
}

bool RowPartitions::TakeSpare(int64_t bytes) {
  const MemoryBudget* const budget = context_.memory;
  if (budget != nullptr && budget->limit() > 0 &&
      budget->limit() - budget->used() - bytes < budget->limit() / 2)
    return false;
  return memory_.TryGrow(bytes);
}

Status RowPartitions::Keep(Chunk chunk) {
  int64_t bytes = 0;
  for (const auto& column : chunk.columns) bytes += BytesOf(*column);
  const MutexLock lock(mutex_);
  if (!TakeSpare(bytes)) {
    if (!file_) {
      GNOMON_ASSIGN_OR_RETURN(file_, runtime::SpillFile::Create(schema_, spill_folder_));
    }
    GNOMON_RETURN_NOT_OK(file_->Write(
        *arrow::RecordBatch::Make(schema_, chunk.offsets.back(), std::move(chunk.columns))));
    chunk.columns.clear();
    chunk.place = spilled_batches_++;
  }
  chunks_.push_back(std::move(chunk));
  return Status::OK();
}

Status RowPartitions::Finish() {
  if (file_) {
    // The batches lie in the mapped file: pages of the system, not memory of the process.
    GNOMON_ASSIGN_OR_RETURN(const auto reader, file_->Read());
    arrow::RecordBatchVector batches;
    for (int64_t i = 0; i < spilled_batches_; ++i) {
      std::shared_ptr<arrow::RecordBatch> batch;
      GNOMON_RETURN_NOT_OK(reader->ReadNext(&batch));
      if (batch == nullptr) return Error(ErrorKind::kDataLoss, "a spill file became shorter");
      batches.push_back(std::move(batch));
    }
    for (Chunk& chunk : chunks_) {
      if (chunk.place >= 0) chunk.columns = batches[static_cast<size_t>(chunk.place)]->columns();
    }
  }
  std::ranges::sort(chunks_, {}, &Chunk::position);
  return Status::OK();
}

int64_t RowPartitions::num_rows(int32_t partition) const {
  const auto place = static_cast<size_t>(partition);
  int64_t rows = 0;
  for (const Chunk& chunk : chunks_) rows += chunk.offsets[place + 1] - chunk.offsets[place];
  return rows;
}

Result<std::shared_ptr<arrow::RecordBatch>> RowPartitions::Take(int32_t partition,
                                                                MemoryReservation* memory) {
  const auto place = static_cast<size_t>(partition);
  arrow::ArrayVector columns;
  for (int i = 0; i < schema_->num_fields(); ++i) {
    arrow::ArrayVector pieces;
    int64_t bytes = 0;
    int64_t given_back = 0;
    for (Chunk& chunk : chunks_) {
      const int64_t begin = chunk.offsets[place];
      auto& column = chunk.columns[static_cast<size_t>(i)];
      pieces.push_back(column->Slice(begin, chunk.offsets[place + 1] - begin));
      bytes += BytesOf(*pieces.back());
      // The last partition's columns are needed no more once they stand in one piece.
      if (num_partitions_ > 1) continue;
      if (chunk.place < 0) given_back += BytesOf(*column);
      column.reset();
    }
    std::erase_if(pieces, [](const auto& piece) { return piece->length() == 0; });
    GNOMON_RETURN_NOT_OK(memory->Grow(bytes));
    const auto& type = schema_->field(i)->type();
    GNOMON_ASSIGN_OR_RETURN(auto whole,
                            table::SingleChunk(arrow::ChunkedArray(std::move(pieces), type)));
    columns.push_back(std::move(whole));
    memory_.Shrink(given_back);
  }
  return arrow::RecordBatch::Make(schema_, num_rows(partition), std::move(columns));
}

arrow::ArrayVector RowPartitions::Pieces(int32_t partition, int column) const {
  const auto place = static_cast<size_t>(partition);
  arrow::ArrayVector pieces;
  for (const Chunk& chunk : chunks_) {
    const int64_t count = chunk.offsets[place + 1] - chunk.offsets[place];
    if (count == 0) continue;
    pieces.push_back(
        chunk.columns[static_cast<size_t>(column)]->Slice(chunk.offsets[place], count));
  }
  return pieces;
}

std::shared_ptr<arrow::RecordBatch> RowPartitions::TakeBatch(int64_t number,
                                                             MemoryReservation* memory) {
  Chunk& chunk = chunks_[static_cast<size_t>(number)];
  arrow::ArrayVector columns = std::exchange(chunk.columns, {});
  int64_t bytes = 0;
  for (const auto& column : columns) bytes += chunk.place < 0 ? BytesOf(*column) : 0;
  // The reservation changes hands.
  memory_.Shrink(bytes);
  static_cast<void>(memory->TryGrow(bytes));
  return arrow::RecordBatch::Make(schema_, chunk.offsets.back(), std::move(columns));
}

Result<std::shared_ptr<arrow::Table>> RowPartitions::TakeTable(MemoryReservation* memory) {
  arrow::RecordBatchVector batches;
  for (int64_t i = 0; i < num_batches(); ++i) batches.push_back(TakeBatch(i, memory));
  return arrow::Table::FromRecordBatches(schema_, batches);
}

}  // namespace gnomon::feature
