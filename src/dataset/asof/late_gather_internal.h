#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/matching_internal.h"

/// The second pass: the winning rows' features in label order.
namespace gnomon::dataset::internal {

/// Bytes of a value of the type in memory; of texts and lists by a guess.
int64_t ValueBytes(const arrow::DataType& type);

/// Bytes that a label's features take while they are gathered: texts and lists by a guess.
int64_t RowBytes(const BoundFeatures& features);

/// `winners` of each right table for one block of labels. Gives the features of all tables, in
/// order.
Result<arrow::ArrayVector> GatherLate(const Context& context,
                                      const std::vector<BoundFeatures>& right,
                                      const std::vector<std::span<const int64_t>>& winners);

}  // namespace gnomon::dataset::internal
