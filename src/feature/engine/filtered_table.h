#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "expr/expression.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// The table with null times where `filter` is not true: such rows are left out of every
/// point-in-time computation, and row numbers stay what they are. Only scans that read
/// `time_column` are filtered. `functions` outlives the result.
Result<std::shared_ptr<const table::PartitionedTable>> FilterRows(
    std::shared_ptr<const table::PartitionedTable> table, const std::string& filter,
    const expr::FunctionSet* functions, const std::string& time_column);

}  // namespace gnomon::feature
