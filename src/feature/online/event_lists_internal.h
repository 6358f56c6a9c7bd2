#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <arrow/array.h>

#include "base/error.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

inline constexpr int64_t kNoTime = std::numeric_limits<int64_t>::min();

/// A list column of window rows: the values of row r are [begin(r), end(r)) of `values`.
class EventLists {
 public:
  explicit EventLists(const std::shared_ptr<arrow::Array>& column)
      : lists_(std::static_pointer_cast<arrow::ListArray>(column)) {}
  int64_t begin(int64_t row) const { return lists_->IsNull(row) ? 0 : lists_->value_offset(row); }
  int64_t end(int64_t row) const {
    return lists_->IsNull(row) ? 0 : int64_t{lists_->value_offset(row)} + lists_->value_length(row);
  }
  int64_t length(int64_t row) const { return end(row) - begin(row); }
  const std::shared_ptr<arrow::Array>& values() const { return lists_->values(); }
  int64_t Time(int64_t index) const {
    return static_cast<const arrow::Int64Array&>(*lists_->values()).Value(index);
  }
  /// The `place`-th time of a row; INT64_MIN where the row has no such list.
  int64_t TimeAt(int64_t row, int64_t place) const {
    if (place >= length(row) || lists_->values()->IsNull(begin(row) + place)) return kNoTime;
    return Time(begin(row) + place);
  }

 private:
  std::shared_ptr<arrow::ListArray> lists_;
};

/// A list column of `type`: row r has values [offsets[r], offsets[r + 1]).
Result<std::shared_ptr<arrow::Array>> MakeLists(const std::shared_ptr<arrow::DataType>& type,
                                                std::span<const int32_t> offsets,
                                                std::shared_ptr<arrow::Array> values);

/// Lists of created times (int64; null or INT64_MIN: none), null where no event of the row has one:
/// what is stored of a key does not depend on the keys beside it.
Result<std::shared_ptr<arrow::Array>> MakeCreatedLists(const std::shared_ptr<arrow::DataType>& type,
                                                       std::span<const int32_t> offsets,
                                                       const arrow::Array& values);

/// MergeWindowRows with each event's origin.
struct MergedEvents {
  std::shared_ptr<arrow::RecordBatch> rows;
  std::vector<uint8_t> stored;  ///< by event, in list order: is it among the first events of its
                                ///< stored row? See MergeEvents.
};

/// `firsts` says by row how many of the first stored events are to be told apart; empty: none.
Result<MergedEvents> MergeEvents(const OnlineTable& table, std::optional<int64_t> reach,
                                 const OnlineValues& stored, const arrow::RecordBatch& added,
                                 std::span<const int64_t> firsts);

}  // namespace gnomon::feature::internal
