#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/plan.h"

namespace gnomon::dataset {

/// Cuts the order of a sort node into ranges: what a sort of many workers sends its rows by.
/// Immutable, thread-safe.
class RangePartition {
 public:
  /// `boundaries`: rows of the key columns, in the order of `keys`. Range i holds what comes before
  /// boundary i and not before boundary i - 1.
  static Result<RangePartition> Make(std::vector<SortKey> keys,
                                     const arrow::RecordBatch& boundaries);

  /// The range of each row, in [0, boundaries]. Rows with equal keys are in one.
  Result<std::vector<int32_t>> RangesOf(const arrow::RecordBatch& batch) const;

 private:
  struct Boundaries;
  RangePartition(std::vector<SortKey> keys, std::shared_ptr<const Boundaries> boundaries);

  std::vector<SortKey> keys_;
  std::shared_ptr<const Boundaries> boundaries_;
};

}  // namespace gnomon::dataset
