#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/engine/row_partitions.h"

namespace gnomon::feature {

/// Where a label's key is: its partition, and its place in it.
struct KeyPlace {
  int32_t partition;
  int32_t id;  ///< negative: no key
};

/// Labels cut up as the rows that they are matched with: the labels of each partition of keys, in
/// parts of at most so many as are evaluated at a time. Spilled where the budget has no room.
class LabelParts {
 public:
  /// `ids` and `times` of the labels; `place_of` says where an id belongs.
  static Result<LabelParts> Make(const Context& context, std::span<const int32_t> ids,
                                 std::span<const int64_t> times, int32_t num_partitions,
                                 const std::function<KeyPlace(int32_t)>& place_of,
                                 int64_t most_labels, const std::string& spill_folder);

  /// [first, last) of a partition's parts.
  std::pair<int32_t, int32_t> PartsOf(int32_t partition) const {
    const auto place = static_cast<size_t>(partition);
    return {first_part_[place], first_part_[place + 1]};
  }
  int64_t spilled_bytes() const { return rows_->spilled_bytes(); }

  struct Part {
    std::shared_ptr<arrow::RecordBatch> rows;  ///< holds what the spans show
    std::span<const int64_t> numbers;          ///< of the labels, ascending
    std::span<const int32_t> ids;              ///< places in the partition
    std::span<const int64_t> times;
  };
  /// Each part may be taken once.
  Result<Part> Take(int32_t part, MemoryReservation* memory);

 private:
  LabelParts() = default;
  Status Add(std::span<const int32_t> ids, std::span<const int64_t> times,
             const std::function<KeyPlace(int32_t)>& place_of, int64_t most_labels);

  std::vector<int32_t> first_part_;  ///< of each partition, and the end
  std::unique_ptr<RowPartitions> rows_;
};

}  // namespace gnomon::feature
