#include <algorithm>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "dataset/operators/spill_internal.h"
#include "runtime/file_descriptor.h"
#include "runtime/stored_bytes.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kSpillBatchBytes = int64_t{256} * 1024;
constexpr int64_t kSmallestPiece = 4096;

class RunSource : public BatchSource {
 public:
  explicit RunSource(std::shared_ptr<arrow::RecordBatchReader> reader)
      : reader_(std::move(reader)) {}
  Result<BatchPtr> Next() override {
    BatchPtr batch;
    GNOMON_RETURN_NOT_OK(reader_->ReadNext(&batch));
    return batch;
  }

 private:
  const std::shared_ptr<arrow::RecordBatchReader> reader_;
};

/// One source after the other.
class ChainedSource : public BatchSource {
 public:
  ChainedSource(std::unique_ptr<BatchSource> first, std::unique_ptr<BatchSource> second)
      : first_(std::move(first)), second_(std::move(second)) {}
  Result<BatchPtr> Next() override {
    if (first_ != nullptr) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, first_->Next());
      if (batch != nullptr) return batch;
      first_.reset();
    }
    return second_->Next();
  }

 private:
  std::unique_ptr<BatchSource> first_;
  const std::unique_ptr<BatchSource> second_;
};

Status ExplainSpill(const Status& status, const std::string& folder) {
  if (status.ok()) return status;
  const Status named = status.message().find(folder) == std::string::npos
                           ? WithContext(status, Concat("spill folder ", folder))
                           : status;
  return WithHint(named,
                  "memory did not hold the rows: set spill_folder to a folder with room, or a "
                  "higher memory_limit");
}

}  // namespace

Result<std::unique_ptr<SpilledRun>> SpilledRun::Create(const Environment& environment,
                                                       const SchemaPtr& schema,
                                                       OperatorStats* stats) {
  const std::string& set = environment.options.spill_folder;
  const std::string folder = set.empty() ? runtime::DefaultSpillFolder() : set;
  // A shard, partition or run is a file each, and there are many of them on many threads.
  runtime::RaiseOpenFileLimit();
  auto file = runtime::SpillFile::Create(schema, folder);
  GNOMON_RETURN_NOT_OK(ExplainSpill(file.status(), folder));
  ++stats->spill_files;
  return std::unique_ptr<SpilledRun>(new SpilledRun(*std::move(file), folder, stats));
}

Status SpilledRun::Explained(const Status& status) const { return ExplainSpill(status, folder_); }

Status SpilledRun::Write(const arrow::RecordBatch& batch) { return Explained(file_.Write(batch)); }

Status SpilledRun::EndWriting() { return Explained(file_.EndWriting()); }

Result<std::unique_ptr<BatchSource>> SpilledRun::Read() {
  auto reader = file_.Read();
  GNOMON_RETURN_NOT_OK(Explained(reader.status()));
  if (!counted_) stats_->spilled_bytes += file_.bytes();
  counted_ = true;
  return std::make_unique<RunSource>(*std::move(reader));
}

int64_t SpillBatchRows(const Environment& environment, int64_t bytes, int64_t rows) {
  const int64_t row_bytes = std::max<int64_t>(1, bytes / std::max<int64_t>(1, rows));
  return std::clamp<int64_t>(kSpillBatchBytes / row_bytes, 1, environment.options.batch_rows);
}

PartitionWriter::PartitionWriter(const Environment& environment, SchemaPtr schema,
                                 int num_partitions, OperatorStats* stats)
    : environment_(environment),
      schema_(std::move(schema)),
      stats_(stats),
      reservation_(environment.context.memory),
      partitions_(static_cast<size_t>(num_partitions)) {}

Status PartitionWriter::Add(const BatchPtr& batch, std::span<const int32_t> partition_of) {
  std::vector<std::vector<int64_t>> rows(partitions_.size());
  for (size_t row = 0; row < partition_of.size(); ++row) {
    if (partition_of[row] >= 0)
      rows[static_cast<size_t>(partition_of[row])].push_back(static_cast<int64_t>(row));
  }
  for (size_t i = 0; i < partitions_.size(); ++i) {
    if (rows[i].empty()) continue;
    GNOMON_ASSIGN_OR_RETURN(auto piece, GatherRows(environment_.context, batch, rows[i]));
    GNOMON_RETURN_NOT_OK(AddPiece(&partitions_[i], std::move(piece)));
  }
  return Status::OK();
}

Status PartitionWriter::AddAll(BatchSource* input, const KeyEncoder& keys, bool null_keys,
                               int level) {
  while (true) {
    GNOMON_RETURN_NOT_OK(environment_.context.Check());
    GNOMON_ASSIGN_OR_RETURN(const auto batch, input->Next());
    if (batch == nullptr) return FlushAll();
    GNOMON_ASSIGN_OR_RETURN(const auto encoded, keys.Encode(*batch));
    std::vector<int32_t> partition_of(static_cast<size_t>(batch->num_rows()), -1);
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      if (encoded.HasNull(row) && !null_keys) continue;
      const uint64_t hash = HashBytes(encoded[row], static_cast<uint64_t>(level) + 1);
      partition_of[static_cast<size_t>(row)] =
          static_cast<int32_t>((hash >> 32) * partitions_.size() >> 32);
    }
    GNOMON_RETURN_NOT_OK(Add(batch, partition_of));
  }
}

Status PartitionWriter::AddPiece(Partition* partition, BatchPtr piece) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*piece));
  const bool granted = reservation_.TryGrow(bytes);
  partition->rows += piece->num_rows();
  partition->bytes += bytes;
  partition->pieces.push_back(std::move(piece));
  if (granted) {
    partition->reserved += bytes;
    // What has begun to go to a file goes on in batches of a good size.
    if (partition->run == nullptr || partition->bytes < kSpillBatchBytes) return Status::OK();
  }
  return partition->bytes >= kSmallestPiece ? Flush(partition) : Status::OK();
}

Status PartitionWriter::Flush(Partition* partition) {
  if (partition->run == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(partition->run, SpilledRun::Create(environment_, schema_, stats_));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto batch, ConcatenateBatches(partition->pieces));
  const int64_t rows = SpillBatchRows(environment_, partition->bytes, batch->num_rows());
  for (int64_t row = 0; row < batch->num_rows(); row += rows)
    GNOMON_RETURN_NOT_OK(partition->run->Write(*batch->Slice(row, rows)));
  reservation_.Shrink(partition->reserved);
  partition->pieces.clear();
  partition->bytes = 0;
  partition->reserved = 0;
  return Status::OK();
}

Status PartitionWriter::FlushAll() {
  for (Partition& partition : partitions_) {
    if (!partition.pieces.empty()) GNOMON_RETURN_NOT_OK(Flush(&partition));
    if (partition.run != nullptr) GNOMON_RETURN_NOT_OK(partition.run->EndWriting());
  }
  return Status::OK();
}

int64_t PartitionWriter::rows(int partition) const {
  return partitions_[static_cast<size_t>(partition)].rows;
}

Result<std::unique_ptr<BatchSource>> PartitionWriter::Read(int partition) {
  Partition& read = partitions_[static_cast<size_t>(partition)];
  auto memory = std::make_unique<MemorySource>(read.pieces);
  if (read.run == nullptr) return memory;
  GNOMON_ASSIGN_OR_RETURN(auto file, read.run->Read());
  return std::make_unique<ChainedSource>(std::move(file), std::move(memory));
}

void PartitionWriter::Drop(int partition) {
  Partition& dropped = partitions_[static_cast<size_t>(partition)];
  reservation_.Shrink(dropped.reserved);
  dropped = Partition();
}

}  // namespace gnomon::dataset::internal
