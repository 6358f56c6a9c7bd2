#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/engine/row_partitions.h"
#include "table/key_index.h"

namespace gnomon::feature {

/// Counts the distinct values of a column, exactly, in bounded memory. Values are indexed while the
/// budget has room; from then on those that the index does not know are put aside, cut up by hash
/// (and spilled where half of the context's budget is taken), and indexed part by part at the end.
/// Not thread-safe.
class DistinctValues {
 public:
  /// `budget` is for the index; it and the context's own, of which it is a part, outlive this.
  /// kUser for a type that is no join key, floating point for example (KeyIndex).
  static Result<DistinctValues> Make(const Context& context,
                                     const std::shared_ptr<arrow::DataType>& type,
                                     MemoryBudget* budget);

  /// The next values; nulls do not count.
  Status Add(const std::shared_ptr<arrow::Array>& values);
  /// Once, at the end. kExhausted when the budget has no room for the values of a part of a part,
  /// one of 4096.
  Result<int64_t> Count();
  int64_t spilled_bytes() const { return rest_ == nullptr ? 0 : rest_->spilled_bytes(); }

 private:
  DistinctValues(const Context& context, std::shared_ptr<arrow::DataType> type,
                 table::KeyIndex index, MemoryBudget* budget);

  Status PutAside(const std::shared_ptr<arrow::Array>& values);
  Result<int64_t> CountPart(int32_t part);
  Result<int64_t> CountPieces(const arrow::ArrayVector& pieces);

  Context context_;
  std::shared_ptr<arrow::DataType> type_;
  std::unique_ptr<table::KeyIndex> index_;
  MemoryReservation memory_;  ///< of the index
  std::vector<int32_t> ids_;
  /// Values that are not in the index, which takes no more; null: it knows all.
  std::unique_ptr<RowPartitions> rest_;
  int64_t batches_ = 0;
};

}  // namespace gnomon::feature
