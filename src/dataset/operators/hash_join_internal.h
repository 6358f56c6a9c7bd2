#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataset/key_encoding_internal.h"
#include "dataset/operators/key_map_internal.h"
#include "dataset/operators/operator_internal.h"

/// A join of a stream of left rows with right rows that are in memory.
namespace gnomon::dataset::internal {

/// What is joined and how its output is made. With `positions` both inputs have the input position
/// as their last column (int64), and the output ends with that of the left row and of the right
/// row: absent ones are the greatest int64 on the left, -1 on the right.
struct JoinPlan {
  JoinPlan(const Environment& environment, const Plan& plan, bool positions);

  const Environment& environment;
  JoinSpec spec;
  bool positions;
  SchemaPtr left;
  SchemaPtr right;
  SchemaPtr output;
  std::vector<int> left_keys;
  std::vector<int> right_keys;
  /// Columns of the right that are given out, in this order.
  std::vector<int> right_output;
  int num_left_columns;  ///< given out, without the position
};

inline constexpr uint64_t kJoinSeed = 0x6a6f'696e;

/// Right rows and an index from keys to them, rows of a key in input order. Rows with a null key
/// are kept but not found.
class JoinTable {
 public:
  explicit JoinTable(const JoinPlan& plan)
      : plan_(plan), reservation_(plan.environment.context.memory) {}

  /// Adds the batch if memory is granted, or if it is the first. False: it was not added.
  Result<bool> TryAdd(const BatchPtr& batch);
  /// Rows in order of addition, which are let go with the index.
  std::vector<BatchPtr> TakeBatches();

  int64_t num_rows() const { return num_rows_; }
  const std::vector<BatchPtr>& batches() const { return batches_; }
  /// The first row of the key, -1 when there is none, and the next one of the same key.
  int64_t FirstRow(std::string_view key, uint64_t hash) const;
  int64_t NextRow(int64_t row) const { return next_[static_cast<size_t>(row)]; }
  /// The position column of a row. REQUIRES: the plan has positions.
  int64_t PositionOf(int64_t row) const { return positions_[static_cast<size_t>(row)]; }

 private:
  const JoinPlan& plan_;
  MemoryReservation reservation_;
  std::vector<BatchPtr> batches_;
  int64_t num_rows_ = 0;
  KeyMap keys_;
  std::vector<int64_t> head_;
  std::vector<int64_t> tail_;
  std::vector<int64_t> next_;
  std::vector<int64_t> positions_;
};

/// Joins left batches with a table: output in order of left row, then right row; at the end, for a
/// full join, the right rows that no left row met. When the right side comes in several tables,
/// each gets all left rows: `is_last` says that left rows without a match so far have none, and
/// `matched` remembers them from table to table.
class JoinProbe : public BatchSource {
 public:
  /// `left`, `table` and `matched` (may be null when there is one table) outlive the probe.
  JoinProbe(const JoinPlan& plan, BatchSource* left, const JoinTable* table, bool is_last,
            std::vector<bool>* matched);
  Result<BatchPtr> Next() override;

 private:
  struct LeftBatch {
    BatchPtr batch;
    std::vector<int64_t> first_rows;
  };
  struct Picks {
    std::vector<int64_t> left;
    std::vector<int64_t> right;
  };
  Status FillWindow();
  void Pick(Picks* picks);
  bool MatchedBefore(int64_t left_row) const;
  Result<BatchPtr> Output(const LeftBatch& left, const Picks& picks) const;
  Result<BatchPtr> OutputUnmatchedRight();
  Result<std::shared_ptr<arrow::Array>> KeyOfRight(int left_column,
                                                   const std::vector<int64_t>& rows) const;
  Result<std::shared_ptr<arrow::Array>> GatherRight(int column,
                                                    const std::vector<int64_t>& rows) const;

  const JoinPlan& plan_;
  BatchSource* const left_;
  const JoinTable* const table_;
  const bool is_last_;
  std::vector<bool>* const matched_;
  MemoryReservation reservation_;

  std::vector<LeftBatch> window_;
  size_t at_ = 0;           ///< in window_
  int64_t row_ = 0;         ///< in its batch
  int64_t right_row_ = -2;  ///< the next match of row_, -2: not begun
  int64_t left_rows_ = 0;   ///< of the batches before
  bool left_ended_ = false;
  std::vector<bool> right_matched_;
  int64_t right_unmatched_at_ = 0;
};

}  // namespace gnomon::dataset::internal
