#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <arrow/type_fwd.h>
#include <parquet/file_reader.h>

#include "base/error.h"

/// Single values out of a Parquet column chunk without decoding the others: a late gather needs few
/// rows of many. Pages without a wanted row are not decompressed; of a PLAIN page the values are
/// taken where they lie.
namespace gnomon::table::internal {

/// Is the leaf a flat column whose stored numbers are its Arrow values: integers of 32 and 64 bits,
/// floats, doubles, dates, times and timestamps?
bool CanPickFromPages(const parquet::RowGroupReader& group, int leaf, const arrow::DataType& type);

/// The values of `rows`, which ascend. REQUIRES: CanPickFromPages. May throw what Parquet throws.
Result<std::shared_ptr<arrow::Array>> PickFromPages(parquet::RowGroupReader* group, int leaf,
                                                    const std::shared_ptr<arrow::DataType>& type,
                                                    std::span<const int64_t> rows);

}  // namespace gnomon::table::internal
