#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataset/key_encoding_internal.h"
#include "dataset/operators/operator_internal.h"
#include "runtime/spill_file.h"

/// Rows put aside in unnamed files.
namespace gnomon::dataset::internal {

/// A run of batches in a file of its own. Written, then read as often as wanted.
class SpilledRun {
 public:
  /// Names the folder and its setting when the file cannot be made. Counts in `stats`, which
  /// outlives it.
  static Result<std::unique_ptr<SpilledRun>> Create(const Environment& environment,
                                                    const SchemaPtr& schema, OperatorStats* stats);
  Status Write(const arrow::RecordBatch& batch);
  /// Lets go of what writing needs.
  Status EndWriting();
  /// From the first batch on. Batches lie in the mapped file.
  Result<std::unique_ptr<BatchSource>> Read();
  int64_t rows() const { return file_.rows(); }

 private:
  SpilledRun(runtime::SpillFile file, std::string folder, OperatorStats* stats)
      : file_(std::move(file)), folder_(std::move(folder)), stats_(stats) {}
  Status Explained(const Status& status) const;

  runtime::SpillFile file_;
  const std::string folder_;
  OperatorStats* const stats_;
  bool counted_ = false;
};

/// Rows per batch of a run, so that a batch is some 256 KiB: what merging holds of each run.
int64_t SpillBatchRows(const Environment& environment, int64_t bytes, int64_t rows);

/// Deals rows out to partitions, each in input order. Partitions are kept in memory as far as it is
/// granted, then in one run each; at most 4 KiB of each beyond that, and what SpillFile needs.
class PartitionWriter {
 public:
  PartitionWriter(const Environment& environment, SchemaPtr schema, int num_partitions,
                  OperatorStats* stats);

  /// partition_of[i]: of row i; negative: the row is left out.
  Status Add(const BatchPtr& batch, std::span<const int32_t> partition_of);
  /// All rows of `input` by the hash of their keys, which is another one at every level; then
  /// FlushAll. Rows with a null in the key meet nothing: any partition will do, or they are left
  /// out.
  Status AddAll(BatchSource* input, const KeyEncoder& keys, bool null_keys, int level);
  /// Once, when all rows were added: moves what is in memory to files, so that its memory is there
  /// for reading one partition.
  Status FlushAll();
  int num_partitions() const { return static_cast<int>(partitions_.size()); }
  int64_t rows(int partition) const;
  /// Anew from its first row on. Not before all rows were added.
  Result<std::unique_ptr<BatchSource>> Read(int partition);
  /// Gives back the partition's memory and file.
  void Drop(int partition);

 private:
  struct Partition {
    std::vector<BatchPtr> pieces;
    int64_t bytes = 0;     ///< of pieces
    int64_t reserved = 0;  ///< of them
    int64_t rows = 0;
    std::unique_ptr<SpilledRun> run;
  };
  Status AddPiece(Partition* partition, BatchPtr piece);
  Status Flush(Partition* partition);

  const Environment& environment_;
  const SchemaPtr schema_;
  OperatorStats* const stats_;
  MemoryReservation reservation_;
  std::vector<Partition> partitions_;
};

/// Fills what takes batches by TryAdd until memory refuses one or `input` ends. `waiting` is what
/// came first and goes in first, then what did not go in.
template <typename BatchSet>
Status Fill(BatchSource* input, BatchSet* set, BatchPtr* waiting) {
  while (true) {
    if (*waiting == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(*waiting, input->Next());
    }
    if (*waiting == nullptr) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const bool added, set->TryAdd(*waiting));
    if (!added) return Status::OK();
    waiting->reset();
  }
}

}  // namespace gnomon::dataset::internal
