#pragma once

#include <memory>

#include "base/context.h"
#include "base/error.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// The rows of a table that is costly to read, text for example, for those who read it several
/// times: it is read here, once, from then on its rows come from memory (counted as long as the
/// result is there; at most half of the context's budget is taken) or a mapped unnamed file. The
/// context's budget outlives the result.
Result<std::shared_ptr<const table::PartitionedTable>> ReadOnce(
    const Context& context, const table::PartitionedTable& table);

}  // namespace gnomon::feature
