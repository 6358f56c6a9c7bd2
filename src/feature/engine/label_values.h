#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/view_columns.h"

namespace gnomon::feature {

/// Columns of values for all labels, which leave in blocks of `block_rows` labels (the last has
/// fewer), in the order of the labels.
class LabelValues {
 public:
  virtual ~LabelValues() = default;
  /// The columns of a block, each block once. What is copied for them is taken from `memory`.
  virtual Result<ViewArrays> Take(int64_t block, MemoryReservation* memory) = 0;
};

/// Values that are in memory already, in the order of the labels.
std::unique_ptr<LabelValues> MakeWholeValues(ViewArrays columns, int64_t block_rows);

/// Values that come in any order of the labels. They are spilled where the budget has no room.
class LabelBlocks : public LabelValues {
 public:
  /// `schema` of the values.
  LabelBlocks(const Context& context, const arrow::Schema& schema, int64_t num_labels,
              int64_t block_rows, const std::string& spill_folder);

  /// Values of the labels with these numbers; every label's come once.
  Status Add(std::span<const int64_t> numbers, ViewArrays columns);
  /// No more come.
  Status Finish() { return rows_.Finish(); }
  int64_t spilled_bytes() const { return rows_.spilled_bytes(); }
  Result<ViewArrays> Take(int64_t block, MemoryReservation* memory) override;

 private:
  const int64_t block_rows_;
  int64_t added_ = 0;
  RowPartitions rows_;  ///< the label's number, then the values
};

}  // namespace gnomon::feature
