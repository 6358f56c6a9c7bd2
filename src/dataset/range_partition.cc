#include "dataset/range_partition.h"

#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/key_encoding_internal.h"
#include "dataset/plan_internal.h"

namespace gnomon::dataset {

namespace {

Result<internal::EncodedKeys> Encode(const std::vector<SortKey>& keys,
                                     const arrow::RecordBatch& batch) {
  std::vector<int> columns;
  std::vector<internal::KeyOrder> orders;
  for (const SortKey& key : keys) {
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                            internal::FindColumn(*batch.schema(), key.column, "sort"));
    orders.push_back({key.descending, key.nulls_first});
  }
  return internal::KeyEncoder(std::move(columns), std::move(orders)).Encode(batch);
}

}  // namespace

struct RangePartition::Boundaries {
  internal::EncodedKeys keys;

  /// How many boundaries do not come after the key.
  int32_t CountUpTo(std::string_view key) const {
    int64_t low = 0;
    int64_t high = keys.size();
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (keys[middle] <= key) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return static_cast<int32_t>(low);
  }
};

RangePartition::RangePartition(std::vector<SortKey> keys,
                               std::shared_ptr<const Boundaries> boundaries)
    : keys_(std::move(keys)), boundaries_(std::move(boundaries)) {}

Result<RangePartition> RangePartition::Make(std::vector<SortKey> keys,
                                            const arrow::RecordBatch& boundaries) {
  auto encoded = std::make_shared<Boundaries>();
  GNOMON_ASSIGN_OR_RETURN(encoded->keys, Encode(keys, boundaries));
  return RangePartition(std::move(keys), std::move(encoded));
}

Result<std::vector<int32_t>> RangePartition::RangesOf(const arrow::RecordBatch& batch) const {
  GNOMON_ASSIGN_OR_RETURN(const auto keys, Encode(keys_, batch));
  std::vector<int32_t> ranges(static_cast<size_t>(batch.num_rows()));
  for (size_t row = 0; row < ranges.size(); ++row) {
    ranges[row] = boundaries_->CountUpTo(keys[static_cast<int64_t>(row)]);
  }
  return ranges;
}

}  // namespace gnomon::dataset
