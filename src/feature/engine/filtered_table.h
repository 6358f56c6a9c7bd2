#pragma once

#include <memory>

#include "feature/engine/view_source.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// The view's rows with null times where its filter is not true: such rows are left out of every
/// point-in-time computation, and row numbers stay what they are. Only scans that read the time
/// column are filtered. The table itself for a view without a filter.
std::shared_ptr<const table::PartitionedTable> FilterRows(const ViewSource& source);

}  // namespace gnomon::feature
