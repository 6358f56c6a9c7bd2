#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataset/key_encoding_internal.h"
#include "dataset/operators/spill_internal.h"

/// Sorting and merging of rows by encoded keys, ties by input position.
namespace gnomon::dataset::internal {

/// Merges sorted sources; of equal keys those of the earlier source come first. Holds a batch of
/// each source and one for the output.
class RunMerger : public BatchSource {
 public:
  RunMerger(const Environment& environment, SchemaPtr schema, KeyEncoder encoder,
            std::vector<std::unique_ptr<BatchSource>> sources, int64_t output_rows);
  ~RunMerger() override;
  Result<BatchPtr> Next() override;

 private:
  struct Cursor;
  Status Load(Cursor* cursor);
  Status Advance(Cursor* cursor);
  Status EncodeKeys(Cursor* cursor);
  bool IsBefore(const Cursor& left, const Cursor& right) const;
  void SiftDown(size_t place);

  const Environment& environment_;
  const SchemaPtr schema_;
  const KeyEncoder encoder_;
  const int64_t output_rows_;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  std::vector<Cursor*> heap_;
  bool opened_ = false;
  /// Batches that the output being made refers to, and where each begins in them.
  std::vector<BatchPtr> blocks_;
  int64_t block_rows_ = 0;
};

/// Sorted runs of one sorter, in input order. More than 32 of a level are merged into one of the
/// next, so that there are never many files.
class RunStack {
 public:
  RunStack(const Environment& environment, SchemaPtr schema, KeyEncoder encoder,
           OperatorStats* stats)
      : environment_(environment),
        schema_(std::move(schema)),
        encoder_(std::move(encoder)),
        stats_(stats) {}

  /// Writes the batches of `sorted` as the next run.
  Status Add(BatchSource* sorted);
  bool empty() const { return levels_.empty(); }
  /// All runs, and `last` (may be null) behind them, merged. The stack outlives the source.
  Result<std::unique_ptr<BatchSource>> Merge(std::unique_ptr<BatchSource> last);

 private:
  using Runs = std::vector<std::unique_ptr<SpilledRun>>;
  Result<std::unique_ptr<SpilledRun>> Write(BatchSource* sorted);
  static Status Open(const Runs& runs, std::vector<std::unique_ptr<BatchSource>>* sources);

  const Environment& environment_;
  const SchemaPtr schema_;
  const KeyEncoder encoder_;
  OperatorStats* const stats_;
  std::vector<Runs> levels_;  ///< higher levels hold earlier rows
};

/// Sorts more rows than memory holds: sorts what memory is granted for, puts it aside as a run, and
/// merges the runs. With a limit only that many rows of each run are kept.
class ExternalSorter {
 public:
  ExternalSorter(const Environment& environment, SchemaPtr schema, KeyEncoder encoder,
                 std::optional<int64_t> limit, OperatorStats* stats);
  Status Add(const BatchPtr& batch);
  /// The rows in order; the sorter outlives the source. The limit is not applied to the whole.
  Result<std::unique_ptr<BatchSource>> Finish();

 private:
  struct Entry;
  struct SortedRows;
  Result<std::unique_ptr<BatchSource>> TakeSorted();
  Result<std::vector<Entry>> SortEntries() const;
  Status SpillBuffer();
  Status KeepFirst();

  const Environment& environment_;
  const SchemaPtr schema_;
  const KeyEncoder encoder_;
  const std::optional<int64_t> limit_;
  OperatorStats* const stats_;
  MemoryReservation reservation_;
  RunStack runs_;
  std::vector<BatchPtr> batches_;
  std::vector<EncodedKeys> keys_;
  int64_t rows_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace gnomon::dataset::internal
