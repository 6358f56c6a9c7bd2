#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/online_blocks.h"
#include "feature/online/entity_key.h"

namespace gnomon::feature {

/// Rows of a plain view, one for each key, as its source has them.
struct LatestRows {
  arrow::ArrayVector keys;             ///< in the order of JoinKeys, without nulls
  std::vector<int64_t> event_times;    ///< microseconds, rounded up
  std::vector<int64_t> created_times;  ///< microseconds, rounded down; INT64_MIN: none
  arrow::ArrayVector features;         ///< in the order of the view's schema
};

/// These rows, which ascend, of all columns.
Result<arrow::ArrayVector> OnlyRows(const arrow::ArrayVector& columns,
                                    const std::vector<int64_t>& rows);

/// A raw event time in microseconds. Rounded up, so that "not after t" holds for microseconds
/// exactly when it holds for the time.
int64_t EventMicros(int64_t raw, int64_t unit_nanos);
/// INT64_MIN stays.
int64_t CreatedMicros(int64_t raw, int64_t unit_nanos);

/// Puts the rows in place of what the block has. Rows of which the key or a feature does not have
/// the view's type go to block->failed; `place_of` says where a person finds row i.
Status FillBlock(const FeatureView& view, const EntityKeyEncoder& encoder, const LatestRows& rows,
                 const std::function<std::string(int64_t row)>& place_of, OnlineBlock* block);

}  // namespace gnomon::feature
