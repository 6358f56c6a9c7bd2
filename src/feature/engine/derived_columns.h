#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "expr/expression.h"
#include "feature/definition/definition.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// The table with the columns that `steps` derive, each of which may use those before it and may
/// take the place of a column; only those named in `needed` are there. A scan or gather computes
/// the steps that its columns reach, for its rows only. Errors of expressions name the row of the
/// table. `functions` outlives the result.
Result<std::shared_ptr<const table::PartitionedTable>> DeriveColumns(
    std::shared_ptr<const table::PartitionedTable> table, const std::vector<Transformation>& steps,
    const std::set<std::string>& needed, const expr::FunctionSet* functions);

/// The first row of the partition in its table, where partitions know their rows.
int64_t FirstRowOf(const table::PartitionedTable& table, int64_t partition);

/// Where `status` names a row: `added` more.
Status WithRowMoved(const Status& status, int64_t added);

}  // namespace gnomon::feature
