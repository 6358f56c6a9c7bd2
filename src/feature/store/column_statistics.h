#pragma once

#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/registry/registry.h"

namespace gnomon::feature {

/// What each column of a table holds, in order. The same for the same values whatever their chunks;
/// mean and standard deviation are exact before their last rounding. O(rows) a column.
Result<std::vector<ColumnStatistics>> DescribeColumns(const Context& context,
                                                      const arrow::Table& table);

}  // namespace gnomon::feature
